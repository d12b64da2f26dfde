"""The host's side of devices: files, streams, shares."""
