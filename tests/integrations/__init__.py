"""Adapters of other libraries, and test doubles."""
