"""The checks of ``wakelog doctor``."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from wakelog.cli._paths import path_of
from wakelog.cli._place import check_journal, journal_at
from wakelog.cli._words import counted
from wakelog.cli.status import size_text, statuses_of, total_of
from wakelog.errors import ConfigurationError, WakelogError
from wakelog.journal import Entry, faults, folders, is_kept_here, quota_of, usage
from wakelog.journal import read as read_journal

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_OTHERS: Final = 0o077
_LITTLE_SPACE: Final = 1 << 30
_FULL: Final = 0.8
_MOST_READ: Final = 20_000
_SAME_MOMENT: Final = 50_000_000  # nanoseconds between two records of one log call
_MANY_TWICE: Final = 3
_PACKAGES: Final = (
    "wakelog",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp",
    "structlog",
    "orjson",
)
_EXTRAS: Final = ("rich", "duckdb")
_FAMILY: Final = "OTEL_"
_ALIKE: Final = 0.9


class Check(NamedTuple):
    """The result of one check.

    Attributes:
        name: What was checked.
        status: ``ok``, ``warning`` or ``problem``.
        what: What was found.
        hint: What to do about it; empty if nothing.
    """

    name: str
    status: str
    what: str
    hint: str = ""


def checks(arguments: argparse.Namespace) -> Iterator[Check]:
    """Yield the result of each check."""
    yield from _of_variables()
    yield _of_versions()
    try:
        path = path_of(arguments, only=True)
        check_journal(path)
    except WakelogError as error:
        hint = "Start a program that records, or name its journal's directory"
        yield Check("directory", PROBLEM, str(error), hint)
    else:
        root, _ = journal_at(path)
        yield _of_directory(arguments, root)
        yield from _of_permissions(root)
        yield from _of_space(root)
        yield from _of_books(root)
        yield from _of_damage(root)
        yield from _of_second_records(root)
    yield _of_destination(arguments)


def _of_directory(arguments: argparse.Namespace, root: Path) -> Check:
    if arguments.path:
        source = "as given"
    else:
        source = "WAKELOG_DIR" if os.environ.get("WAKELOG_DIR") else "the default of the service"
    count = sum(1 for _ in folders(root))
    return Check("directory", OK, f"{root} ({source}), {counted(count, 'writer')}")


def _of_permissions(root: Path) -> Iterator[Check]:
    status = root.stat()
    user = os.geteuid()
    if status.st_uid not in (user, 0) or (status.st_uid == 0 and user != 0):
        what = f"{root} belongs to user {status.st_uid}, and this is user {user}"
        yield Check("permissions", WARNING, what, "Record and read as the same user")
    if not os.access(root, os.W_OK | os.X_OK):
        hint = "A program of this user cannot record here: change the owner, or choose another directory"
        yield Check("permissions", PROBLEM, f"{root} cannot be written", hint)
    elif status.st_mode & _OTHERS:
        mode = stat.filemode(status.st_mode)
        hint = f"Other users may read what agents said: chmod 700 {root}"
        yield Check("permissions", WARNING, f"{root} has the mode {mode}", hint)
    else:
        yield Check("permissions", OK, "this user alone reads and writes it")


def _of_space(root: Path) -> Iterator[Check]:
    used, quota, free = usage(root), quota_of(root), shutil.disk_usage(root).free
    said = f"{size_text(used)} used, {size_text(free)} free on the disk"
    if quota is not None:
        said += f", quota {size_text(quota)}"
    if free < _LITTLE_SPACE:
        hint = "Free space, or wakelog prune what is delivered"
        yield Check("disk", PROBLEM if free < _LITTLE_SPACE / 16 else WARNING, said, hint)
    elif quota is not None and used > quota * _FULL:
        hint = "wakelog prune deletes what is delivered; WAKELOG_QUOTA_BYTES allows more"
        yield Check("disk", WARNING, said, hint)
    else:
        yield Check("disk", OK, said)


def _of_books(root: Path) -> Iterator[Check]:
    statuses = statuses_of(root)
    total = total_of(statuses)
    books = total.books
    if not all(one.books.balances for one in (*statuses, total)):
        yield Check("books", PROBLEM, "they do not balance", "wakelog verify says where")
        return
    here = is_kept_here(root)
    said = f"{books.accepted:,} accepted, {books.delivered:,} delivered, {books.pending:,} pending"
    if books.corrupt:
        yield Check(
            "books", WARNING, f"{said}, {books.corrupt:,} corrupt", "wakelog verify says where"
        )
    elif books.dead_lettered:
        hint = "wakelog dead-letters list says why"
        yield Check(
            "books", WARNING, f"{said}, {counted(books.dead_lettered, 'dead letter')}", hint
        )
    elif books.pending and here:
        yield Check("books", OK, f"{said}; no process has delivered from here, so they are kept")
    elif books.pending:
        hint = "A program of their service delivers them, or wakelog ship does"
        yield Check("books", WARNING if not books.live else OK, said, "" if books.live else hint)
    else:
        yield Check("books", OK, said)


def _of_damage(root: Path) -> Iterator[Check]:
    found = [fault for fault in faults(root) if fault.repair is not None]
    if not found:
        yield Check("damage", OK, "nothing is damaged that has not been moved aside")
    for fault in islice(found, 5):
        yield Check(
            "damage", WARNING, f"{fault.path}: {fault.what}", "wakelog repair moves it aside"
        )


def _of_second_records(root: Path) -> Iterator[Check]:
    """Check whether log calls are recorded twice, by two handlers or integrations."""
    pairs: Counter[tuple[str, str]] = Counter()
    for folder in reversed(list(folders(root))):
        recent: defaultdict[object, list[tuple[int, str]]] = defaultdict(list)
        for entry in islice(read_journal(folder), _MOST_READ):
            said = _said(entry)
            if said is None:
                continue
            key, time, scope = said
            for other_time, other in recent[key]:
                # Two handlers of one logger give its records the same time to the nanosecond.
                near = abs(time - other_time) < _SAME_MOMENT
                if time == other_time or (other != scope and near):
                    first, second = sorted((scope, other))
                    pairs[first, second] += 1
            recent[key] = [*recent[key][-3:], (time, scope)]
        break  # the newest process shows the present configuration
    twice = [(pair, count) for pair, count in pairs.items() if count >= _MANY_TWICE]
    if not twice:
        yield Check("second records", OK, "no log call is recorded twice")
    for (first, second), count in twice:
        names = repr(first) if first == second else f"{first!r} and {second!r}"
        what = f"{counted(count, 'log call')} of {names} are recorded twice"
        hint = "Two handlers or integrations record the same logger: take one of them away"
        yield Check("second records", WARNING, what, hint)


def _said(entry: Entry) -> tuple[object, int, str] | None:
    """Return message, time and scope of a record made by a log call; None for an agent event."""
    record = entry.record
    if not isinstance(record.body, str) or record.timestamp is None:
        return None
    scope = record.scope.name if record.scope is not None else ""
    return (record.body, record.trace_id, record.span_id), record.timestamp, scope


def _of_variables() -> Iterator[Check]:
    from wakelog.otel import misspelt

    found: dict[str, str | None] = {**misspelt(), **_misspelt_of_opentelemetry()}
    for name, meant in found.items():
        hint = f"Did you mean {meant}?" if meant else "docs/getting-started.md has them all"
        yield Check("variables", WARNING, f"{name} has no effect: no program reads it", hint)
    if not found:
        yield Check("variables", OK, "no variable is misspelt")


def _misspelt_of_opentelemetry() -> dict[str, str | None]:
    """Return the ``OTEL_*`` variables whose names nearly match a known one, with that name."""
    from difflib import get_close_matches

    from opentelemetry import environment_variables as of_api
    from opentelemetry.sdk import environment_variables as of_sdk

    known = {
        value
        for module in (of_api, of_sdk)
        for name, value in vars(module).items()
        if name.startswith(_FAMILY) and isinstance(value, str)
    }
    found: dict[str, str | None] = {}
    for name in os.environ:
        if name.startswith(_FAMILY) and name not in known:
            close = get_close_matches(name, sorted(known), n=1, cutoff=_ALIKE)
            if close:
                found[name] = close[0]
    return found


def _of_versions() -> Check:
    said = [f"Python {sys.version.split()[0]}"]
    missing = []
    for name in _PACKAGES:
        try:
            said.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    for name in _EXTRAS:
        with suppress(PackageNotFoundError):
            said.append(f"{name} {version(name)}")
    if missing:
        hint = "pip install --upgrade wakelog"
        return Check("versions", PROBLEM, f"not installed: {', '.join(missing)}", hint)
    return Check("versions", OK, ", ".join(said))


def _of_destination(arguments: argparse.Namespace) -> Check:
    """Send an empty request to the destination with the configured exporter."""
    from wakelog._endpoints import without_secrets
    from wakelog.cli._next_hop import exporter_of
    from wakelog.delivery import Outcome
    from wakelog.otel import attempt_through, endpoint_of

    try:
        exporter = exporter_of(arguments)
    except ConfigurationError as error:
        configured = any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ)
        if configured or arguments.endpoint:
            return Check("destination", PROBLEM, str(error), "Correct the variable")
        hint = "Set OTEL_EXPORTER_OTLP_ENDPOINT to have events delivered"
        return Check("destination", WARNING, "none is set: events are kept here", hint)
    where: Any = endpoint_of(exporter)
    try:
        answer = attempt_through(exporter)(())
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
    if answer.kind is Outcome.DELIVERED:
        return Check("destination", OK, f"{where} takes an empty request")
    reason = without_secrets(answer.reason) or answer.kind.name.lower()
    hint = "Check that it listens there, its protocol (4317 is gRPC, 4318 HTTP) and the headers"
    return Check("destination", PROBLEM, f"{where} does not take an empty request: {reason}", hint)
