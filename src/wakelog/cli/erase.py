"""Erase the content of selected events, and keep the chain of seals valid.

It lists what it would delete; --apply deletes it, and signs with --seal-key that it was deleted on purpose. The events
stay, without their content. Exported records are listed, because they cannot be reached from here. Content that was
recorded without sealing is on lines or in shared files; it stays, and is counted.
The exit code is 1 if content stays that should be deleted.

With --json:
  {"path", "applied", "values", "dead_letters", "aside", "busy": [FOLDER],
   "records": [RECORD], "inline": [RECORD]}
where RECORD is {"writer", "id", "seq", "time", "exported", "destination"}.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from wakelog._printable import printable
from wakelog.cli._identity import become_owner_of
from wakelog.cli._parser import add_file
from wakelog.cli._paths import add_json, add_path, print_json, whole_journal_of
from wakelog.cli._words import counted
from wakelog.errors import ConfigurationError
from wakelog.events import semconv as s
from wakelog.evidence import Erasure, Signer, erase

_MOST_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory")
    parser.add_argument("--session", metavar="ID", help="events of this session")
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="events with this attribute, such as user.id=ann; if repeated, events that have all",
    )
    add_file(parser, "--seal-key", "the Ed25519 key to sign with, as PEM")
    parser.add_argument("--reason", metavar="TEXT", default="request", help="the reason (request)")
    parser.add_argument(
        "--apply", action="store_true", help="delete the content, instead of only listing it"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Erase content, or print what would be erased.

    Raises:
        JournalError: If there is no journal at the path, or reading or writing fails.
        ConfigurationError: If no filter or no key was given.
    """
    root = whole_journal_of(arguments, "erase")
    wanted = _wanted(arguments)
    if arguments.apply and arguments.seal_key is None:
        raise ConfigurationError("--apply needs --seal-key: that content was erased is signed")
    key = arguments.seal_key
    signer = Signer.from_file(key) if key is not None else Signer(lambda _: b"", b"")
    if arguments.apply:
        become_owner_of(root)

    def matches(attributes: dict[str, Any]) -> bool:
        return all(str(attributes.get(name)) == value for name, value in wanted.items())

    words = tuple(wanted.values())
    found = erase(root, matches, words, signer, arguments.reason, apply=arguments.apply)
    stays = bool(found.inline or found.busy)
    if arguments.json:
        print_json(
            {
                "path": str(root),
                "applied": arguments.apply,
                "values": found.values,
                "dead_letters": found.dead_letters,
                "aside": found.damaged,
                "busy": [str(folder) for folder in found.busy],
                "records": [asdict(one) for one in found.records],
                "inline": [asdict(one) for one in found.inline],
            }
        )
    else:
        if not (found.records or found.inline or found.dead_letters or found.damaged):
            named = " and ".join(f"{name}={value}" for name, value in wanted.items())
            sys.stdout.write(printable(f"Nothing in {root} has content and {named}.") + "\n")
            return 0
        for line in _said(found, applied=arguments.apply):
            sys.stdout.write(printable(line) + "\n")
    return 1 if stays else 0


def _wanted(arguments: argparse.Namespace) -> dict[str, str]:
    wanted: dict[str, str] = {}
    if arguments.session is not None:
        wanted[s.CONVERSATION_ID] = arguments.session
    for pair in arguments.where:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(f"--where {pair!r} cannot be used: give NAME=VALUE")
        wanted[name] = value
    if not wanted:
        raise ConfigurationError("say whose content: give --session or --where")
    return wanted


def _said(found: Erasure, *, applied: bool) -> list[str]:
    went = "were" if applied else "would be"
    first = (
        f"{counted(found.values, 'value')} of {counted(len(found.records), 'record')} {went} erased, "
        f"{counted(found.dead_letters, 'dead letter')} emptied and "
        f"{counted(found.damaged, 'damaged line')} deleted."
    )
    said = [first]
    exported = [one for one in found.records if one.exported]
    if exported:
        said.append(
            f"{counted(len(exported), 'of the records has', 'of the records have')} been exported, and "
            "cannot be erased from here:"
        )
        said += [
            f"  {one.id}  {one.time or ''}  {one.destination or ''}".rstrip()
            for one in exported[:_MOST_LISTED]
        ]
        if len(exported) > _MOST_LISTED:
            said.append(f"  and {len(exported) - _MOST_LISTED:,} more; --json has them all")
    if found.inline:
        said.append(
            f"{counted(len(found.inline), 'record has', 'records have')} content that stays: it was recorded without sealing, and "
            "is on their lines."
        )
    said += [
        f"{folder}: its dead letters are being delivered; end that process" for folder in found.busy
    ]
    if not applied and (found.records or found.dead_letters or found.damaged):
        said.append("--apply erases it.")
    return said
