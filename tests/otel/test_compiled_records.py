"""Records that are encoded and written in one compiled step are those of the two steps in Python."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource

from tests.support.faults import with_calls
from wakelog import AgentLogger, Durability, OTelSink, SinkError
from wakelog._native import native
from wakelog.buffer import Buffer
from wakelog.events import semconv as s
from wakelog.journal import Journal, books, first_misfit, folders
from wakelog.otel import DurableLogRecordProcessor, _processor
from wakelog.otel._records import content_of

compiled = pytest.mark.skipif(native is None, reason="wakelog-native is not used")
ATTRIBUTES: dict[str, Any] = {"a": 1, "b": ["x", "y"], "c": "text", "d": 1.5, "e": True}


def emit_all(processor: DurableLogRecordProcessor) -> None:
    """Emit records of several loggers, resources and kinds, ordinary and not."""
    ids = (f"id-{number}" for number in range(1000))

    def emit(provider: LoggerProvider, scope: str, attributes: dict[str, Any], **more: Any) -> None:
        provider.get_logger(scope, "1.0").emit(
            timestamp=1_800_000_000_000_000_000,
            observed_timestamp=1_800_000_000_000_000_001,
            attributes={**attributes, s.LOG_RECORD_UID: next(ids)},
            **more,
        )

    for service in ("one", "two"):
        provider = LoggerProvider(Resource({"service.name": service}), shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        for scope in ("first", "second", "first"):
            emit(provider, scope, ATTRIBUTES, body="a body", event_name="an.event")
            emit(provider, scope, {}, severity_number=SeverityNumber.WARN, severity_text="WARN")
            emit(provider, scope, {"long": "x" * 5000}, body={"a": [1, b"bytes", None]})
            emit(provider, scope, {"odd": "\ud83d"}, body=2**70)
            emit(provider, scope, ATTRIBUTES, body="b" * 300)
        log = AgentLogger("clerk", sink=OTelSink(provider, without_limits=True))
        for durability in (None, Durability.FSYNC, None):
            log.tool_call(
                "search",
                {"query": "password=hunter2"},
                event_id=next(ids),
                time_unix_nano=1_800_000_000_000_000_002,
                durability=durability,
            )


def lines_in(root: Path) -> list[list[bytes]]:
    """The lines of each writer, without headers and checksums, which have the writer's id."""
    found = []
    for folder in folders(root):
        assert first_misfit(folder) is None
        files = sorted(folder.glob("*.jsonl"))
        text = b"".join(b"".join(file.read_bytes().splitlines(keepends=True)[1:]) for file in files)
        found.append(re.sub(rb'"crc":"[0-9a-f]{8}"', b"", text).splitlines())
    return found


@compiled
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_line_bytes": 1200},
        {"max_line_bytes": 100},
        {"redact": True},
        {"durability": "periodic"},
        {"segment_bytes": 4096},
    ],
    ids=lambda options: ",".join(options) or "usual",
)
def test_the_lines_are_the_same(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compiled", "python"):
        if name == "python":
            monkeypatch.setattr(_processor, "compiled_record", None)
        processor = DurableLogRecordProcessor(None, directory=tmp_path / name, **options)
        emit_all(processor)
        assert not processor.refused
        processor.shutdown()

    assert lines_in(tmp_path / "compiled") == lines_in(tmp_path / "python")
    assert sum(map(len, lines_in(tmp_path / "python"))) == 36


@compiled
@pytest.mark.parametrize(
    "options, foreign, own",
    [
        ({}, True, True),
        ({"redact": True}, False, True),
        ({"durability": "fsync"}, False, False),
        ({"durability": "periodic"}, False, False),
        ({"buffer": Buffer()}, False, False),
    ],
)
def test_ordinary_records_take_one_step(
    tmp_path: Path,
    options: dict[str, Any],
    foreign: bool,
    own: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor = DurableLogRecordProcessor(None, directory=tmp_path, **options)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("app")
    log = AgentLogger("clerk", sink=OTelSink(provider))
    logger.emit(body="the first one")
    taken: list[object] = []

    def noting(*arguments: Any) -> tuple[str, bytes]:
        taken.append(arguments)
        return content_of(*arguments)

    processor.force_flush()  # there may be a buffer
    writer = processor.journal.writer
    assert writer is not None
    writer._tick_at = math.inf
    monkeypatch.setattr(_processor, "content_of", noting)
    logger.emit(body="an ordinary one", attributes=ATTRIBUTES)
    assert (not taken) is foreign
    taken.clear()
    receipt = log.tool_call("search", {"query": "x"}).receipt
    assert (not taken) is own
    processor.force_flush()
    if not options:
        assert receipt is not None
        assert receipt.seq == 3
    processor.shutdown()
    assert sum(one.accepted for one in books(tmp_path)) == 3


@pytest.mark.parametrize("room", [False, True])
def test_a_refused_write_is_tried_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    processor = DurableLogRecordProcessor(None, directory=tmp_path)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("app")
    logger.emit(body="the first one")
    monkeypatch.setattr(Journal, "makes_room", lambda *_: room)
    failing: list[bool] = []
    writer = processor.journal.writer
    assert writer is not None
    writer._fs = with_calls(writer._fs, write=full_when(failing))

    failing.append(True)
    logger.emit(body="the second one")
    assert processor.refused == ({} if room else {"JournalError": 1})
    failing.append(True)
    log = AgentLogger("clerk", sink=OTelSink(provider))
    if room:
        assert log.error("the third one").receipt
    else:
        with pytest.raises(SinkError, match="No space left"):
            log.error("the third one")
    logger.emit(body="the last one")
    processor.shutdown()

    [folder] = folders(tmp_path)
    assert first_misfit(folder) is None
    [kept] = books(tmp_path)
    assert kept.accepted == (4 if room else 2)


def full_when(failing: list[bool]) -> Callable[[int, bytes], int]:
    """Return a write that fails once for each item of a list."""

    def write(fd: int, data: bytes) -> int:
        if failing and failing.pop():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)

    return write


def test_a_limit_below_the_size_of_a_seal_costs_no_record(tmp_path: Path) -> None:
    processor = DurableLogRecordProcessor(None, directory=tmp_path, max_line_bytes=100)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    provider.get_logger("app").emit(body="a body", attributes=ATTRIBUTES)
    processor.shutdown()

    assert not processor.refused
    assert sum(one.accepted for one in books(tmp_path)) == 1
