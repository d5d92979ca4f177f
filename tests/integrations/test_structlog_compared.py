"""The table of docs/integrations.md, row by row: the official structlog processor, and ours.

When a row of the official one fails, it has changed, and so has to the page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.instrumentation.structlog import StructlogProcessor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from tests.support.journaled import Journaled
from wakelog.integrations.structlog import WakelogProcessor

Processor = Callable[[Any, str, Any], Any]


@dataclass
class Got:
    """One record, in the words of either side."""

    body: object
    attributes: dict[str, Any]
    event_name: str | None
    timestamp: int | None
    severity: tuple[object, str | None]


class Official:
    def __init__(self, tmp_path: Path) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.processor: Processor = StructlogProcessor(self.provider)

    def got(self) -> Got:
        [log] = [data.log_record for data in self.exporter.get_finished_logs()]
        number = log.severity_number and log.severity_number.value
        return Got(
            log.body,
            dict(log.attributes or {}),
            log.event_name,
            log.timestamp,
            (number or None, log.severity_text),
        )

    def close(self) -> None:
        self.provider.shutdown()


class Ours:
    def __init__(self, tmp_path: Path) -> None:
        self.journaled = Journaled(tmp_path / "journal")
        self.processor: Processor = WakelogProcessor(self.journaled.log)

    def got(self) -> Got:
        record = self.journaled.one()
        return Got(
            record.body,
            record.attributes,
            record.event_name,
            record.timestamp,
            (record.severity_number, record.severity_text),
        )

    def close(self) -> None:
        self.journaled.close()


Side = Official | Ours


@pytest.fixture(params=[Official, Ours])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    side = request.param(tmp_path)
    structlog.contextvars.clear_contextvars()
    yield side
    structlog.contextvars.clear_contextvars()
    side.close()


def chain(side: Side, *before: Any) -> Any:
    def drop(*_: object) -> Any:
        raise structlog.DropEvent

    return structlog.wrap_logger(
        None,
        processors=[*before, side.processor, drop],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    ).bind()


class Shelf:
    class EmptyError(Exception): ...


def fail(log: Any) -> None:
    try:
        raise Shelf.EmptyError("row", 7)
    except Shelf.EmptyError:
        log.exception("cannot sell")


def test_the_type_and_the_message_of_an_exception(side: Side) -> None:
    fail(chain(side))

    attributes = side.got().attributes
    said = (attributes["exception.type"], attributes["exception.message"])
    ours = f"{__name__}.Shelf.EmptyError", "('row', 7)"
    assert said == (("EmptyError", "row") if isinstance(side, Official) else ours)


def test_an_exception_behind_dict_tracebacks(side: Side) -> None:
    fail(chain(side, structlog.processors.dict_tracebacks))

    found = [name for name in side.got().attributes if name.startswith("exception.")]
    assert len(found) == (0 if isinstance(side, Official) else 3)


def test_bound_context_without_merge_contextvars(side: Side) -> None:
    structlog.contextvars.bind_contextvars(request="r-1")
    chain(side).info("x")

    assert ("request" in side.got().attributes) is isinstance(side, Ours)


def test_the_name_of_an_event(side: Side) -> None:
    chain(side).info("sold", event_name="shop.sold")

    got = side.got()
    name = got.attributes.get("event_name"), got.event_name
    assert name == (("shop.sold", None) if isinstance(side, Official) else (None, "shop.sold"))


def test_the_time_without_a_time_stamper(side: Side) -> None:
    chain(side).info("x")

    assert (side.got().timestamp is None) is isinstance(side, Official)


def test_objects_that_are_not_plain_data(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    chain(side).info("x", exact={1, 2}, at=Path("/x"))

    assert side.got().attributes["at"] == "/x"
    assert side.got().attributes["exact"] == ("{1, 2}" if isinstance(side, Official) else [1, 2])
    assert len(caplog.messages) == (2 if isinstance(side, Official) else 0)


class Broken:
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("kind", ["broken", "cycle"])
def test_objects_that_cannot_be_written(side: Side, kind: str) -> None:
    cycle: dict[str, Any] = {}
    cycle["me"] = cycle
    value = {"broken": Broken(), "cycle": cycle}[kind]

    if isinstance(side, Official):
        with pytest.raises((ValueError, RecursionError)):
            chain(side).info("x", value=value)
    else:
        chain(side).info("x", value=value)
        assert side.got().attributes["value"]


def test_a_level_that_structlog_does_not_have(side: Side) -> None:
    side.processor(None, "notice", {"event": "x"})

    assert side.got().severity == (None, "NOTICE")


def test_arguments_of_the_standard_librarys_wrapper(side: Side) -> None:
    log = structlog.wrap_logger(
        logging.getLogger("tests.compared"),
        processors=[side.processor, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    log.warning("late by %d days", 3)

    said = "late by %d days" if isinstance(side, Official) else "late by 3 days"
    assert side.got().body == said


def test_secrets(side: Side) -> None:
    chain(side).info("x", password="hunter2")

    said = "hunter2" if isinstance(side, Official) else "[REDACTED]"
    assert side.got().attributes["password"] == said


def test_agent_events(side: Side) -> None:
    chain(side).info("search", event_type="tool_call", tool="flights", args={"to": "LIS"})

    got = side.got()
    assert got.event_name == (None if isinstance(side, Official) else "wakelog.tool_call")
    assert ("args" in got.attributes) is isinstance(side, Official)
