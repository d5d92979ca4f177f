"""The index, the viewer and the page."""
