"""Records that compiled code prepares together are those that Python prepares one by one."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from tests.support.parts import REQUIRED
from wakelog.events import semconv as s
from wakelog.journal import Entry, LaterEntry, Mark
from wakelog.journal._entry import later_entry
from wakelog.otel._content import NAMES, ContentPolicy, body_of
from wakelog.otel._line_records import LineLogRecord, PreparedRecord
from wakelog.otel._rebuilder import Rebuilder
from wakelog.record import Resource, encode, seal

if importlib.util.find_spec("wakelog_native") is None:
    reason = "wakelog-native is not installed: run `make native` (needs Rust)"
    if "native" in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"it is required here: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)

import wakelog_native

RESOURCES = (Resource({"service.name": "one"}), Resource({"service.name": "two"}))
SCOPES: tuple[dict[str, str] | None, ...] = (
    {"name": "shop"},
    {"name": "shop", "version": "1.2"},
    {"name": s.SCOPE_NAME, "schema_url": s.SCHEMA_URL},
    {"name": s.SCOPE_NAME, "schema_url": "https://opentelemetry.io/schemas/1.30.0"},
    {"name": "x" * 2000},
    None,
)
# The last three are not ordinary: with a name of Wakelog's own, in a form of Wakelog's, too deep.
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    {},
    {"n": 3, "gen_ai.tool.name": "search", "wakelog.payload": {"text": "x" * 300}},
    {"text": "é€ \U0001f600", "list": [1, 2.5, None, True]},
    {s.LOG_RECORD_UID: "mine"},
    {"bytes": b"\x00\xff"},
    {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
)


def entry_of(
    fields: dict[str, Any], seq: int, resource: Resource = RESOURCES[0], writer: str = "w"
) -> LaterEntry:
    content = encode({"timestamp": "2026-11-30T17:00:00.000000000Z"} | fields, 1 << 20)
    line = seal(f"id-{seq}", seq, content, 0)[0][:-1]
    return later_entry((line, resource, writer, Mark(1, 0, 0), seq, len(line)))


@st.composite
def entries_of(draw: st.DrawFn) -> list[Entry]:
    made: list[Entry] = []
    for seq in range(1, draw(st.integers(1, 12)) + 1):
        fields = {
            "event_name": draw(st.sampled_from(["", "wakelog.tool_call"])),
            "severity_number": draw(st.sampled_from([9, 9, 99])),
            "attributes": draw(st.sampled_from(ATTRIBUTES)),
            "scope": draw(st.sampled_from(SCOPES[:1] * 3 + SCOPES)),
        }
        resource, writer = draw(st.sampled_from(RESOURCES)), draw(st.sampled_from(["w", "v"]))
        entry = entry_of(fields, seq, resource, writer)
        if draw(st.booleans()):
            made.append(entry)
        else:
            made.append(Entry(entry.record, resource, writer, entry.mark))
    return made


def rebuilder_for(events: bool, most: int | None, encodes: bool) -> Rebuilder:
    made = Rebuilder(ContentPolicy(events=events), max_record_bytes=most)
    made.encodes = encodes
    return made


def with_compiled(made: Rebuilder, events: bool) -> Rebuilder:
    names = (s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ, s.REPLAYED)
    encoder = wakelog_native.LogEncoder(events, set(s.CONTENT), *names, [*NAMES], body_of)
    longest = max(0, made._encoder.longest)
    made._compiled = wakelog_native.RecordPreparer(
        encoder, longest, LaterEntry, LineLogRecord, PreparedRecord
    ).prepare
    return made


def together(rebuilder: Rebuilder, entries: Sequence[Entry], most: int, replayed: bool) -> Any:
    """What the export pipeline makes of entries, and how many were prepared in compiled code."""
    records: list[Any] = []
    compiled = 0
    while len(records) < len(entries):
        some = rebuilder.prepare_some(entries, len(records), most, replayed)
        assert len(some) <= most
        compiled += len(some)
        records += some or [rebuilder.prepare(entries[len(records)], replayed)]
    return records, compiled


def shown(records: Sequence[Any]) -> list[Any]:
    """All that an exporter can see of records; the encoded form only from those that carry it."""
    found: list[Any] = []
    for one in records:
        record = one.log_record
        encoded = getattr(record, "encoded", None)
        fields = {name: value for name, value in vars(record).items() if name != "context"}
        found.append((type(record), encoded, fields, one.resource, one.instrumentation_scope))
    return found


@settings(max_examples=times(4000), deadline=None)
@given(
    entries_of(),
    st.booleans(),
    st.sampled_from([None, 0, 1500, 10**6]),
    st.booleans(),
    st.integers(1, 5),
    st.booleans(),
)
def test_records_prepared_together_are_those_prepared_one_by_one(
    entries: list[Entry],
    events: bool,
    max_record_bytes: int | None,
    encodes: bool,
    most: int,
    replayed: bool,
) -> None:
    alone = rebuilder_for(events, max_record_bytes, encodes)
    rebuilder = with_compiled(rebuilder_for(events, max_record_bytes, encodes), events)

    records, _ = together(rebuilder, entries, most, replayed)

    assert shown(records) == shown([alone.prepare(entry, replayed) for entry in entries])


@pytest.mark.parametrize("encodes", [True, False])
def test_ordinary_records_of_one_scope_are_prepared_in_compiled_code(encodes: bool) -> None:
    entries = [entry_of({"body": "b", "scope": SCOPES[0]}, seq) for seq in range(1, 41)]
    rebuilder = with_compiled(rebuilder_for(True, None, encodes), True)

    records, compiled = together(rebuilder, entries, 16, False)

    assert len(records) == compiled == 40


def test_a_record_whose_body_cannot_be_made_costs_only_itself() -> None:
    def breaks(event_name: str, attributes: dict[str, Any]) -> str:
        if attributes.get(s.TOOL_NAME) == "bad":
            raise RuntimeError(event_name)
        return body_of(event_name, attributes)

    own: dict[str, Any] = {"event_name": "wakelog.tool_call", "scope": SCOPES[2]}
    entries = [
        entry_of({"attributes": {s.TOOL_NAME: tool}} | own, seq)
        for seq, tool in enumerate(["one", "two", "bad", "three"], 1)
    ]
    rebuilder = rebuilder_for(True, None, True)
    names = (s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ, s.REPLAYED)
    encoder = wakelog_native.LogEncoder(True, set(s.CONTENT), *names, [*NAMES], breaks)
    rebuilder._compiled = wakelog_native.RecordPreparer(
        encoder, 1 << 30, LaterEntry, LineLogRecord, PreparedRecord
    ).prepare

    assert len(rebuilder.prepare_some(entries, 0, 16, False)) == 2
    with pytest.raises(RuntimeError):
        rebuilder.prepare_some(entries, 2, 16, False)
    assert len(rebuilder.prepare_some(entries, 3, 16, False)) == 1
