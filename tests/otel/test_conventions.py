"""OpenTelemetry's conventions for generative AI: every name is one of theirs, old lines get today's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry import semconv as core
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.conftest import ROOT
from tests.support.collector import Collector
from tests.support.programs import environment
from wakelog import AgentEvent, AgentLogger, DurableLogRecordProcessor, MemorySink, OTelSink
from wakelog.events import fields_of, semconv
from wakelog.journal import read
from wakelog.otel import _genai_metrics
from wakelog.record import seal_fields
from wakelog.telemetry.instruments import Instruments
from wakelog.viewer import load

DATA: dict[str, Any] = json.loads(
    (ROOT / "tests" / "data" / "genai-conventions.json").read_text(encoding="utf-8")
)
NAMES = {
    name: value
    for name, value in vars(semconv).items()
    if name.isupper() and isinstance(value, str)
}
OPERATIONS = {
    "INVOKE_AGENT",
    "INVOKE_WORKFLOW",
    "CHAT",
    "EXECUTE_TOOL",
    "RETRIEVAL",
    "SEARCH_MEMORY",
}
ABOUT = {"SEMCONV_VERSION", "SCHEMA_URL", "EVENT_PREFIX", "GENAI_PREFIX", "SCOPE_NAME", "GIVEN"}


# --- the names -----------------------------------------------------------------------------------


def test_every_genai_name_is_in_the_conventions_that_are_named() -> None:
    known = {*DATA["attributes"], *DATA["events"], *DATA["metrics"]}

    ours = {
        value for name, value in NAMES.items() if name not in ABOUT and value.startswith("gen_ai.")
    }

    assert ours - known == set()
    assert {NAMES[name] for name in OPERATIONS} <= set(DATA["operations"])
    assert f"genai {DATA['release'].removeprefix('v')};" in semconv.SEMCONV_VERSION
    assert DATA["release"].removeprefix("v") in semconv.SCHEMA_URL
    old = DATA["in_the_copy_and_not_in_the_release"]
    assert not ours & set(old)


def test_every_other_name_is_in_the_core_conventions_or_our_own() -> None:
    folder = Path(next(iter(core.__path__)))
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    theirs = set(re.findall(r'"([a-z][a-z0-9_.]+)"', text))

    others = {
        name: value
        for name, value in NAMES.items()
        if name not in ABOUT | OPERATIONS and not value.startswith(("gen_ai.", "wakelog."))
    }

    assert {value for value in others.values() if value not in theirs} == set()


def test_a_name_of_the_conventions_has_its_type() -> None:
    kinds = {"int": int, "double": float, "boolean": bool, "string": str, "string[]": list}
    payload = {
        "max_tokens": 5, "choice_count": 2, "temperature": 1, "top_p": 1, "top_k": 3,
        "stop_sequences": "end", "frequency_penalty": 0, "presence_penalty": 1,
        "encoding_formats": "float", "seed": 7, "stream": True, "reasoning_level": "low",
        "previous_response_id": "r", "compacted": True, "time_to_first_chunk": 0.25,
        "dimension_count": 3, "prompt_name": "p", "prompt_version": "2",
        "finish_reasons": ["stop"], **dict.fromkeys(semconv_usage(), 1),
    }  # fmt: skip

    attributes = fields_of(AgentEvent("model_call", payload=payload))["attributes"]

    assert "wakelog.payload" not in attributes
    wrong = {
        name: value
        for name, value in attributes.items()
        if (kind := kinds.get(DATA["attributes"].get(name, ""))) and type(value) is not kind
    }
    assert wrong == {}
    assert len(attributes) == len(payload) + 1


def semconv_usage() -> list[str]:
    prefix = "gen_ai.usage."
    names = [name for name in DATA["attributes"] if name.startswith(prefix)]
    assert len(names) == 14
    return [name.removeprefix(prefix).replace(".", "_") for name in names]


def test_what_is_not_so_is_not_said_to_be_false() -> None:
    payload = {"stream": False, "compacted": False}

    attributes = fields_of(AgentEvent("model_call", payload=payload))["attributes"]

    assert attributes == {"gen_ai.operation.name": "chat"}


# The message schemas of the conventions, as far as they concern what is made of a text here.
MESSAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["role", "parts"],
        "additionalProperties": False,  # `finish_reason` within a message is deprecated
        "properties": {
            "role": {"enum": ["system", "user", "assistant", "tool"]},
            "parts": {"$ref": "#/$defs/parts"},
        },
    },
}
PARTS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["type", "content"],
        "additionalProperties": False,
        "properties": {"type": {"const": "text"}, "content": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    "event_type, key, attribute",
    [
        ("user_message", "message", "gen_ai.input.messages"),
        ("assistant_message", "message", "gen_ai.output.messages"),
        ("system_instruction", "instruction", "gen_ai.system_instructions"),
        ("model_call", "input_messages", "gen_ai.input.messages"),
        ("model_call", "system_instructions", "gen_ai.system_instructions"),
        ("model_response", "output_messages", "gen_ai.output.messages"),
        ("inference_details", "output_messages", "gen_ai.output.messages"),
        ("stream_end", "message", "gen_ai.output.messages"),
    ],
)
def test_a_text_becomes_a_message_as_the_conventions_have_it(
    event_type: str, key: str, attribute: str
) -> None:
    from jsonschema import Draft202012Validator

    said = fields_of(AgentEvent(event_type, payload={key: "hello"}))["attributes"][attribute]

    schema = PARTS if attribute.endswith("instructions") else MESSAGES
    Draft202012Validator({**schema, "$defs": {"parts": PARTS}}).validate(said)


# --- what calls record ---------------------------------------------------------------------------


class Recorded:
    """A logger with everything that it records, its spans, and what leaves."""

    def __init__(self, folder: Path, **logger: Any) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.hop = InMemoryLogRecordExporter()
        self.processor = DurableLogRecordProcessor(self.hop, directory=folder)
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(self.processor)
        self.log = AgentLogger(
            "planner",
            sink=OTelSink(self.provider, required=True),
            tracer_provider=self.tracers,
            **logger,
        )

    def exported(self) -> list[Any]:
        assert self.processor.force_flush()
        return list(self.hop.get_finished_logs())

    def of(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.exported() if one.log_record.event_name == name]
        return dict(found.log_record.attributes)


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    made: list[Recorded] = []

    def make(**logger: Any) -> Recorded:
        made.append(Recorded(tmp_path / f"j{len(made)}", **logger))
        return made[-1]

    yield make
    for one in made:
        one.processor.shutdown()


def test_the_parameters_of_a_request_are_attributes_of_event_and_span(recorded: Any) -> None:
    it = recorded()
    asked = {
        "model": "gpt-5", "messages": ["not twice"], "max_completion_tokens": 9, "temperature": 0,
        "n": 1, "stop": ["a", "b"], "reasoning_effort": "low", "stream": True, "top_k": None,
        "tools": [{"type": "function", "name": "f"}], "user": "u-1",
    }  # fmt: skip

    with it.log.model("gpt-5", "openai", "hi", request=asked, compacted=True) as call:
        call.first_chunk().first_chunk()
        call.respond("ho", cache_read_input_tokens=4, reasoning_output_tokens=2, input_tokens=5)

    parameters = {
        "gen_ai.request.max_tokens": 9, "gen_ai.request.temperature": 0.0,
        "gen_ai.request.choice.count": 1, "gen_ai.request.stop_sequences": ("a", "b"),
        "gen_ai.request.reasoning.level": "low", "gen_ai.request.stream": True,
        "gen_ai.conversation.compacted": True, "gen_ai.request.model": "gpt-5",
    }  # fmt: skip
    call_event = it.of("wakelog.model_call")
    assert parameters.items() <= call_event.items()
    assert "gen_ai.tool.definitions" not in call_event, "it is content"
    answer = it.of("wakelog.model_response")
    assert answer["gen_ai.usage.cache_read.input_tokens"] == 4
    assert answer["gen_ai.usage.reasoning.output_tokens"] == 2
    assert 0 < answer["gen_ai.response.time_to_first_chunk"] < 60
    assert answer["gen_ai.request.stream"] is True
    (span,) = it.spans.get_finished_spans()
    assert parameters.items() <= dict(span.attributes or {}).items()
    assert (span.attributes or {})["gen_ai.response.time_to_first_chunk"] > 0
    (kept,) = [one for one in read(it.processor.journal.root) if "hi" in repr(one.record)]
    assert kept.record.attributes["gen_ai.tool.definitions"] == asked["tools"]
    assert kept.record.attributes["wakelog.payload"] == {"request": {"user": "u-1"}}


def test_the_run_of_a_workflow_is_named_as_the_conventions_have_it(recorded: Any) -> None:
    it = recorded()

    with it.log.run(workflow="trip"), it.log.run(agent="booker"):
        it.log.decision("go")

    inner, outer = it.spans.get_finished_spans()
    assert (inner.name, outer.name) == ("invoke_agent booker", "invoke_workflow trip")
    start = next(one for one in it.exported() if one.log_record.event_name == "wakelog.run_start")
    said = dict(start.log_record.attributes)
    assert said["gen_ai.operation.name"] == "invoke_workflow"
    assert said["gen_ai.agent.name"] == said["wakelog.workflow.name"] == "trip"
    decided = it.of("wakelog.decision")
    assert (decided["gen_ai.agent.name"], decided["wakelog.workflow.name"]) == ("booker", "trip")
    assert not any("gen_ai.workflow.name" in (one.log_record.attributes) for one in it.exported())


def test_logs_and_spans_name_the_schema(recorded: Any) -> None:
    it = recorded()
    with it.log.tool("t", description="adds up"):
        pass

    assert {one.instrumentation_scope.schema_url for one in it.exported()} == {semconv.SCHEMA_URL}
    (span,) = it.spans.get_finished_spans()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == semconv.SCHEMA_URL
    assert (span.attributes or {})["gen_ai.tool.description"] == "adds up"
    assert it.of("wakelog.tool_call")["gen_ai.tool.description"] == "adds up"


def test_memory_and_retrieval_have_their_attributes() -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)
    log.retrieval_query("q", "kb", top_k=3)
    log.memory_recall("long", "u-1", 2, query="likes", store="ms", records=[{"content": "tea"}])
    log.memory_write("upsert", 1, store="ms", record_id="m-1", records=[{"content": "tea"}])

    retrieval, recall, write = (fields_of(event)["attributes"] for event in sink.events)

    assert retrieval["gen_ai.retrieval.top_k"] == 3
    assert recall["gen_ai.memory.query.text"] == "likes"
    assert recall["gen_ai.memory.store.id"] == "ms"
    assert recall["gen_ai.memory.records"] == [{"content": "tea"}]
    assert write["gen_ai.operation.name"] == "upsert_memory"
    assert write["gen_ai.memory.record.count"] == 1
    assert write["gen_ai.memory.record.id"] == "m-1"


# --- the conventions' own events, as a choice ----------------------------------------------------


def test_their_events_are_recorded_only_where_they_are_chosen(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "EVENT_ONLY")
    plain, chosen = recorded(), recorded(genai_events=True)

    for it in (plain, chosen):
        with it.log.run(session_id="s-1"):
            with it.log.model("m", "p", "hi", request={"seed": 3}) as call:
                call.respond("ho", input_tokens=5, response_id="r-1")
            with pytest.raises(ValueError, match="no"), it.log.model("m", "p", "hi"):
                raise ValueError("no")
            with pytest.raises(ValueError, match="no"), it.log.tool("t"):
                raise ValueError("no")

    names = [one.log_record.event_name for one in plain.exported()]
    assert not any(name.startswith("gen_ai.") for name in names)
    theirs = [one for one in chosen.exported() if one.log_record.event_name.startswith("gen_ai.")]
    assert [one.log_record.event_name for one in theirs] == [
        "gen_ai.client.inference.operation.details",
        "gen_ai.client.inference.exception",
        "gen_ai.client.inference.operation.details",
        "gen_ai.execute_tool.exception",
    ]
    for one in theirs:
        wanted = DATA["events"][one.log_record.event_name]
        assert one.log_record.severity_number.name == wanted
    details = dict(theirs[0].log_record.attributes)
    assert details["gen_ai.input.messages"][0]["parts"][0]["content"] == "hi"
    assert details["gen_ai.output.messages"][0]["parts"][0]["content"] == "ho"
    assert details["gen_ai.usage.input_tokens"] == 5
    assert details["gen_ai.request.seed"] == 3
    assert details["gen_ai.conversation.id"] == "s-1"
    failed = dict(theirs[1].log_record.attributes)
    assert (failed["exception.type"], failed["exception.message"]) == ("ValueError", "no")
    (view,) = [load(it.processor.journal.root) for it in (chosen,)]
    (run,) = view.sessions[0].runs
    assert [step.type for step in run.steps] == ["model_call", "model_call", "tool_call"]


# --- metrics, as a choice ------------------------------------------------------------------------


def test_tokens_and_durations_are_counted_where_that_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = InMemoryMetricReader()
    metrics = _genai_metrics.GenAIMetrics()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    Instruments(provider, _genai_metrics.TABLE, metrics._collect)
    monkeypatch.setattr(_genai_metrics, "_shared", metrics)
    log = AgentLogger("planner", sink=MemorySink(), genai_metrics=True)
    silent = AgentLogger("planner", sink=MemorySink())

    for one in (log, log, silent):
        with one.run():
            with one.model("m", "openai") as call:
                call.first_chunk()
                call.respond(
                    input_tokens=100, output_tokens=20, cache_read_input_tokens=40,
                    audio_input_tokens=30, reasoning_output_tokens=5,
                )  # fmt: skip
            with one.tool("search"):
                pass
    with pytest.raises(ValueError, match="no"), log.model("m", "openai"):
        raise ValueError("no")

    found = {
        metric.name: list(metric.data.data_points)
        for resource in reader.get_metrics_data().resource_metrics  # type: ignore[union-attr]
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert set(found) <= set(DATA["metrics"])
    call_of = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
    }  # fmt: skip

    def tokens(name: str) -> dict[str, float]:
        points = found[f"gen_ai.client.inference.usage.{name}"]
        assert all(call_of.items() <= dict(point.attributes).items() for point in points)
        return {point.attributes["gen_ai.token.modality"]: point.value for point in points}

    assert tokens("input_tokens") == {"audio": 60, "unknown": 140}
    assert tokens("output_tokens") == {"unknown": 40}
    assert tokens("cache_read.input_tokens") == {"unknown": 80}
    assert tokens("cache_write.input_tokens") == {"unknown": 0}
    assert tokens("reasoning.output_tokens") == {"unknown": 10}
    durations = found["gen_ai.client.inference.duration"]
    assert sorted(point.count for point in durations) == [1, 2]
    assert [p.count for p in durations if p.attributes.get("error.type") == "ValueError"] == [1]
    assert [p.count for p in found["gen_ai.client.inference.time_to_first_chunk"]] == [2]
    assert [p.count for p in found["gen_ai.execute_tool.duration"]] == [2]
    (agents,) = found["gen_ai.invoke_agent.duration"]
    assert (agents.count, agents.attributes["gen_ai.agent.name"]) == (2, "planner")


def test_nothing_is_lost_of_the_tokens_when_nobody_collects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_genai_metrics, "MOST_SAMPLES", 10)
    metrics = _genai_metrics.GenAIMetrics()
    for _ in range(25):
        metrics.inference({}, {"gen_ai.usage.input_tokens": 2}, 0.1)

    assert len(metrics._used) <= 11
    metrics._add_up()
    assert sum(metrics._sums["gen_ai.client.inference.usage.input_tokens"].values()) == 50


# --- lines of the first candidate ----------------------------------------------------------------

FIRST = "01a1fc74-0000-7000-8000-000000000001"


def first_candidate(root: Path) -> None:
    """Writes, by hand, what the first candidate wrote: no schema, and names that are gone."""
    folder = root / FIRST
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (root / "wakelog.json").write_bytes(orjson.dumps({"format": 1}))
    run = "01a1fc74-0000-7000-8000-0000000000aa"
    usage = {"cache_read_input_tokens": 40, "reasoning_output_tokens": 3, "note": "mine"}

    def line(number: int, name: str, **attributes: Any) -> dict[str, Any]:
        return {
            "id": f"01a1fc74-0000-7000-8000-00000000000{number}", "seq": number,
            "timestamp": f"2026-11-21T05:09:2{number}Z", "event_name": name,
            "severity_number": 9, "severity_text": "INFO",
            "attributes": {
                "gen_ai.agent.name": "planner", "gen_ai.workflow.name": "trip",
                "wakelog.run.id": run, **attributes,
            },
            "scope": {"name": "wakelog"},
        }  # fmt: skip

    lines = [
        line(1, "wakelog.run_start", **{"gen_ai.operation.name": "invoke_agent"}),
        line(
            2, "wakelog.model_response",
            **{"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 9,
               "gen_ai.request.model": "m", "wakelog.payload": usage},
        ),
        {**line(3, "shop.order"), "scope": {"name": "shop"}},
    ]  # fmt: skip
    header: dict[str, Any] = {
        "writer": FIRST, "segment": 1, "format": 1, "last_seq": 0, "last_crc": "00000000",
        "resource": {"attributes": {"service.name": "shop"}, "schema_url": ""},
    }  # fmt: skip
    (folder / "00000001.jsonl").write_bytes(chained(header, lines))


def chained(header: dict[str, Any], lines: list[dict[str, Any]]) -> bytes:
    text, seed = b"", 0
    for one in (header, *lines):
        line, seed = seal_fields(one, seed)
        text += line
    return text


def test_lines_of_the_first_candidate_leave_with_the_new_names(
    tmp_path: Path, collector: Collector
) -> None:
    root = tmp_path / "journal"
    first_candidate(root)

    done = subprocess.run(
        [sys.executable, "-m", "wakelog", "ship", str(root), "--endpoint", collector.http_endpoint,
         "--protocol", "http/protobuf"],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    sent = {one.event_name: one for one in collector.wait_for_logs(3)}
    start, response = sent["wakelog.run_start"], sent["wakelog.model_response"]
    for one in (start, response):
        assert one.attributes["wakelog.workflow.name"] == "trip"
        assert "gen_ai.workflow.name" not in one.attributes
    assert response.attributes["gen_ai.usage.cache_read.input_tokens"] == 40
    assert response.attributes["gen_ai.usage.reasoning.output_tokens"] == 3
    assert "wakelog.payload" not in response.attributes, "what is left of it is content"
    assert sent["shop.order"].attributes["gen_ai.workflow.name"] == "trip", "somebody else's"


def test_show_reads_old_lines_and_new_ones(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    first_candidate(root)
    new = Recorded(root)
    with new.log.run(workflow="trip"):
        pass
    new.processor.shutdown()

    view = load(root, attributes=True)

    old_run, new_run = view.sessions[0].runs
    for run in (old_run, new_run):
        assert run.attributes is not None
        assert run.attributes["wakelog.workflow.name"] == "trip"
        assert "gen_ai.workflow.name" not in run.attributes
    answer, order = old_run.steps
    assert answer.attributes is not None
    assert answer.attributes["gen_ai.usage.cache_read.input_tokens"] == 40
    assert answer.attributes["wakelog.payload"] == {"note": "mine"}
    assert order.attributes is not None
    assert order.attributes["gen_ai.workflow.name"] == "trip", "somebody else's"
