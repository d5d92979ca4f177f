"""Which journal a command is about, and printing as JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import orjson

from wakelog.errors import ConfigurationError
from wakelog.journal import default_root

if TYPE_CHECKING:
    import argparse

_DIRECTORY, _SERVICE = "WAKELOG_DIR", "OTEL_SERVICE_NAME"
_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
_UNNAMED = "unknown_service"  # what the SDK calls a service without a name
_JOURNALS_TO_NAME = 5


def add_path(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the argument ``PATH``.

    Args:
        parser: The command's parser.
        what: What it may name.
    """
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help=f"{what}; else $WAKELOG_DIR, else where the service's journal is by default",
    )


def path_of(arguments: argparse.Namespace) -> Path:
    """Return the path that a command line means.

    Raises:
        ConfigurationError: When it names none and there is none by default.
    """
    given = arguments.path or os.environ.get(_DIRECTORY)
    if given:
        return Path(given)
    root = default_root(_service_name())
    if root.is_dir():
        return root
    message = f"no PATH was given, {_DIRECTORY} is not set, and there is no journal at {root}"
    if found := _journals_under(root.parent):
        more = ", ..." if len(found) > _JOURNALS_TO_NAME else ""
        message += f". Name one of these: {', '.join(found[:_JOURNALS_TO_NAME])}{more}"
    raise ConfigurationError(message)


def _service_name() -> str:
    """Return the service's name as OpenTelemetry would take it from the environment."""
    if named := os.environ.get(_SERVICE, "").strip():
        return named
    for pair in os.environ.get(_ATTRIBUTES, "").split(","):
        key, _, value = pair.partition("=")
        if key.strip() == "service.name" and value.strip():
            return unquote(value.strip())
    return _UNNAMED


def _journals_under(root: Path) -> list[str]:
    """List the journals below a directory and below its directories, the newest first."""
    markers = [*root.glob("*/wakelog.json"), *root.glob("*/*/wakelog.json")]
    markers.sort(key=lambda marker: marker.stat().st_mtime, reverse=True)
    return [str(marker.parent) for marker in markers]


def print_json(value: object, *, indent: bool = True) -> None:
    """Print plain data as JSON, over several lines for a person or on one for a stream."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    sys.stdout.write(text.decode() + "\n")
