"""The container wall: namespaces, cgroups, seccomp and the OCI runtime."""
