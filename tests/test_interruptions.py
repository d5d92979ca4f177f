"""Interruptions: a handler or finalizer that raises, or that records, at any moment of an emit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.support.interruptions import Interrupted, Interruption, raise_interrupted
from wakelog.errors import WakelogError
from wakelog.events import AgentEvent
from wakelog.journal import Durability, Journal, first_misfit, folders, read
from wakelog.logger import AgentLogger
from wakelog.record import Resource, encode
from wakelog.sinks import BufferedSink, JSONLSink, MemorySink

RESOURCE, OTHER = Resource({}), Resource({"service.name": "other"})
CONTENT = encode({"body": "x" * 100}, 1 << 20)
SEGMENT_BYTES = 900
LEVELS = [Durability.OS_BUFFERED, Durability.PERIODIC, Durability.FSYNC]
SECONDS = 30


def until_done(act: Callable[[], object]) -> bool:
    """Do something that may hang, and return whether it came to an end."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return not thread.is_alive()


class Recorder:
    """Records with ids that count up, and notes those that were acknowledged."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._numbers = write, count()
        self.acknowledged: list[str] = []

    def record(self) -> None:
        name = f"r-{next(self._numbers)}"
        self._write(name)
        self.acknowledged.append(name)


def interruptions(happens: Callable[[], object]) -> Iterator[Interruption]:
    """One interruption after another, until there is no later moment."""
    for moment in count():
        interruption = Interruption(happens, moment)
        yield interruption
        if not interruption.came:
            assert moment > 10  # it has been in the way of something
            return


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("nested", [False, True], ids=["raises", "records"])
def test_the_journal_keeps_what_it_acknowledged_whatever_comes_between(
    tmp_path: Path, durability: Durability, before: int, nested: bool
) -> None:
    journal: Journal
    recorder: Recorder
    for number, interruption in enumerate(
        interruptions(lambda: recorder.record() if nested else raise_interrupted())
    ):
        root = tmp_path / str(number)
        journal = Journal(root, durability=durability, segment_bytes=SEGMENT_BYTES)
        recorder = Recorder(lambda name: journal.append(name, CONTENT, RESOURCE))
        for _ in range(before):
            recorder.record()

        def act() -> None:
            with suppress(Interrupted):
                interruption.of(recorder.record)
            for _ in range(7):
                recorder.record()
            journal.close()

        assert until_done(act), interruption.where
        found = [entry.record.id for entry in read(root)]
        assert set(recorder.acknowledged) <= set(found), interruption.where
        assert len(found) == len(set(found)), interruption.where
        assert not any(map(first_misfit, folders(root))), interruption.where
