"""OCI images: documents, content store, layouts, layers, registries, root file systems."""
