"""The table of issue 3: programs inside one Debian guest, on both emulators."""
