"""Delivery of records of ended processes: those of this process's services and pipeline only."""

from __future__ import annotations

import logging
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wakelog.journal import (
    Folder,
    Journal,
    Owner,
    Service,
    end_of,
    folders,
    is_owned,
    owner_of,
)
from wakelog.journal import load_ledger_with_ranges as load_with_ranges
from wakelog.otel._pipeline import NAMES

_log = logging.getLogger("wakelog")

# Characters that need no quotes in a shell.
_ORDINARY = frozenset(string.ascii_letters + string.digits + "_@%+=:,./-")


class OwnJournal:
    """The writers of this process, and the ended ones of the same services and pipeline.

    Records that wait for another pipeline are logged once for each service, and left alone.

    Args:
        journal: This process's journal.
        presumed: The service to assume until the first record names one; None to adopt nothing.
    """

    def __init__(self, journal: Journal, presumed: Service | None = None) -> None:
        self._journal = journal
        self._presumed = presumed
        self._owners: dict[Path, Owner] = {}
        self._told: set[Service] = set()

    def live(self) -> list[Path]:
        """Return the folders of this process's writers that have records."""
        return [one.folder.path for one in self._journal.open_writers if one.seq > 0]

    def gone(self) -> Iterator[Folder]:
        """Adopt the folders of writers that have ended."""
        news = set(self._services()) - self._told
        if news:
            self._told |= news
            self._tell(news)
        yield from self._adopted()

    def _adopted(self) -> Iterator[Folder]:
        return self._journal.orphans(self._is_ours)

    def _services(self) -> tuple[Service, ...]:
        presumed = () if self._presumed is None else (self._presumed,)
        return self._journal.services or presumed

    def _is_ours(self, path: Path) -> bool:
        owner, journal = self._owner(path), self._journal
        return (
            owner is not None
            and owner.service in self._services()
            and (owner.pipeline, owner.signal) == (journal.pipeline, journal.signal)
        )

    def _owner(self, path: Path) -> Owner | None:
        owner = self._owners.get(path) or owner_of(path)
        if owner is not None:
            self._owners[path] = owner
        return owner

    def _tell(self, services: set[Service]) -> None:
        """Log once which records change their destination, and which wait for a pipeline."""
        journal = self._journal
        follows: Counter[tuple[Service, str]] = Counter()
        waits: Counter[tuple[Service, str]] = Counter()
        running: set[tuple[Service, str]] = set()
        unknown = 0
        for path in folders(journal.root):
            owner = self._owner(path)
            if owner is None:
                unknown += pending_of(path)
            elif owner.service in services and owner.signal == journal.signal:
                whose = owner.service, owner.pipeline
                if is_owned(path) is not False:
                    running.add(whose)
                elif owner.pipeline != journal.pipeline:
                    waits[whose] += pending_of(path)
                elif owner.destination not in (None, journal.destination):
                    follows[owner.service, owner.destination or ""] += pending_of(path)
        for (service, before), count in follows.items():
            if count:
                _log.warning(
                    "%d records that service %s recorded for %s are delivered to %s now: its "
                    "pipeline %r has another destination than before",
                    count,
                    service,
                    before or "no destination",
                    journal.destination or "no destination",
                    journal.pipeline,
                )
        for (service, pipeline), count in waits.items():
            if count and (service, pipeline) not in running and pipeline not in NAMES.taken():
                _log.warning(
                    "%d records of service %s wait for the pipeline %r, but this process has the "
                    "pipeline %r: give the processor that is to deliver them pipeline=%r, or run: "
                    "wakelog ship --service %s --pipeline %s %s",
                    count,
                    service,
                    pipeline,
                    journal.pipeline,
                    pipeline,
                    _quoted(str(service)),
                    _quoted(pipeline),
                    _quoted(str(journal.root)),
                )
        if unknown:
            _log.warning(
                "%d records in %s wait, because the owner files with their service and pipeline "
                "cannot be read; if all of them have one destination, run: wakelog ship --all %s",
                unknown,
                journal.root,
                _quoted(str(journal.root)),
            )


def _quoted(word: str) -> str:
    """Return a word for a shell, as ``shlex.quote`` does, whose import takes 0.3 ms."""
    if word and _ORDINARY.issuperset(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def pending_of(path: Path) -> int:
    """Return the approximate number of a writer's pending records, without reading them."""
    end = end_of(path)
    mark, parts = load_with_ranges(path, path.name)
    ahead = sum(part.end.seq - part.start.seq for part in parts)
    return max(0, (0 if end is None else end.seq) - mark.seq - ahead)
