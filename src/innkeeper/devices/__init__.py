"""Device models: registers and rings, no I/O; what the host does for them is handed in."""
