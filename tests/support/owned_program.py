"""Records for one service and pipeline, says what it delivers, and dies or ends as it is told.

    owned_program.py SERVICE PIPELINE DESTINATION COUNT kill|run

SERVICE is `-` for none. PIPELINE is `default`, a name, or `-` for that of the destination. It prints
`<destination> <body>` for each record that it delivers; as `kill` it delivers nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from wakelog.delivery import _writers
from wakelog.otel import DurableLogRecordProcessor

# What others left is looked for again after half a second, one second and two: sooner here.
_writers._FIRST_SEARCH_PAUSE = PAUSE = 0.05
SERVICE, PIPELINE, DESTINATION, COUNT, HOW = sys.argv[1:6]


class Hop(LogRecordExporter):
    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        if HOW == "kill":
            return LogRecordExportResult.FAILURE
        for record in batch:
            print(self.endpoint, record.log_record.body, flush=True)
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


named = None if PIPELINE == "-" else PIPELINE
durable = DurableLogRecordProcessor(Hop(DESTINATION), 20, pipeline=named)
resource = Resource({} if SERVICE == "-" else {"service.name": SERVICE})
provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
provider.add_log_record_processor(durable)
logger = provider.get_logger("l")
for number in range(int(COUNT)):
    logger.emit(LogRecord(body=f"{SERVICE}/{PIPELINE}/{os.getpid()}/{number}"))
if HOW == "kill":
    os.kill(os.getpid(), 9)
assert durable.force_flush(60_000)
delivery = durable._delivery
assert delivery is not None
deadline = time.monotonic() + 30
while delivery._writers.orphan is not None or (
    not delivery._writers._done and time.monotonic() < deadline
):
    if (
        delivery._writers._search_pause > 4 * PAUSE
    ):  # it has looked twice, and found nothing of its own
        break
    time.sleep(0.01)
durable.shutdown()
