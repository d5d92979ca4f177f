"""What becomes of records, answer by answer: the second table of `docs/guarantees.md`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
    OTLPLogExporter as GrpcLogExporter,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import (
    OTLPLogExporter as HttpLogExporter,
)
from opentelemetry.sdk._logs import LoggerProvider

from tests.support.guarantees import ANSWER_PROPERTY, AnswerRow
from tests.support.scripted import (
    ACCEPT,
    BAD_REQUEST,
    CLOSE,
    HANG,
    RESET,
    TOO_LARGE,
    UNAUTHENTICATED,
    Answer,
    Received,
    Scripted,
    ScriptedGRPC,
    ScriptedHTTP,
)
from wakelog.journal import Books, books
from wakelog.otel import DurableLogRecordProcessor

SECONDS = 30.0
RECORDS = 8
BAD = "record-3"
# Long enough for a loaded machine to answer in, and waited for by what hangs only.
TIMEOUT = 2.0

DELIVERED, PENDING, REFUSED, TOO_LARGE_ = "delivered", "kept, sent again", "sorted", "halved"


class Case(NamedTuple):
    """An answer, and what Wakelog does with it."""

    name: str
    answer: Answer
    does: str


def code(status: grpc.StatusCode, message: str = "", retry_after: float | None = None) -> Answer:
    return Answer(code=status, message=message, retry_after=retry_after)


HTTP = [
    Case("200", ACCEPT, DELIVERED),
    Case("202", Answer(status=202), DELIVERED),
    Case("204", Answer(status=204, body=b""), DELIVERED),
    Case("302", Answer(status=302, headers={"Location": "/elsewhere"}), PENDING),
    Case("304", Answer(status=304, body=b""), PENDING),
    Case("400", BAD_REQUEST, REFUSED),
    Case("401", UNAUTHENTICATED, PENDING),
    Case("413", TOO_LARGE, TOO_LARGE_),
    Case("429 with Retry-After", Answer(status=429, retry_after=1), PENDING),
    *(Case(str(status), Answer(status=status), PENDING) for status in (500, 502, 503, 504)),
]
GRPC = [
    Case("OK", ACCEPT, DELIVERED),
    Case("INVALID_ARGUMENT", BAD_REQUEST, REFUSED),
    Case("UNAUTHENTICATED", UNAUTHENTICATED, PENDING),
    Case("a message too large", TOO_LARGE, TOO_LARGE_),
    Case(
        "RESOURCE_EXHAUSTED with RetryInfo",
        code(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", 1),
        PENDING,
    ),
    Case("UNAVAILABLE", code(grpc.StatusCode.UNAVAILABLE, "not now"), PENDING),
    Case("DEADLINE_EXCEEDED", code(grpc.StatusCode.DEADLINE_EXCEEDED, "busy"), PENDING),
    Case("INTERNAL", code(grpc.StatusCode.INTERNAL, "a bug"), PENDING),
]
BOTH = [
    Case("none: it hangs", HANG, PENDING),
    Case("none: reset in the middle", RESET, PENDING),
    Case("none: closed", CLOSE, PENDING),
    Case("success, unreadable", Answer(body=b"\xff\xff"), PENDING),
    Case("partial success, 0 rejected", Answer(message="a warning"), DELIVERED),
    Case("partial success, 1 rejected", Answer(rejected=1, message="too old"), REFUSED),
    Case("partial success, all rejected", Answer(rejected=RECORDS, message="too old"), REFUSED),
]


class Run(NamedTuple):
    """What a run has left."""

    books: Books
    duplicates: int

    def text(self) -> str:
        kept = self.books
        figures = {
            "delivered": kept.delivered,
            "pending": kept.pending,
            "dead letters": kept.dead_lettered,
            "twice": self.duplicates,
        }
        return ", ".join(f"{figure} {name}" for name, figure in figures.items() if figure)


def run(
    directory: Path,
    protocol: str,
    always: Answer | Callable[[Received], Answer],
    *once: Answer,
    settles: bool = True,
) -> Run:
    """Record eight records, deliver them as long as the next hop takes any, and read the books."""
    hop: Scripted = ScriptedGRPC(always) if protocol == "grpc" else ScriptedHTTP(always)
    with hop.answer(*once):
        exporter = (
            GrpcLogExporter(hop.endpoint, insecure=True, timeout=TIMEOUT)
            if protocol == "grpc"
            else HttpLogExporter(f"{hop.endpoint}/v1/logs", timeout=TIMEOUT)
        )
        processor = DurableLogRecordProcessor(exporter, 60_000, directory=directory)
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        logger = provider.get_logger("answers")
        for number in range(RECORDS):
            uid = f"record-{number}"
            logger.emit(LogRecord(body=uid, attributes={"log.record.uid": uid}))
        if settles:
            processor.force_flush(int(1000 * SECONDS))
        else:
            processor.force_flush(1)  # not to wait for the schedule
            hop.wait_for_requests(1, SECONDS)
        processor.shutdown()
        uids = [uid for uid in hop.uids() if not uid.endswith(".dead_letter")]
    (kept,) = books(directory)
    assert kept.accepted == RECORDS
    return Run(kept, len(uids) - len(set(uids)))


CASES = [
    *(pytest.param("http/protobuf", case, id=f"http: {case.name}") for case in (*HTTP, *BOTH)),
    *(pytest.param("grpc", case, id=f"grpc: {case.name}") for case in (*GRPC, *BOTH)),
]


@pytest.mark.parametrize("protocol, case", CASES)
def test_no_answer_loses_a_record(
    tmp_path: Path, protocol: str, case: Case, record_property: Callable[[str, object], None]
) -> None:
    def to_one(request: Received) -> Answer:
        return case.answer if BAD in request.uids else ACCEPT

    once = run(tmp_path / "once", protocol, ACCEPT, case.answer)
    one = run(tmp_path / "one", protocol, to_one) if case.does in (REFUSED, TOO_LARGE_) else None
    settles = case.does == DELIVERED or case.answer.rejected == 1
    always = run(tmp_path / "always", protocol, case.answer, settles=settles)

    assert once.books.delivered == RECORDS
    if one is not None:
        assert (one.books.delivered, one.books.dead_lettered) == (RECORDS - 1, 1)
    if case.does == DELIVERED:
        assert always.books.delivered == RECORDS
    elif case.answer.rejected == 1:
        # It takes others, it says each time, so every record that is rejected alone is set aside.
        assert always.books.dead_lettered == RECORDS
    else:
        assert (always.books.delivered, always.books.dead_lettered) == (0, 0)
    row = AnswerRow(
        case.name,
        protocol,
        case.does,
        once.text(),
        one.text() if one is not None else "as always",
        always.text(),
    )
    record_property(ANSWER_PROPERTY, row)
