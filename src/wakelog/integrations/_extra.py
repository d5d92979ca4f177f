"""The error for a framework that is not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def framework(module: str, extra: str) -> Any:
    """Import a framework's module.

    Args:
        module: The module.
        extra: The extra of Wakelog that installs it.

    Raises:
        ImportError: If it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        message = (
            f"{module} could not be imported ({error}): pip install 'wakelog[{extra}]' installs it"
        )
        raise ImportError(message, name=error.name) from error
