"""Session streams."""
