"""The compiled encoders of the package ``wakelog-native``, if it is installed.

They do for ordinary records what the encoders in Python do, with the same bytes, and leave all
others to these.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

VARIABLE: Final = "WAKELOG_NATIVE"
_INTERFACE: Final = 16  # as in ``native/src/lib.rs``


def _load() -> Any:
    if os.environ.get(VARIABLE, "").strip().lower() == "false":
        return None
    try:
        module = import_module("wakelog_native")
    except ImportError:
        return None
    return module if getattr(module, "INTERFACE", None) == _INTERFACE else None


native: Final[Any] = _load()
"""The module, None without one, or with ``WAKELOG_NATIVE=false``."""
