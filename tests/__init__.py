"""Tests. They try the encoders in Python, and with ``WAKELOG_NATIVE=true`` the compiled ones."""

import os

os.environ.setdefault("WAKELOG_NATIVE", "false")
