"""Tests. They try the encoders in Python, and with ``WAKELOG_NATIVE=true`` the compiled ones."""

import os
import sys

if "pytest" in sys.modules:  # a benchmark that uses the tests' servers measures what is installed
    os.environ.setdefault("WAKELOG_NATIVE", "false")
