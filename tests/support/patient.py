"""Runs a program whose exit is patient with the network, for tests of what the program delivers.

    python patient.py PROGRAM [ARGUMENT ...]

An exit waits 0.8 s for a next hop that accepts nothing, which a slow machine may take for one request.
What is left is delivered by the next process, but that is the matter of other tests.
"""

from __future__ import annotations

import os
import runpy
import sys

from tests.support.programs import LONG_EXIT

os.environ.update(LONG_EXIT)
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
