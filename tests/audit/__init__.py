"""Session logs and audit sinks."""
