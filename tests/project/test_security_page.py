"""`SECURITY.md` says what is so: its tests exist, and what leaves by default is what was measured."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource

from tests.conftest import ROOT
from wakelog import AgentLogger, DurableLogRecordProcessor, OTelSink
from wakelog.events import EVENT_TYPES

PAGE = ROOT / "SECURITY.md"
SECRET = "ann@example.com"
IDS = (
    *("agent_name", "workflow_name", "parent_event_id", "provider", "model", "tool_name"),
    *("status", "session_id", "tenant_id", "call_id", "run_id"),
)
OWN, AS_GIVEN, REDACTED = "Wakelog's own", "as given", "redacted"


def kept(text: str) -> str:
    """Tell what became of a secret that was given for everything."""
    if SECRET in text:
        return AS_GIVEN
    return REDACTED if "[REDACTED]" in text else OWN


def exported(directory: Path) -> dict[str, tuple[str, int]]:
    """Export an event of each type with everything that it can have, as it is done by default.

    Returns:
        For each field that left, what became of a secret in it, and how many types have it.
    """
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=directory)
    provider = LoggerProvider(resource=Resource({"service.name": f"shop of {SECRET}"}))
    provider.add_log_record_processor(durable)
    log = AgentLogger(sink=OTelSink(provider))
    for name, kind in EVENT_TYPES.items():
        payload: dict[str, Any] = dict.fromkeys([*kind.payload, "anything else"], f"by {SECRET}")
        log.emit(
            name,
            payload,
            risk={"level": f"by {SECRET}"},
            metadata={"note": f"by {SECRET}"},
            attributes={"shop.note": f"by {SECRET}"},
            **{field: f"{field} of {SECRET}" for field in IDS},
        )
    assert durable.force_flush(60_000)
    durable.shutdown()

    fields: dict[str, list[str]] = defaultdict(list)
    for data in exporter.get_finished_logs():
        record = data.log_record
        for attribute, value in (record.attributes or {}).items():
            fields[attribute].append(kept(repr(value)))
        for attribute, value in data.resource.attributes.items():
            fields[f"resource: {attribute}"].append(kept(repr(value)))
        for field in ("body", "event_name", "severity_number", "severity_text", "timestamp"):
            fields[field].append(kept(repr(getattr(record, field))))
        assert data.instrumentation_scope is not None
        fields["scope"].append(kept(repr(data.instrumentation_scope.name)))
    outcomes = {}
    for field, found in sorted(fields.items()):
        outcome = " or ".join(sorted(set(found) - {OWN} or {OWN}))
        outcomes[field] = outcome, len(found)
    return outcomes


def table_of(measured: dict[str, tuple[str, int]]) -> str:
    rows = [
        f"| `{field}` | {'all' if count == len(EVENT_TYPES) else count} | {outcome} |"
        for field, (outcome, count) in measured.items()
    ]
    return "\n".join(["| field | event types | a secret in it |", "|---|---|---|", *rows])


def test_the_page_has_every_field_that_leaves_by_default(tmp_path: Path) -> None:
    table = table_of(exported(tmp_path))

    assert table in PAGE.read_text(), f"Put this into SECURITY.md:\n\n{table}"


def test_no_content_is_among_what_leaves_by_default(tmp_path: Path) -> None:
    fields = exported(tmp_path)

    assert not [name for name in fields if re.search(r"messages|payload|arguments|result", name)]


def threat_rows() -> list[tuple[str, str]]:
    section = PAGE.read_text().split("## The threat model", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [(row.split("|")[1].strip(), row.rstrip(" |").rsplit("|", 1)[1]) for row in rows]


@pytest.mark.parametrize("row", threat_rows(), ids=lambda row: row[0][:40])
def test_every_control_of_the_threat_model_names_a_test_that_exists(row: tuple[str, str]) -> None:
    named = re.findall(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`", row[1])

    assert named or row[1].strip() == "none"
    for file, test in named:
        source = (ROOT / file).read_text()
        assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE), f"{file}::{test}"
