"""Integrations with other libraries, one module for each; the package itself imports none of them."""
