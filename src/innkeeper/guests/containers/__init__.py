"""Containers as guests: from an image to a bundle that the OCI runtime runs."""
