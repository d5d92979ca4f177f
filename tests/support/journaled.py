"""A logger over a journal of its own, and what it has recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from wakelog import AgentLogger
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.record import Record


class Journaled:
    """A logger whose events go to `directory` and nowhere else."""

    def __init__(self, directory: Path, **processor: Any) -> None:
        self.directory = directory
        self.processor = DurableLogRecordProcessor(None, directory=directory, **processor)
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(self.processor)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.log = AgentLogger(
            "clerk",
            sink=OTelSink(self.provider, required=True),
            tracer_provider=self.tracers,
        )

    def records(self) -> list[Record]:
        return [entry.record for entry in read(self.directory)]

    def one(self) -> Record:
        [record] = self.records()
        return record

    def close(self) -> None:
        self.provider.shutdown()
        self.tracers.shutdown()
