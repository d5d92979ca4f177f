"""Events: every type has the attributes that the design says, and any payload becomes a line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import wakelog
from wakelog import AgentEvent, InvalidEventTypeError, register_event_type
from wakelog.events import fields_of

INFO, WARN, ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": [{"type": "text", "content": text}]}]


def assistant(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "parts": [{"type": "text", "content": text}]}]


# Event type, fields, severity, attributes: by hand from section 6 of the design, which is why
# the names stand here as text.
CHAT = {"gen_ai.operation.name": "chat"}
TOOL = {"gen_ai.operation.name": "execute_tool"}
RETRIEVAL = {"gen_ai.operation.name": "retrieval"}
INVOKE = {"gen_ai.operation.name": "invoke_agent"}
MODEL_PAYLOAD = {
    "input_messages": "q",
    "output_messages": "a",
    "system_instructions": "be brief",
    "input_tokens": 3,
    "output_tokens": 5,
    "response_id": "r-1",
    "response_model": "gpt-4o-mini",
    "finish_reasons": ["stop"],
    "error_type": "timeout",
}
MODEL_ATTRIBUTES = {
    **CHAT,
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.input.messages": user("q"),
    "gen_ai.output.messages": assistant("a"),
    "gen_ai.system_instructions": [{"type": "text", "content": "be brief"}],
    "gen_ai.usage.input_tokens": 3,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.response.id": "r-1",
    "gen_ai.response.model": "gpt-4o-mini",
    "gen_ai.response.finish_reasons": ["stop"],
    "error.type": "timeout",
}
STREAM_PAYLOAD = {"stream_id": "st-1", "chunks": 4, "reason": "stop"}
STREAM_ATTRIBUTES = {
    "wakelog.stream.id": "st-1",
    "wakelog.stream.chunks": 4,
    "wakelog.stream.reason": "stop",
}
Row = tuple[str, dict[str, Any], tuple[int, str], dict[str, Any]]
TYPES: list[Row] = [
    ("run_start", {"status": "started"}, INFO, {**INVOKE, "wakelog.status": "started"}),
    (
        "run_end",
        {"status": "error", "payload": {"error_type": "ValueError"}},
        INFO,
        {**INVOKE, "wakelog.status": "error", "error.type": "ValueError"},
    ),
    (
        "user_message",
        {"payload": {"message": "hi"}},
        INFO,
        {**CHAT, "gen_ai.input.messages": user("hi")},
    ),
    (
        "system_instruction",
        {"payload": {"instruction": "be kind"}},
        INFO,
        {**CHAT, "gen_ai.system_instructions": [{"type": "text", "content": "be kind"}]},
    ),
    (
        "model_call",
        {"provider": "openai", "model": "gpt-4o", "payload": MODEL_PAYLOAD},
        INFO,
        MODEL_ATTRIBUTES,
    ),
    (
        "model_response",
        {"provider": "openai", "model": "gpt-4o", "payload": MODEL_PAYLOAD},
        INFO,
        MODEL_ATTRIBUTES,
    ),
    (
        "tool_call",
        {
            "tool_name": "search",
            "call_id": "call_1",
            "payload": {"args": {"q": "x"}, "tool_type": "function"},
        },
        INFO,
        {
            **TOOL,
            "gen_ai.tool.name": "search",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.arguments": {"q": "x"},
        },
    ),
    (
        "tool_result",
        {"tool_name": "search", "payload": {"result": [1], "error_type": "Timeout"}},
        INFO,
        {
            **TOOL,
            "gen_ai.tool.name": "search",
            "gen_ai.tool.call.result": [1],
            "error.type": "Timeout",
        },
    ),
    (
        "retrieval_query",
        {"payload": {"query": "x", "source": "kb"}},
        INFO,
        {**RETRIEVAL, "gen_ai.retrieval.query.text": "x", "gen_ai.data_source.id": "kb"},
    ),
    (
        "retrieval_result",
        {"payload": {"source": "kb", "result": [{"id": "d1"}]}},
        INFO,
        {
            **RETRIEVAL,
            "gen_ai.data_source.id": "kb",
            "gen_ai.retrieval.documents": [{"id": "d1"}],
        },
    ),
    (
        "policy_check",
        {"status": "denied", "payload": {"policy_name": "no_pii"}},
        INFO,
        {"wakelog.policy.name": "no_pii", "wakelog.status": "denied"},
    ),
    (
        "human_approval",
        {"status": "requested", "payload": {"approver": "ann"}},
        INFO,
        {"wakelog.approver": "ann", "wakelog.status": "requested"},
    ),
    (
        "decision",
        {"payload": {"decision": "refund", "requires_human_review": True}},
        INFO,
        {"wakelog.decision.text": "refund", "wakelog.decision.requires_human_review": True},
    ),
    (
        "error",
        {
            "payload": {
                "error": "boom",
                "error_type": "x.Y",
                "exception_type": "x.Y",
                "stacktrace": "at z",
            }
        },
        ERROR,
        {
            "error.type": "x.Y",
            "exception.type": "x.Y",
            "exception.message": "boom",
            "exception.stacktrace": "at z",
        },
    ),
    (
        "sub_agent_invoked",
        {"payload": {"agent_id": "helper", "sub_thread_id": "t-2"}},
        INFO,
        {"gen_ai.agent.name": "helper", "wakelog.sub_thread.id": "t-2"},
    ),
    (
        "agent_handoff",
        {"payload": {"from": "a", "to": "b"}},
        INFO,
        {"wakelog.handoff.from": "a", "wakelog.handoff.to": "b"},
    ),
    ("resumed", {"payload": {"from_checkpoint": "c-1"}}, INFO, {"wakelog.checkpoint.id": "c-1"}),
    (
        "memory_recall",
        {"payload": {"tier": "long", "namespace_key": "u/1", "hits": 2}},
        INFO,
        {
            "gen_ai.operation.name": "search_memory",
            "wakelog.memory.tier": "long",
            "wakelog.memory.namespace": "u/1",
            "gen_ai.memory.record.count": 2,
        },
    ),
    (
        "memory_write",
        {"payload": {"count": 1, "store": "ms", "records": [{"content": "tea"}]}},
        INFO,
        {
            "gen_ai.memory.record.count": 1,
            "gen_ai.memory.store.id": "ms",
            "gen_ai.memory.records": [{"content": "tea"}],
        },
    ),
    (
        "usage_limit_exceeded",
        {"payload": {"kind": "tokens", "limit": 10, "observed": 11}},
        WARN,
        {
            "error.type": "usage_limit_exceeded",
            "wakelog.usage_limit.kind": "tokens",
            "wakelog.usage_limit.limit": 10,
            "wakelog.usage_limit.observed": 11,
        },
    ),
    (
        "context_compacted",
        {"payload": {"dropped_chars": 7, "retained_chars": 3}},
        INFO,
        {"wakelog.context.dropped_chars": 7, "wakelog.context.retained_chars": 3},
    ),
    (
        "assistant_message",
        {"payload": {"message": "hello"}},
        INFO,
        {**CHAT, "gen_ai.output.messages": assistant("hello")},
    ),
    (
        "branch_created",
        {"payload": {"thread_id": "t-2", "at": 7}},
        INFO,
        {"wakelog.branch.id": "t-2", "wakelog.branch.at": 7},
    ),
    (
        "checkpoint",
        {"payload": {"checkpoint_id": "c-1", "label": "booked", "state": {"seat": 3}}},
        INFO,
        {
            "wakelog.checkpoint.id": "c-1",
            "wakelog.checkpoint.label": "booked",
            "wakelog.payload": {"state": {"seat": 3}},
        },
    ),
    (
        "warning",
        {"payload": {"kind": "lossy_encode", "message": "a field was left out"}},
        WARN,
        {
            "wakelog.warning.kind": "lossy_encode",
            "wakelog.payload": {"message": "a field was left out"},
        },
    ),
    ("thinking_delta", {"payload": {"text": "hm"}}, INFO, {"wakelog.payload": {"text": "hm"}}),
    (
        "rate_limit",
        {"payload": {"kind": "requests", "limit": 50, "remaining": 0, "reset_seconds": 1.5}},
        INFO,
        {
            "wakelog.rate_limit.kind": "requests",
            "wakelog.rate_limit.limit": 50,
            "wakelog.rate_limit.remaining": 0,
            "wakelog.rate_limit.reset_seconds": 1.5,
        },
    ),
    (
        "interrupt",
        {"payload": {"kind": "approval", "prompt": "buy?"}},
        INFO,
        {"wakelog.interrupt.kind": "approval", "wakelog.payload": {"prompt": "buy?"}},
    ),
    ("cancelled", {"payload": {"reason": "user"}}, INFO, {"wakelog.cancelled.reason": "user"}),
    ("stream_start", {"payload": STREAM_PAYLOAD}, INFO, STREAM_ATTRIBUTES),
    ("stream_chunk", {"payload": STREAM_PAYLOAD}, INFO, STREAM_ATTRIBUTES),
    ("stream_end", {"payload": STREAM_PAYLOAD}, INFO, STREAM_ATTRIBUTES),
    ("reasoning_start", {"payload": STREAM_PAYLOAD}, INFO, STREAM_ATTRIBUTES),
    ("reasoning_stop", {"payload": STREAM_PAYLOAD}, INFO, STREAM_ATTRIBUTES),
    ("custom", {"payload": {"any": 1}}, INFO, {"wakelog.payload": {"any": 1}}),
    (
        "evaluation",
        {"payload": {"name": "relevance", "score": 1, "label": "pass", "explanation": "fits"}},
        INFO,
        {
            "gen_ai.evaluation.name": "relevance",
            "gen_ai.evaluation.score.value": 1.0,
            "gen_ai.evaluation.score.label": "pass",
            "gen_ai.evaluation.explanation": "fits",
        },
    ),
    (
        "inference_details",
        {"payload": {"seed": 1, "input_tokens": 2}, "model": "m"},
        (5, "DEBUG"),
        {
            **CHAT,
            "gen_ai.request.model": "m",
            "gen_ai.request.seed": 1,
            "gen_ai.usage.input_tokens": 2,
        },
    ),
    (
        "inference_exception",
        {"payload": {"error": "no", "exception_type": "KeyError"}},
        WARN,
        {**CHAT, "exception.message": "no", "exception.type": "KeyError"},
    ),
    (
        "tool_exception",
        {"payload": {"error": "no", "exception_type": "KeyError"}, "tool_name": "t"},
        WARN,
        {
            **TOOL,
            "gen_ai.tool.name": "t",
            "exception.message": "no",
            "exception.type": "KeyError",
        },
    ),
]
# Events that the conventions have.
THEIRS = {
    "evaluation": "gen_ai.evaluation.result",
    "inference_details": "gen_ai.client.inference.operation.details",
    "inference_exception": "gen_ai.client.inference.exception",
    "tool_exception": "gen_ai.execute_tool.exception",
}


@pytest.mark.parametrize("event_type, given, severity, attributes", TYPES)
def test_every_type_has_the_designs_name_severity_and_attributes(
    event_type: str,
    given: dict[str, Any],
    severity: tuple[int, str],
    attributes: dict[str, Any],
) -> None:
    event = AgentEvent(event_type, **given)

    fields = fields_of(event)

    assert fields["event_name"] == THEIRS.get(event_type, f"wakelog.{event_type}")
    assert (fields["severity_number"], fields["severity_text"]) == severity
    assert fields["attributes"] == attributes


def test_no_type_is_without_a_row_in_the_design() -> None:
    in_design = {row[0] for row in TYPES}

    known = AgentEvent.STANDARD_EVENT_TYPES

    assert known == in_design


def test_what_every_event_may_carry_becomes_the_common_attributes() -> None:
    event = AgentEvent(
        "custom",
        run_id="r-1",
        agent_name="planner",
        workflow_name="trip",
        parent_event_id="e-0",
        status="success",
        session_id="s-1",
        tenant_id="t-1",
        risk={"level": "low"},
        metadata={"region": "eu"},
        attributes={"app.tier": "gold"},
    )

    attributes = fields_of(event)["attributes"]

    assert attributes == {
        "wakelog.run.id": "r-1",
        "gen_ai.agent.name": "planner",
        "wakelog.workflow.name": "trip",
        "wakelog.parent.id": "e-0",
        "wakelog.status": "success",
        "gen_ai.conversation.id": "s-1",
        "wakelog.tenant.id": "t-1",
        "wakelog.risk": {"level": "low"},
        "wakelog.metadata": {"region": "eu"},
        "app.tier": "gold",
    }


def test_payload_keys_without_an_attribute_stay_together_and_none_says_nothing() -> None:
    payload = {"args": {"q": 1}, "attempt": 2, "note": None, "tool_type": None}
    event = AgentEvent("tool_call", tool_name="search", payload=payload)

    attributes = fields_of(event)["attributes"]

    assert attributes["wakelog.payload"] == {"attempt": 2, "note": None}
    assert attributes["gen_ai.tool.call.arguments"] == {"q": 1}
    assert "gen_ai.tool.type" not in attributes


def test_messages_in_the_conventions_form_stay_as_given() -> None:
    messages = [{"role": "tool", "parts": [{"type": "text", "content": "42"}]}]
    event = AgentEvent("model_call", payload={"input_messages": messages})

    attributes = fields_of(event)["attributes"]

    assert attributes["gen_ai.input.messages"] is messages


def test_an_event_outside_a_run_is_its_own_run_and_exports_no_run_id() -> None:
    event = AgentEvent("custom")

    attributes = fields_of(event)["attributes"]

    assert event.run_id == event.event_id
    assert "wakelog.run.id" not in attributes


def test_an_unknown_type_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(InvalidEventTypeError) as caught:
        AgentEvent("tool_cal")

    assert "'tool_cal'" in str(caught.value)
    assert "'tool_call'" in str(caught.value)
    assert "register_event_type" in str(caught.value)


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_type_is_refused_even_where_custom_types_are_allowed(nothing: Any) -> None:
    with pytest.raises(InvalidEventTypeError):
        AgentEvent(nothing, allow_custom_event_types=True)


def test_a_registered_type_is_known_and_has_its_own_event_name() -> None:
    register_event_type("order.sent_again")

    event = AgentEvent("order.sent_again", payload={"id": 7})

    fields = fields_of(event)
    assert fields["event_name"] == "wakelog.order.sent_again"
    assert fields["attributes"] == {"wakelog.payload": {"id": 7}}
    assert fields["severity_text"] == "INFO"


@pytest.mark.parametrize("name", ["", "Order", "order sent", ".order", "order.", "a..b", "1st"])
def test_a_name_that_no_event_name_should_have_is_not_registered(name: str) -> None:
    with pytest.raises(InvalidEventTypeError):
        register_event_type(name)

    with pytest.raises(InvalidEventTypeError):
        AgentEvent(name)


def test_an_event_comes_back_from_its_dict() -> None:
    event = AgentEvent(
        "tool_call",
        run_id="r-1",
        timestamp="2026-11-21T02:37:11.123456789Z",
        agent_name="planner",
        tool_name="search",
        status="started",
        payload={"args": {"q": ["x", 1.5, None, True]}},
        risk={"level": "low"},
        metadata={"region": "eu"},
        session_id="s-1",
        tenant_id="t-1",
        call_id="c-1",
        attributes={"app.tier": "gold"},
    )
    data = event.to_dict()
    before = json.dumps(data)

    again = AgentEvent.from_dict(data)

    assert again == event
    assert again.to_dict() == data
    assert again.time_unix_nano == event.time_unix_nano
    assert json.dumps(data) == before


def test_the_dict_of_an_event_shares_nothing_with_it() -> None:
    event = AgentEvent("custom", payload={"list": [1]})

    event.to_dict()["payload"]["list"].append(2)

    assert event.payload == {"list": [1]}


def test_a_custom_type_comes_back_only_where_it_is_allowed() -> None:
    data = AgentEvent("my_own", allow_custom_event_types=True).to_dict()

    again = AgentEvent.from_dict(data, allow_custom_event_types=True)

    assert again.event_type == "my_own"
    with pytest.raises(InvalidEventTypeError):
        AgentEvent.from_dict(data)


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        AgentEvent("custom", timestamp="yesterday")


class Broken:
    def __repr__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


HOSTILE: dict[str, Any] = {
    "bytes": b"\xff\x00",
    "nan": float("nan"),
    "infinity": float("-inf"),
    "surrogate": "a\ud800b",
    "cycle": cyclic(),
    "broken repr": Broken(),
    "huge integer": 2**70,
    "set": {1},
    "keys that are no text": {1: "a", None: "b", b"x": "c"},
    "our own tag": {"$wakelog": "bytes", "value": "!"},
    "deep": json.loads("[" * 150 + "]" * 150),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_payload_becomes_json(kind: str) -> None:
    event = AgentEvent("custom", payload={"value": HOSTILE[kind], "kept": "yes"})

    text = event.to_json()

    assert "\n" not in text
    assert json.loads(text)["payload"]["kept"] == "yes"


@pytest.mark.parametrize("kind", ["bytes", "nan", "infinity", "our own tag"])
def test_values_that_json_lacks_come_back_as_they_were(kind: str) -> None:
    event = AgentEvent("custom", payload={"value": HOSTILE[kind]})

    again = AgentEvent.from_dict(json.loads(event.to_json()))

    assert again == event
    assert repr(again.payload) == repr(event.payload)


@pytest.mark.parametrize("field", ["agent_name", "status", "tool_name", "session_id", "run_id"])
def test_a_lone_surrogate_in_a_field_costs_no_event(field: str) -> None:
    given: dict[str, Any] = {field: "a\ud800b"}
    event = AgentEvent("custom", **given)

    text = event.to_json()

    assert json.loads(text)[field] == "a\ufffdb"


def test_the_repr_of_an_event_shows_nothing_private() -> None:
    event = AgentEvent("user_message", payload={"message": "my secret"})

    shown = repr(event)

    assert "my secret" not in shown
    assert event.event_id in shown


def test_names_of_the_conventions_stand_in_one_file_only() -> None:
    source = Path(wakelog.__file__).parent
    home = source / "events" / "semconv.py"
    literal = re.compile(r"""["']gen_ai\.""")

    elsewhere = [
        f"{path.relative_to(source)}:{number}"
        for path in source.rglob("*.py")
        if path != home
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if literal.search(line)
    ]

    assert literal.search(home.read_text())
    assert elsewhere == []


# --- the schema ---------------------------------------------------------------------------------


def validator() -> Any:
    from jsonschema import Draft202012Validator, FormatChecker

    schema = AgentEvent.json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


@pytest.mark.parametrize("event_type", sorted(AgentEvent.STANDARD_EVENT_TYPES))
def test_every_type_of_event_fits_the_schema(event_type: str) -> None:
    bare = AgentEvent(event_type)
    full = AgentEvent(
        event_type,
        run_id="r",
        agent_name="a",
        workflow_name="w",
        parent_event_id="p",
        provider="openai",
        model="m",
        tool_name="t",
        status="s",
        payload={"bytes": b"x", "nan": float("nan"), "deep": [{"a": None}]},
        risk={"level": 1},
        metadata={"k": [1]},
        session_id="s",
        tenant_id="t",
        call_id="c",
        attributes={"x": 1},
    )

    for event in (bare, full):
        validator().validate(json.loads(event.to_json()))


def test_a_custom_type_fits_the_schema() -> None:
    event = AgentEvent("anything.else", allow_custom_event_types=True)

    validator().validate(event.to_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": ""},
        {"schema_version": "2.0"},
        {"payload": []},
        {"timestamp": 5},
        {"status": 5},
        {"session_id": None},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_is_no_event_does_not_fit_the_schema(change: dict[str, Any]) -> None:
    data = {**AgentEvent("custom").to_dict(), **change}

    assert not validator().is_valid(data)


@pytest.mark.parametrize("name", AgentEvent("custom").to_dict())
def test_what_lacks_a_field_does_not_fit_the_schema(name: str) -> None:
    data = AgentEvent("custom").to_dict()
    del data[name]

    assert not validator().is_valid(data)


def test_nobody_changes_the_schema_for_others() -> None:
    AgentEvent.json_schema()["properties"]["status"]["type"] = "number"
    AgentEvent.json_schema()["required"].clear()

    validator().validate(AgentEvent("custom").to_dict())


def test_the_schema_has_the_fields_of_an_event_in_their_order() -> None:
    event = AgentEvent(
        "custom", session_id="s", tenant_id="t", call_id="c", attributes={"a": 1}, event_key="k"
    )

    assert list(AgentEvent.json_schema()["properties"]) == list(event.to_dict())
