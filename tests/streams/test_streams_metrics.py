"""What operators see of session streams."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.figures import Meter
from wakelog.errors import JournalError
from wakelog.streams import SessionStreams
from wakelog.streams import _metric_table as t
from wakelog.streams._metrics import METRICS
from wakelog.telemetry.instruments import Instruments


@pytest.fixture
def meter() -> Any:
    """A meter that observes the figures of streams, which begin at zero."""
    METRICS._reset()
    meter = Meter()
    Instruments(meter.provider, t.TABLE, METRICS._collect)
    return meter


def test_lines_streams_and_readers_are_counted(tmp_path: Path, meter: Meter) -> None:
    before = meter.read()
    with SessionStreams(tmp_path / "streams") as streams:
        with streams.stream("s-1") as stream:
            for number in range(30):
                stream.write(f"chunk {number}")
            open_ones = meter.read()

            async def reading() -> Any:
                reader = streams.read("s-1", from_start=True)
                assert (await anext(reader)).text == ""
                return meter.read()

            read = asyncio.run(reading())
        scrape = meter.read()

    assert open_ones(t.OPEN) - before(t.OPEN) == 1
    assert scrape(t.OPEN) - before(t.OPEN) == 0
    assert read(t.READ) - before(t.READ) == 1
    assert scrape(t.WRITTEN) == 32  # with the beginning and the end
    assert scrape(t.REFUSED) == 0
    assert scrape(t.DURATION) == 2
    assert scrape(t.USAGE) > before(t.USAGE)
    assert scrape(t.LIMIT) > before(t.LIMIT)
    assert meter.read()(t.WRITTEN) == 32
    assert set(scrape.points) == {one.name for one in t.TABLE}
    for one in t.TABLE:
        for point in scrape.points[one.name]:
            assert all(value in one.attributes[name] for name, value in point.attributes.items())


def test_what_is_refused_is_counted_by_its_reason(
    tmp_path: Path, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SessionStreams(tmp_path / "streams") as streams:
        streams.write("s-1", "first")
        assert streams.journal is not None

        def refuse(*_: Any) -> Any:
            raise JournalError("write", tmp_path, "no space")

        monkeypatch.setattr(streams.journal, "write", refuse)
        with pytest.raises(JournalError):
            streams.write("s-1", "second")
        scrape = meter.read()
        monkeypatch.undo()

    assert scrape(t.REFUSED, reason="journal") == scrape(t.REFUSED) == 1
    assert scrape(t.WRITTEN) == 1


def test_a_forked_child_counts_its_own_from_zero(tmp_path: Path, meter: Meter) -> None:
    with SessionStreams(tmp_path / "streams") as streams:
        streams.write("s-1", "parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                before = meter.read()(t.WRITTEN)
                streams.write("s-1", "child")
                code = 0 if (before, meter.read()(t.WRITTEN)) == (0, 1) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert meter.read()(t.WRITTEN) == 1
