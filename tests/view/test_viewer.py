"""The view says what was recorded: who did what inside what, what ended, and what did not."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider

import wakelog
from wakelog import AgentLogger, JSONLSink, OTelSink
from wakelog.cli.tail import _line, record_dict
from wakelog.errors import JournalError
from wakelog.events import semconv as s
from wakelog.integrations.logging import WakelogHandler
from wakelog.integrations.structlog import WakelogProcessor
from wakelog.journal import read as read_journal
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import Record
from wakelog.viewer import (
    RUN,
    RUNNING,
    UNKNOWN,
    Step,
    View,
    ViewBuilder,
    blocks_of,
    every_step,
    load,
)
from wakelog.viewer.tree import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND = 1_000_000_000
SOURCE = str(Path(wakelog.__file__).parent.parent)


def record(event_type: str, number: int, **attributes: Any) -> Record:
    """A record of Wakelog's at second `number`, whose id is `e<number>`."""
    names = {"run": s.RUN_ID, "parent": s.PARENT_ID, "session": s.CONVERSATION_ID}
    named = {names.get(key, key): value for key, value in attributes.items()}
    return Record(
        id=f"e{number}",
        seq=number,
        timestamp=number * SECOND,
        event_name=s.EVENT_PREFIX + event_type,
        attributes=named,
    )


def view_of(*records: Record, **options: Any) -> View:
    builder = ViewBuilder(**options)
    for one in records:
        builder.add(one)
    return builder.view()


def steps_of(view: View) -> list[Step]:
    return [
        step for session in view.sessions for step in every_step([*session.runs, *session.steps])
    ]


def drawn(view: View) -> str:
    return "".join("".join(text for text, _ in line) + "\n" for line in lines(view))


@pytest.fixture
def log(tmp_path: Path) -> AgentLogger:
    return AgentLogger("clerk", sink=JSONLSink(tmp_path / "events.jsonl"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[AgentLogger, LoggerProvider, Callable[[], None]]]:
    processor = DurableLogRecordProcessor(None, directory=tmp_path / "journal")
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    yield AgentLogger("clerk", sink=OTelSink(provider)), provider, processor.shutdown
    processor.shutdown()


def test_what_happened_inside_a_block_hangs_under_it(log: AgentLogger, tmp_path: Path) -> None:
    with log.run("two seats", session_id="s-1") as run_id:
        log.user_message("two seats to Lisbon")
        with log.tool("search", {"to": "LIS"}) as tool:
            log.decision("economy")
            tool.result(["TP 533"])

    view = load(tmp_path / "events.jsonl")

    (session,) = view.sessions
    (run,) = session.runs
    assert (session.id, run.id, run.type, run.name) == ("s-1", run_id, RUN, "clerk")
    assert [step.type for step in run.steps] == ["user_message", "tool_call"]
    message, tool_call = run.steps
    assert message.summary == "two seats to Lisbon"
    assert tool_call.summary == '{"to":"LIS"} → ["TP 533"]'
    assert [step.summary for step in tool_call.steps] == ["economy"]
    assert (run.status, tool_call.status) == ("success", "success")
    assert run.duration_ms is not None
    assert tool_call.duration_ms is not None
    assert run.duration_ms >= tool_call.duration_ms > 0


def test_a_sub_agents_run_hangs_under_the_step_that_opened_it(
    log: AgentLogger, tmp_path: Path
) -> None:
    with (
        log.run(agent="planner", session_id="s-1"),
        log.tool("delegate"),
        log.run(agent="searcher"),
    ):
        log.decision("done")

    view = load(tmp_path / "events.jsonl")

    (outer,) = view.sessions[0].runs
    (tool,) = outer.steps
    (inner,) = tool.steps
    assert (outer.name, tool.name, inner.type, inner.name) == (
        "planner",
        "delegate",
        RUN,
        "searcher",
    )
    assert [step.type for step in inner.steps] == ["decision"]


def test_a_failed_tool_shows_its_error_and_the_run_goes_on(
    log: AgentLogger, tmp_path: Path
) -> None:
    with log.run():
        with suppress(TimeoutError), log.tool("flaky"):
            raise TimeoutError
        with log.tool("flaky") as tool:
            tool.result("ok")

    (run,) = load(tmp_path / "events.jsonl").sessions[0].runs

    assert [step.status for step in run.steps] == ["error", "success"]
    assert run.steps[0].summary == "TimeoutError"
    assert run.status == "success"


def test_what_a_killed_process_was_doing_is_shown_as_unknown(tmp_path: Path) -> None:
    program = (
        "import os, signal, wakelog\n"
        f"log = wakelog.configure('clerk', directory={str(tmp_path)!r})\n"
        "with log.run(session_id='s-1'), log.tool('pay', {'eur': 90}):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=False)

    view = load(tmp_path)

    run, tool = steps_of(view)
    assert (run.status, tool.status) == (UNKNOWN, UNKNOWN)
    assert tool.outcome_unknown
    assert tool.duration_ms is None
    assert '? tool  pay  outcome unknown  {"eur":90}' in drawn(view)


def test_what_a_living_process_is_doing_is_running_until_it_is_gone(
    journal: tuple[AgentLogger, LoggerProvider, Callable[[], None]], tmp_path: Path
) -> None:
    log, _, end = journal
    log.emit("tool_call", tool_name="pay", status="started", session_id="s-1")

    while_it_lives = steps_of(load(tmp_path / "journal"))
    alone = steps_of(load(next((tmp_path / "journal").glob("*-*"))))
    end()
    afterwards = steps_of(load(tmp_path / "journal"))

    assert [step.status for step in while_it_lives] == [RUNNING]
    assert [step.status for step in alone] == [RUNNING]
    assert [step.status for step in afterwards] == [UNKNOWN]


def test_a_run_that_another_process_resumes_is_one_run(log: AgentLogger, tmp_path: Path) -> None:
    log.emit("run_start", run_id="r-1", status="started", session_id="s-1")
    log.emit("tool_call", run_id="r-1", tool_name="pay", status="started", session_id="s-1")
    with log.run(run_id="r-1", session_id="s-1"):
        log.resumed("before pay")

    (run,) = load(tmp_path / "events.jsonl").sessions[0].runs

    assert (run.id, run.status) == ("r-1", "success")
    assert [(step.type, step.status) for step in run.steps] == [
        ("tool_call", UNKNOWN),
        ("resumed", None),
    ]


def test_a_run_that_is_resumed_and_dies_again_is_unknown() -> None:
    view = view_of(
        record("run_start", 1, run="r"),
        record("run_end", 2, run="r", parent="e1"),
        record("run_start", 3, run="r"),
    )

    (run,) = steps_of(view)
    assert (run.status, run.duration_ms) == (UNKNOWN, None)


def test_records_of_others_are_listed_apart_by_time(
    journal: tuple[AgentLogger, LoggerProvider, Callable[[], None]], tmp_path: Path
) -> None:
    log, provider, _ = journal
    other = provider.get_logger("other")
    other.emit(LogRecord(timestamp=2 * SECOND, body="second"))
    other.emit(LogRecord(timestamp=1 * SECOND, body="first", event_name="app.started"))
    with log.run():
        pass

    view = load(tmp_path / "journal")

    assert [(step.type, step.summary) for step in view.other_records] == [
        ("app.started", "first"),
        ("log", "second"),
    ]
    assert [run.status for run in view.sessions[0].runs] == ["success"]
    assert "Other records\n├── 00:00:01.000Z  · app.started  first" in drawn(view)


def test_events_of_a_conversation_outside_any_run_stand_in_their_session(
    log: AgentLogger, tmp_path: Path
) -> None:
    log.user_message("hello", session_id="s-1")
    log.user_message("hello?")

    view = load(tmp_path / "events.jsonl")

    assert [(one.id, [step.summary for step in one.steps]) for one in view.sessions] == [
        ("s-1", ["hello"])
    ]
    assert [step.summary for step in view.other_records] == ["hello?"]


def test_calls_written_by_hand_find_their_results(log: AgentLogger, tmp_path: Path) -> None:
    with log.run():
        log.tool_call("search", {"q": 1}, call_id="c1")
        log.tool_call("search", {"q": 2}, call_id="c2")
        log.tool_result("search", "two", call_id="c2")
        log.tool_result("search", "one", call_id="c1")
        log.model_call("openai", "gpt-4o", input_tokens=3, output_tokens=4)

    (run,) = load(tmp_path / "events.jsonl").sessions[0].runs

    assert [(step.summary, step.status) for step in run.steps] == [
        ('{"q":1} → one', None),
        ('{"q":2} → two', None),
        ("3 → 4 tokens", None),
    ]


def test_order_of_reading_does_not_matter() -> None:
    records = [
        record("run_start", 1, run="r"),
        record("tool_call", 2, run="r", parent="e1", **{s.TOOL_NAME: "search"}),
        record("decision", 3, run="r", parent="e2"),
        record("tool_result", 4, run="r", parent="e2", **{s.STATUS: "success"}),
        record("run_end", 5, run="r", parent="e1", **{s.STATUS: "success"}),
    ]

    forward, backward = view_of(*records), view_of(*reversed(records))

    assert forward.to_dict() == backward.to_dict()
    assert [step.type for step in steps_of(forward)] == [RUN, "tool_call", "decision"]


@pytest.mark.parametrize(
    "records",
    [
        [record("decision", 1, parent="e1", run="r")],
        [record("decision", 1, parent="e2", run="r"), record("decision", 2, parent="e1", run="r")],
        [
            record("run_start", 1, parent="e2", run="a"),
            record("run_start", 2, parent="e1", run="b"),
        ],
        [record("tool_result", 1, parent="gone", run="r")],
        [record("run_end", 1, run="r")],
        [record("decision", n, parent=f"e{n - 1}", run="r") for n in range(1, 3000)],
        [record("decision", 1, **{s.CONVERSATION_ID: ["no", "text"], s.RUN_ID: {}, s.STATUS: 7})],
        [Record(id="e1", seq=1, event_name=5, timestamp=-1)],  # type: ignore[arg-type]
        [Record(id="e1", seq=1, timestamp=2**80, body={"deep": [object()]})],
    ],
)
def test_no_record_is_lost_and_none_breaks_the_tree(records: list[Record]) -> None:
    view = view_of(*records)

    everything = [*steps_of(view), *every_step(view.other_records)]
    shown = [step for step in everything if step.type != RUN or step.start is not None]
    assert len(shown) >= len(records)
    assert len({id(step) for step in everything}) == len(everything)
    assert drawn(view)
    assert view.to_dict()


def test_damaged_lines_are_passed_over(log: AgentLogger, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log.decision("before", session_id="s-1")
    with path.open("ab") as file:
        file.write(b'{"id":"x","seq":\n\xff\xfe\n[]\n{"timestamp":1,"event":{}}\n')
    log.decision("after", session_id="s-1")

    assert [step.summary for step in steps_of(load(path))] == ["before", "after"]


def test_filters_keep_what_happened_inside_and_nothing_else(
    log: AgentLogger, tmp_path: Path
) -> None:
    with log.run(session_id="s-1", run_id="aa-1"), log.run(agent="helper", run_id="bb-1"):
        log.decision("inside")
    with log.run(session_id="s-2", run_id="cc-1"):
        log.decision("elsewhere")
    path = tmp_path / "events.jsonl"

    by_run, by_session = load(path, run="aa"), load(path, session="s-2")
    inner, nothing = load(path, run="bb-1"), load(path, run="dd")

    assert [step.type for step in steps_of(by_run)] == [RUN, RUN, "decision"]
    assert [step.id for step in steps_of(by_session) if step.type == RUN] == ["cc-1"]
    assert [run.id for session in inner.sessions for run in session.runs] == ["bb-1"]
    assert nothing.sessions == []


def test_a_step_as_plain_data_has_the_documented_shape(log: AgentLogger, tmp_path: Path) -> None:
    with log.run(session_id="s-1", run_id="r-1"), log.tool("search", {"q": 1}):
        pass

    data = load(tmp_path / "events.jsonl", attributes=True).to_dict()

    assert list(data) == ["sessions", "other_records"]
    (session,) = data["sessions"]
    assert list(session) == ["id", "start", "duration_ms", "runs", "steps"]
    (run,) = session["runs"]
    (step,) = run.pop("steps")
    assert run["attributes"][s.RUN_ID] == "r-1"
    assert list(step) == [
        "id",
        "type",
        "name",
        "agent",
        "start",
        "duration_ms",
        "status",
        "summary",
        "level",
        "message",
        "exception",
        "trace_id",
        "span_id",
        "usage",
        "cost_usd",
        "steps",
        "attributes",
        "body",
    ]
    assert step["attributes"][s.TOOL_CALL_ARGUMENTS] == {"q": 1}
    assert step["start"].endswith("Z")


FAULT = {"type": "ZeroDivisionError", "message": "division by zero"}
LONG = "charging card failed for order 7, " * 20


def fail(log: logging.Logger | Any, text: str) -> None:
    try:
        1 / 0  # noqa: B018 - to have an exception
    except ZeroDivisionError:
        log.exception(text)


def logged(directory: Path, way: str, text: str) -> Path:
    """Log an exception by one of the ways into the journal, and return the journal."""
    if way == "a sink without OpenTelemetry":
        log = AgentLogger("a", sink=JSONLSink(directory / "events.jsonl"))
    else:
        log = AgentLogger("a", sink=OTelSink(provider_over(directory)))
    logger = logging.Logger("pay")  # noqa: LOG001 - one that no other test sees
    logger.addHandler(WakelogHandler(log=log))
    if way == "structlog":
        processors: list[Any] = [structlog.stdlib.add_log_level, WakelogProcessor(log, last=True)]
        fail(structlog.wrap_logger(None, processors=processors), text)
    elif way == "inside a run":
        with log.run():
            fail(logger, text)
    else:
        fail(logger, text)
    return directory


def provider_over(directory: Path) -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(DurableLogRecordProcessor(None, directory=directory))
    return provider


@pytest.mark.parametrize("text", ["charging card failed", LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    "way", ["logging", "structlog", "inside a run", "a sink without OpenTelemetry"]
)
def test_a_logged_exception_leaves_message_and_level_their_places(
    tmp_path: Path, way: str, text: str
) -> None:
    view = load(logged(tmp_path, way, text))

    steps = [*steps_of(view), *view.other_records]
    (step,) = [step for step in steps if step.exception is not None]
    data = step.to_dict()
    assert (data["level"], data["message"], data["exception"]) == ("ERROR", text, FAULT)
    assert data["summary"].startswith("charging card failed")
    shown = drawn(view)
    assert "ERROR  charging card failed" in shown
    assert "✗ ZeroDivisionError: division by zero" in shown


@pytest.mark.parametrize("way", ["logging", "structlog", "a sink without OpenTelemetry"])
def test_tail_says_message_level_and_exception(tmp_path: Path, way: str) -> None:
    directory = logged(tmp_path, way, "charging card failed")
    file = directory / "events.jsonl"
    record = next(read_journal(file if file.exists() else directory)).record

    line = "".join(text for text, _ in _line(record))
    data = record_dict(record, "w")

    assert "ERROR" in line
    assert "charging card failed" in line
    assert "ZeroDivisionError: division by zero" in line
    assert "division by zero" in data["attributes"][s.EXCEPTION_MESSAGE]
    assert "charging card failed" in json.dumps(data)


@pytest.mark.parametrize(
    "number, text, level",
    [(17, "ERROR", "ERROR"), (17, None, "ERROR"), (10, None, "INFO"), (None, "NOTICE", "NOTICE"),
     (None, None, None), (99, None, None), (0, None, None)],
)  # fmt: skip
def test_a_level_is_its_text_or_else_its_number(
    number: int | None, text: str | None, level: str | None
) -> None:
    one = Record("1", 1, body="x", severity_number=number, severity_text=text)

    (step,) = view_of(one).other_records

    assert (step.level, step.message, step.exception) == (level, "x", None)


def test_an_exception_without_a_message_is_the_summary() -> None:
    one = Record("1", 1, attributes={s.EXCEPTION_TYPE: "KeyError", s.EXCEPTION_MESSAGE: "'x'"})

    (step,) = view_of(one).other_records

    assert step.summary == "KeyError: 'x'"


def test_what_was_recorded_cannot_write_to_the_terminal(log: AgentLogger, tmp_path: Path) -> None:
    with log.run(session_id="\x1b[2Jsession", agent="[red]agent\x07"):
        log.user_message("one\ntwo\x1b]0;title\x07 " + "long " * 100)

    text = drawn(load(tmp_path / "events.jsonl"))

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]agent" in text
    (line,) = (line for line in text.splitlines() if "user_message" in line)
    assert "one two" in line
    assert line.endswith("…")
    assert len(line) < 120


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_where_there_is_no_journal_the_reader_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "empty":
        path.mkdir()

    with pytest.raises(JournalError, match=r"no such file|no journal"):
        load(path)


def test_every_form_of_a_journal_shows_the_same(
    journal: tuple[AgentLogger, LoggerProvider, Callable[[], None]], tmp_path: Path
) -> None:
    log, _, end = journal
    with log.run(session_id="s-1"):
        log.decision("go")
    end()
    (folder,) = (tmp_path / "journal").glob("*-*")
    files = tmp_path / "files"
    files.mkdir()
    (files / "copy.jsonl").write_bytes((folder / "00000001.jsonl").read_bytes())

    views = [
        load(path).to_dict()
        for path in (tmp_path / "journal", folder, folder / "00000001.jsonl", files)
    ]

    assert len(views[0]["sessions"][0]["runs"]) == 1
    assert views[1:] == views[:1] * 3


# --- what was recorded, in blocks for a page ---------------------------------------------------------

PNG = "iVBORw0KGgo" + "A" * 41


def blocks(value: object, longest: int | None = None) -> list[dict[str, Any]]:
    """The blocks of an event with this input."""
    return blocks_of({s.INPUT_MESSAGES: value}, None, longest)


def parts(*given: object) -> Any:
    [block] = blocks([{"role": "user", "parts": list(given)}])
    assert (block["kind"], block["messages"][0]["role"]) == ("messages", "user")
    return block["messages"][0]["parts"]


@pytest.mark.parametrize(
    "part, kind, text",
    [
        ("hi", "text", "hi"),
        ({"type": "text", "content": "hi"}, "text", "hi"),
        ({"type": "text", "text": "hi"}, "text", "hi"),
        ({"type": "reasoning", "content": "so"}, "reasoning", "so"),
        ({"type": "thinking", "thinking": "so"}, "reasoning", "so"),
        ({"type": "tool_call", "name": "pay", "arguments": "x"}, "call", "x"),
        ({"type": "tool_use", "name": "pay", "input": [1]}, "call", "[\n  1\n]"),
        ({"type": "tool_call_response", "response": "paid"}, "answer", "paid"),
        ({"type": "tool_result", "content": "paid"}, "answer", "paid"),
        ({"type": "file"}, "json", '{\n  "type": "file"\n}'),
        (7, "json", "7"),
    ],
)
def test_each_form_of_a_part_has_its_block(part: object, kind: str, text: str) -> None:
    [block] = parts(part)

    assert (block["kind"], block["text"]) == (kind, text)
    assert block.get("name") == ("pay" if kind == "call" else None)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "blob", "mime_type": "image/png", "content": PNG},
    ],
)
def test_an_image_is_shown_in_each_form_in_which_providers_have_it(part: object) -> None:
    assert parts(part) == [{"kind": "image", "media": "image/png", "data": PNG}]


def test_an_image_among_data_stands_beside_it() -> None:
    assert [block["kind"] for block in blocks({"seen": [PNG]})] == ["json", "image"]
    assert "(shown as an image)" in blocks({"seen": [PNG]})[0]["text"]
    assert [block["kind"] for block in blocks(PNG)] == ["image"]


@pytest.mark.parametrize("value", [PNG[:-1], PNG + "<script>", "data:image/svg+xml;base64," + PNG])
def test_what_is_no_image_stays_text(value: str) -> None:
    assert blocks(value) == [{"label": "input", "kind": "text", "text": value}]


def test_only_so_many_images_are_shown() -> None:
    assert [block["kind"] for block in blocks([[PNG] * 9])].count("image") == 8


@pytest.mark.parametrize("value", [[1], [{"role": "user", "parts": 3}], [{"a": 1}], []])
def test_a_list_that_is_no_messages_is_data(value: object) -> None:
    [block] = blocks(value)

    assert block["kind"] == "json"
    assert json.loads(block["text"]) == value


def test_a_text_that_is_cut_says_how_much_is_left_out() -> None:
    assert blocks("0123456789", 4) == [
        {"label": "input", "kind": "text", "text": "0123", "more": 6}
    ]
