"""Distribution images: found on the host's mirror, verified, unpacked, kept by content hash."""
