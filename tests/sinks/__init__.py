"""Sinks and the buffers before them."""
