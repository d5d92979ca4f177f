"""Loads the module that defines a package's name when the name is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``, as PEP 562 has it, and let ``dir`` show the names.

    Args:
        package: The name of the package.
        homes: The names that each module defines, by the module's full name.

    Returns:
        A function that imports the module of a name, and keeps the name in the package. It raises
        ``AttributeError`` for a name that no module defines.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(home), name)
        setattr(module, name, value)
        return value

    module = sys.modules[package]
    module.__dict__["__dir__"] = lambda: sorted({*vars(module), *home_of})
    return load
