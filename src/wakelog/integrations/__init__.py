"""Integrations with other libraries, one module for each; nothing is imported here."""
