"""The journal and its files: writing, reading, faults, space."""
