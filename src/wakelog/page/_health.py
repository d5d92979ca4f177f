"""The health of delivery, from the files alone: books, backlog, dead letters and open spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from wakelog._printable import printable
from wakelog.errors import ConfigurationError, JournalError
from wakelog.journal import (
    FIGURES,
    Books,
    Cursor,
    DeadLetter,
    RecordCounts,
    are_ended,
    books,
    dead_letters,
    folders,
    is_kept_here,
    load_ledger,
    may_end_spans,
    open_spans,
    owner_of,
    quota_of,
    signal_of,
    usage,
)
from wakelog.record import SPANS, rfc3339

_MOST_LETTERS: Final = 200
_MOST_SPANS: Final = 50
_LEDGER: Final = "ledger"
_FRESH_SECONDS: Final = 10.0


def health_of(root: Path, *, can_replay: bool) -> dict[str, Any]:
    """Return the state of a journal's delivery, from its files.

    Args:
        root: The journal's directory.
        can_replay: Whether dead letters can be replayed here.

    Raises:
        JournalError: If the directory cannot be read.
    """
    found = books(root)
    here = is_kept_here(root)
    groups = _groups(root, found, here=here)
    letters = sorted(_letters(root), key=lambda one: one["time"], reverse=True)
    return {
        "path": printable(str(root)),
        "kept_here": here,
        "bytes": usage(root),
        "quota_bytes": quota_of(root),
        "balances": all(one.balances for one in found),
        "total": sum(found, RecordCounts()).figures(),
        "groups": groups,
        "dead_letters": letters[:_MOST_LETTERS],
        "more_dead_letters": max(0, len(letters) - _MOST_LETTERS),
        "can_replay": can_replay,
        "open_spans": sorted(_open_spans(root), key=lambda one: str(one["started"]))[:_MOST_SPANS],
    }


def _groups(root: Path, writers: Iterable[Books], *, here: bool) -> list[dict[str, Any]]:
    """Return the sums of the books by service, pipeline and signal."""
    found: dict[tuple[str | None, ...], dict[str, Any]] = {}
    for one in writers:
        folder = root / one.writer
        owner = owner_of(folder) if folder.is_dir() else None
        whose: tuple[str | None, ...] = (
            (None,) * 3 if owner is None else (str(owner.service), owner.pipeline, owner.signal)
        )
        group = found.get(whose)
        if group is None:
            names = dict(zip(("service", "pipeline", "signal"), whose, strict=True))
            group = found[whose] = {
                **names, **dict.fromkeys(FIGURES, 0), "writers": 0, "live": 0, "bytes": 0,
                "oldest_pending": None, "last_delivery": None, "balances": True,
                "swept": owner is None and not folder.is_dir(),
            }  # fmt: skip
        for name, count in one.figures().items():
            group[name] += count
        group["writers"] += 1
        group["live"] += bool(one.live)
        group["balances"] = group["balances"] and one.balances
        if not folder.is_dir():
            continue
        with suppress(JournalError):  # the folder has just been deleted
            group["bytes"] += usage(folder)
        _note(group, "last_delivery", _delivered_at(folder), max)
        if one.pending > 0:
            _note(group, "oldest_pending", _oldest_pending(folder), min)
    for group in found.values():
        group["state"] = _state_of(group, here=here)
        for name in ("oldest_pending", "last_delivery"):
            group[name] = None if group[name] is None else group[name] // 1000
    return list(found.values())


def _note(
    group: dict[str, Any], name: str, value: int | None, choose: Callable[[int, int], int]
) -> None:
    if value is not None:
        group[name] = value if group[name] is None else choose(group[name], value)


def _delivered_at(folder: Path) -> int | None:
    """Return when the ledger was last written."""
    try:
        return (folder / _LEDGER).stat().st_mtime_ns
    except OSError:
        return None


def _oldest_pending(folder: Path) -> int | None:
    """Return the time of the first record that the ledger does not cover."""
    cursor = Cursor(folder, load_ledger(folder, folder.name), blobs=False)
    try:
        for entry in cursor.read(1, 1 << 20).entries:
            record = entry.record
            return record.timestamp if record.timestamp is not None else record.observed_timestamp
    except (JournalError, FileNotFoundError):
        return None
    finally:
        cursor.close()
    return None


def _state_of(group: dict[str, Any], *, here: bool) -> str:
    """Return a word for the state of delivery, as far as the files show it."""
    if not group["pending"]:
        return "kept" if here else "idle"
    if here:
        return "kept"
    if not group["live"]:
        return "nobody"
    oldest = group["oldest_pending"]
    waits = oldest is not None and time.time() - oldest / 1e9 > _FRESH_SECONDS
    return "waiting" if waits else "delivering"


def _letters(root: Path) -> Iterator[dict[str, Any]]:
    for folder in folders(root):
        owner = owner_of(folder)
        try:
            letters = dead_letters(folder)
        except JournalError:
            continue  # the folder has just been deleted
        for letter in letters:
            yield {
                "id": letter.id,
                "writer": letter.writer,
                "service": None if owner is None else str(owner.service),
                "pipeline": None if owner is None else owner.pipeline,
                "event_name": letter.event_name,
                "time": letter.time,
                "outcome": letter.outcome,
                "reason": letter.reason,
                "size": letter.size,
            }


def letters_to_replay(root: Path, ids: set[str]) -> list[tuple[Path, DeadLetter]]:
    """Return dead letters by their ids, each with its writer's folder.

    Raises:
        ConfigurationError: If they belong to several services or pipelines, or none exists.
        JournalError: If the directory cannot be read.
    """
    found = [
        (folder, letter)
        for folder in folders(root)
        for letter in dead_letters(folder)
        if letter.id in ids
    ]
    if not found:
        raise ConfigurationError("none of these dead letters is there any more")
    owners = {owner.whose if (owner := owner_of(folder)) else None for folder, _ in found}
    if len(owners) > 1:
        raise ConfigurationError(
            "these dead letters belong to several services or pipelines: replay one's at a time"
        )
    return found


def _open_spans(root: Path) -> Iterator[dict[str, Any]]:
    for folder in folders(root):
        if signal_of(folder) != SPANS or are_ended(folder):
            continue
        live = may_end_spans(folder)
        for start in open_spans(folder, thorough=False).starts.values():
            record = start.record
            yield {
                "name": str((record.span or {}).get("name", "")),
                "live": live,
                "trace": record.trace_id,
                "started": None if record.timestamp is None else rfc3339(record.timestamp),
            }
