"""The journal to which a command applies, and printing as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import orjson

from wakelog._printable import printable, printable_json
from wakelog.cli._place import check_journal, check_source, journal_at
from wakelog.errors import ConfigurationError
from wakelog.journal import UNNAMED_SERVICE, Service, default_root

_DIRECTORY = "WAKELOG_DIR"
_JOURNALS_TO_NAME = 5


def add_path(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the argument ``PATH``.

    Args:
        parser: The command's parser.
        what: What the argument may name, for the help.
    """
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        type=os.path.expanduser,
        help=f"{what}; else $WAKELOG_DIR, else where the service's journal is by default",
    )


def add_json(parser: argparse.ArgumentParser, instead_of: str = "text") -> None:
    """Declare the argument ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print JSON instead of {instead_of}")


def journal_of(arguments: argparse.Namespace, *, reads: bool = False) -> Path:
    """Return the journal directory, or the writer's folder, that a command line names.

    Args:
        arguments: The command line.
        reads: Whether the command only reads. A command that changes or sends a journal needs its
            name.

    Raises:
        ConfigurationError: If it names none and there is no default one.
        JournalError: If there is no journal at the path; the message says what is there.
    """
    path = path_of(arguments, only=reads)
    check_journal(path)
    return path


def whole_journal_of(arguments: argparse.Namespace, command: str) -> Path:
    """Return the directory of the journal that a command changes as a whole.

    Raises:
        ConfigurationError: If the command line names no journal, or one writer's folder.
        JournalError: If there is no journal at the path.
    """
    root, writer = journal_at(journal_of(arguments))
    if writer is not None:
        raise ConfigurationError(f"{command} is about a whole journal: name {root}")
    return root


def source_of(arguments: argparse.Namespace, *, grows: bool = False) -> Path:
    """Return the journal, the writer's folder or the file of lines that a command line names.

    Args:
        arguments: The command line.
        grows: Whether the command follows it while it grows.

    Raises:
        ConfigurationError: If it names none and there is no default one.
        JournalError: If the path is none of these; the message says what it is.
    """
    path = path_of(arguments, only=True)
    check_source(path, grows=grows)
    return path


def path_of(arguments: argparse.Namespace, *, only: bool = False) -> Path:
    """Return the path that a command line names, without checking what is there.

    Args:
        arguments: The command line.
        only: Whether to use the only existing journal if nothing names one, and to report that.

    Raises:
        ConfigurationError: If it names none and there is no default one.
    """
    given = arguments.path or os.path.expanduser(os.environ.get(_DIRECTORY) or "")
    if given:
        return Path(given)
    service = Service.of_environment().name
    root = default_root(service)
    if root.is_dir():
        return root
    message = f"no PATH was given, {_DIRECTORY} is not set, and there is no journal at {root}"
    found = _journals_under(root.parent)
    if only and service == UNNAMED_SERVICE and len(found) == 1:
        # A program may set its service's name in code, which a command cannot see.
        sys.stderr.write(f"wakelog: {printable(found[0])} is the only journal here\n")
        return Path(found[0])
    if found:
        more = ", ..." if len(found) > _JOURNALS_TO_NAME else ""
        message += f". Name one of these: {', '.join(found[:_JOURNALS_TO_NAME])}{more}"
    raise ConfigurationError(message)


def _journals_under(root: Path) -> list[str]:
    """List the journals one or two levels below a directory, newest first."""
    markers = [*root.glob("*/wakelog.json"), *root.glob("*/*/wakelog.json")]
    markers.sort(key=lambda marker: marker.stat().st_mtime, reverse=True)
    return [str(marker.parent) for marker in markers]


def print_json(value: object, *, indent: bool = True) -> None:
    """Print plain data as JSON, indented for people or on one line for streams.

    Characters that control a terminal are escaped, which does not change the value.
    """
    sys.stdout.write(json_text(value, indent=indent) + "\n")


def print_json_items(*named: str | Iterable[object]) -> None:
    """Print an object of lists as ``print_json`` does, each item as soon as it is known.

    Args:
        named: Alternately a key and the items of its list.
    """
    write = sys.stdout.write
    write("{")
    for place, (key, items) in enumerate(zip(named[::2], named[1::2], strict=True)):
        write(f'{"," if place else ""}\n  "{key}": ')
        _write_items(items, "  ")
    write("\n}\n")


def print_json_list(items: Iterable[object]) -> None:
    """Print a list as ``print_json`` does, each item as soon as it is known."""
    _write_items(items, "")
    sys.stdout.write("\n")


def _write_items(items: Iterable[object], indent: str) -> None:
    write, begin = sys.stdout.write, "["
    for item in items:
        text = json_text(item, indent=True).replace("\n", f"\n{indent}  ")
        write(f"{begin}\n{indent}  {text}")
        begin = ","
    write("[]" if begin == "[" else f"\n{indent}]")


def json_text(value: object, *, indent: bool) -> str:
    """Return plain data as JSON, with characters escaped that control a terminal."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:
        # A path that is not valid UTF-8 has lone surrogates, which need escapes; and orjson accepts
        # at most 254 nested containers.
        separators = None if indent else (",", ":")
        text = json.dumps(value, indent=2 if indent else None, separators=separators)
    return printable_json(text)
