"""How many functions of the delivery floor run for each record on its way from the disk to the answer."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import structlog
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider

import wakelog
from tests.support.scripted import ScriptedHTTP
from wakelog.delivery import Delivery
from wakelog.integrations.structlog import WakelogProcessor
from wakelog.journal import Folder, Journal
from wakelog.logger import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.otel._content import ContentPolicy
from wakelog.otel._export_pipeline import ExportPipeline, log_records
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._settings import Batching

RECORDS = 512
# Whatever the delivery floor does, it does for rounds and batches, save feeding the batch processor.
MOST = 0.5
# What all of Wakelog does. More is a step back; fewer is a reason to lower the number.
MOST_IN_ALL = 24
FLOOR = ("/delivery/", "/otel/_export_pipeline.py")
OURS = str(Path(wakelog.__file__).parent)


class Everything:
    """The folders of writers that are gone."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def live(self) -> list[Path]:
        return []

    def gone(self) -> Iterator[Folder]:
        return self._journal.orphans(lambda _: True)


def emit(provider: LoggerProvider) -> Callable[[int], object]:
    logger = provider.get_logger("frames")
    attributes: dict[str, Any] = {"order": 4711, "customer": "c-12", "express": True}
    return lambda number: logger.emit(
        LogRecord(body=f"order {number} received", attributes=attributes)
    )


def tool_call(provider: LoggerProvider) -> Callable[[int], object]:
    log = AgentLogger("clerk", sink=OTelSink(provider))
    return lambda number: log.tool_call("search", {"query": f"flights {number}"})


def through_structlog(provider: LoggerProvider) -> Callable[[int], object]:
    chain = [WakelogProcessor(AgentLogger("clerk", sink=OTelSink(provider)))]
    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[*chain, _nothing])
    return lambda number: log.info("order received", order=number, customer="c-12")


def _nothing(_: Any, __: str, ___: Any) -> str:
    return ""


@pytest.mark.parametrize("record", [emit, tool_call, through_structlog])
def test_a_record_costs_few_frames_from_the_disk_to_the_answer(
    tmp_path: Path, record: Callable[[LoggerProvider], Callable[[int], object]]
) -> None:
    recorder = DurableLogRecordProcessor(None, directory=tmp_path)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(recorder)
    one = record(provider)
    for number in range(RECORDS):
        one(number)
    provider.shutdown()
    frames: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            frames[f"{frame.f_code.co_filename.removeprefix(OURS)}:{frame.f_code.co_name}"] += 1

    with ScriptedHTTP() as server:
        pipeline = ExportPipeline(
            OTLPLogExporter(endpoint=server.logs_endpoint),
            log_records(Rebuilder(ContentPolicy())),
            Batching(3_600_000, RECORDS, 30_000, RECORDS),
        )
        journal = Journal(tmp_path)
        delivery = Delivery(
            journal,
            pipeline,
            endpoint="the server",
            sources=Everything(journal),
            schedule_delay=1,
            threaded=False,
        )
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            delivery.step()
        finally:
            sys.setprofile(before)
        assert delivery.acknowledged == RECORDS
        assert len(set(server.uids())) == RECORDS
        delivery.close()
        pipeline.shutdown()
        journal.close()

    floor = {name: count for name, count in frames.items() if name.startswith(FLOOR)}
    assert sum(floor.values()) / RECORDS <= MOST, floor
    assert sum(frames.values()) / RECORDS <= MOST_IN_ALL, frames.most_common(40)
