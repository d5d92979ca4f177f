"""The project itself: documents, packages, structure."""
