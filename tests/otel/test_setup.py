"""`configure`: alone, beside what exists already, where to, and the end of the program."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wakelog.journal import books, read

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.support.configured_programs import (
    ENDPOINT,
    GOOD,
    HTTP,
    LOGS_ENDPOINT,
    LOGS_PROTOCOL,
    Program,
    names_of,
    program,
)

__all__ = ["program"]


def services_of(directory: Path) -> set[object]:
    return {entry.resource.attributes.get("service.name") for entry in read(directory)}


# --- configure alone ----------------------------------------------------------------------------

RECORD = """
    log = wakelog.configure("planner")
    with log.run(session_id="s-1"):
        log.user_message("hi")
"""


RECORDED = ["wakelog.run_start", "wakelog.user_message", "wakelog.run_end"]


def test_without_an_endpoint_everything_stays_here_and_pending(program: Program) -> None:
    done = program.run(
        RECORD
        + "    print(json.dumps({'flushed': bool(log.flush(0.1)), 'ended': bool(wakelog.shutdown())}))",
        OTEL_SERVICE_NAME="trips",
    )

    root = program.state / "wakelog" / "trips"
    assert names_of(root) == RECORDED
    assert services_of(root) == {"trips"}
    assert sum(b.pending for b in books(root)) == len(RECORDED)
    assert done == {"flushed": False, "ended": False}
    assert program.stderr == ""


def test_what_was_recorded_is_in_the_journal_when_the_call_returns(program: Program) -> None:
    program.run(
        """
        import os
        log = wakelog.configure(directory="journal")
        log.user_message("hi")
        os._exit(0)
        """
    )

    assert names_of(program.folder / "journal") == ["wakelog.user_message"]


def test_spans_and_events_share_ids_and_resource(program: Program) -> None:
    got = program.run(
        """
        from opentelemetry import trace
        log = wakelog.configure("planner", service_name="trips", directory="journal")
        with log.run() as run_id:
            span = trace.get_current_span()
            event = log.user_message("hi")
        print(json.dumps({
            "trace": f"{span.get_span_context().trace_id:032x}",
            "service": span.resource.attributes["service.name"],
            "names": [event.name for event in span.events],
            "shown": str([dict(event.attributes) for event in span.events]),
            "seq": event.receipt.seq,
        }))
        """
    )

    entries = list(read(program.folder / "journal"))
    assert {entry.record.trace_id for entry in entries} == {got["trace"]}
    assert got["service"] == "trips"
    assert got["names"] == RECORDED
    assert "gen_ai.input.messages" not in got["shown"]
    assert "gen_ai.input.messages" in entries[1].record.attributes
    assert got["seq"] == 2


def test_span_events_can_be_switched_off(program: Program) -> None:
    got = program.run(
        """
        from opentelemetry import trace
        log = wakelog.configure(directory="journal", span_events=False)
        with log.run():
            print(json.dumps([event.name for event in trace.get_current_span().events]))
        """
    )

    assert got == []


def test_span_events_of_other_libraries_are_redacted_as_their_records_are(
    program: Program,
) -> None:
    got = program.run(
        """
        from opentelemetry import trace
        from opentelemetry._logs import get_logger
        log = wakelog.configure(directory="journal")
        with log.run():
            get_logger("theirs").emit(event_name="sent", attributes={"to": "ann@example.com"})
            print(json.dumps([dict(event.attributes) for event in trace.get_current_span().events]))
        """,
        WAKELOG_REDACT_FOREIGN="true",
    )

    assert got[-1] == {"to": "[REDACTED]"}
    assert list(read(program.folder / "journal"))[1].record.attributes == {"to": "[REDACTED]"}


@pytest.mark.parametrize("value", ["true", "TRUE", " true "])
def test_a_disabled_sdk_sets_nothing_up_and_the_program_runs_on(
    program: Program, value: str
) -> None:
    got = program.run(
        """
        from opentelemetry import trace
        from opentelemetry._logs import get_logger_provider
        log = wakelog.configure("planner")
        with log.run() as run_id, log.tool("search") as call:
            call.result(1)
        kinds = [type(trace.get_tracer_provider()), type(get_logger_provider())]
        print(json.dumps({"flushed": bool(log.flush()), "kinds": [kind.__name__ for kind in kinds]}))
        """,
        OTEL_SDK_DISABLED=value,
        OTEL_EXPORTER_OTLP_ENDPOINT="not an endpoint at all",
    )

    assert got == {"flushed": True, "kinds": ["ProxyTracerProvider", "ProxyLoggerProvider"]}
    assert not program.state.exists()
    assert program.stderr == ""


def test_a_further_agent_of_a_disabled_sdk_needs_nothing_set_up(program: Program) -> None:
    # Under zero code nobody calls configure(), and opentelemetry-instrument sets nothing up then.
    got = program.run(
        """
        log = wakelog.get_logger("planner")
        with log.run() as run_id, log.tool("search") as call:
            call.result(1)
        print(json.dumps({"recorded": log.user_message("hi").receipt is not None}))
        """,
        OTEL_SDK_DISABLED="true",
        OTEL_PYTHON_CONFIGURATOR="wakelog",
    )

    assert got == {"recorded": False}
    assert not program.state.exists()
    assert program.stderr == ""


def test_the_argument_wins_over_the_variable_and_that_over_the_default(program: Program) -> None:
    for code in ("wakelog.configure()", "wakelog.configure(directory='argument')"):
        program.run(f"{code}.user_message('hi')", WAKELOG_DIR="variable")
    program.run("wakelog.configure(service_name='a/b').user_message('hi')", OTEL_SERVICE_NAME="c")

    assert names_of(program.folder / "variable") == ["wakelog.user_message"]
    assert names_of(program.folder / "argument") == ["wakelog.user_message"]
    assert services_of(program.state / "wakelog" / "a_b") == {"a/b"}


@pytest.mark.parametrize("given", ["", "directory='~/noted'"])
def test_a_tilde_that_no_shell_has_replaced_is_the_home_directory(
    program: Program, given: str
) -> None:
    program.run(f"wakelog.configure({given}).user_message('hi')", WAKELOG_DIR="~/noted")

    assert names_of(program.folder / "noted") == ["wakelog.user_message"]
    assert not (program.folder / "~").exists()


def test_an_empty_variable_names_no_directory(program: Program) -> None:
    program.run("wakelog.configure(service_name='a').user_message('hi')", WAKELOG_DIR="")

    assert names_of(program.state / "wakelog" / "a") == ["wakelog.user_message"]


def test_the_service_name_may_come_from_the_resource_attributes(program: Program) -> None:
    program.run(RECORD, OTEL_RESOURCE_ATTRIBUTES="service.name=trips,team=blue")

    [entry, *_] = read(program.state / "wakelog" / "trips")
    assert entry.resource.attributes["team"] == "blue"


# --- what exists already ------------------------------------------------------------------------


def test_an_existing_logger_provider_is_neither_replaced_nor_added_to(program: Program) -> None:
    got = program.run(
        """
        from opentelemetry._logs import get_logger_provider, set_logger_provider
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import (
            InMemoryLogRecordExporter, SimpleLogRecordProcessor)
        from opentelemetry.sdk.resources import Resource
        theirs, exporter = LoggerProvider(Resource({"service.name": "theirs"})), InMemoryLogRecordExporter()
        theirs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        set_logger_provider(theirs)
        before = theirs._multi_log_record_processor._log_record_processors
        log = wakelog.configure(directory="journal")
        log.user_message("hi")
        theirs.get_logger("app").emit(body="theirs")
        wakelog.shutdown()
        theirs.get_logger("app").emit(body="still theirs")
        print(json.dumps({
            "same": get_logger_provider() is theirs,
            "added": theirs._multi_log_record_processor._log_record_processors != before,
            "exported": [data.log_record.body for data in exporter.get_finished_logs()],
        }))
        """
    )

    assert got == {"same": True, "added": False, "exported": ["theirs", "still theirs"]}
    assert names_of(program.folder / "journal") == ["wakelog.user_message"]
    assert services_of(program.folder / "journal") == {"theirs"}


@pytest.mark.parametrize("how", ["globally", "as argument"])
def test_an_existing_tracer_provider_opens_the_spans(program: Program, how: str) -> None:
    got = program.run(
        f"""
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        theirs, exporter = TracerProvider(resource=Resource({{"service.name": "theirs"}})), InMemorySpanExporter()
        theirs.add_span_processor(SimpleSpanProcessor(exporter))
        given = {{}}
        if {how!r} == "globally":
            trace.set_tracer_provider(theirs)
        else:
            given["tracer_provider"] = theirs
        before = theirs._active_span_processor._span_processors
        log = wakelog.configure("planner", directory="journal", **given)
        with log.run():
            log.user_message("hi")
        print(json.dumps({{
            "is_global": trace.get_tracer_provider() is theirs,
            "added": theirs._active_span_processor._span_processors != before,
            "spans": [span.name for span in exporter.get_finished_spans()],
            "events": [e.name for span in exporter.get_finished_spans() for e in span.events],
        }}))
        """
    )

    assert got == {
        "is_global": how == "globally",
        "added": False,
        "spans": ["invoke_agent planner"],
        "events": RECORDED,
    }
    assert services_of(program.folder / "journal") == {"theirs"}


def test_a_provider_with_the_drop_in_takes_the_events_and_nothing_else_is_made(
    program: Program,
) -> None:
    got = program.run(
        """
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
        exporter = InMemoryLogRecordExporter()
        processor = wakelog.DurableLogRecordProcessor(exporter, directory="theirs")
        theirs = LoggerProvider()
        theirs.add_log_record_processor(processor)
        log = wakelog.configure(logger_provider=theirs)
        event = log.user_message("hi")
        theirs.get_logger("app").emit(event_name="app.event")
        print(json.dumps({
            "flushed": bool(log.flush()),
            "ended": bool(wakelog.shutdown()),
            "receipt": event.receipt is not None,
            "again": log.user_message("still open").receipt is not None,
            "exported": [data.log_record.event_name for data in exporter.get_finished_logs()],
        }))
        theirs.shutdown()
        """
    )

    assert got["exported"] == ["wakelog.user_message", "app.event"]
    assert (got["flushed"], got["ended"], got["receipt"], got["again"]) == (True,) * 4
    assert len(names_of(program.folder / "theirs")) == 3
    assert not (program.folder / "state").exists()


def test_a_provider_without_the_drop_in_is_no_silent_loss(program: Program) -> None:
    said = program.run("""
        from opentelemetry.sdk._logs import LoggerProvider
        provider = LoggerProvider()
        log = wakelog.configure(logger_provider=provider, on_error="raise")
        said = []
        for call in (lambda: log.user_message("hi"),
                     lambda: wakelog.configure(logger_provider=LoggerProvider(), directory="d")):
            try:
                call()
            except wakelog.WakelogError as error:
                said.append([type(error).__name__, str(error)])
        print(json.dumps(said))
    """)

    (first, why), (second, what) = said
    assert (first, second) == ("SinkError", "ConfigurationError")
    assert "has no DurableLogRecordProcessor" in why
    assert "directory cannot be set beside logger_provider" in what


def test_a_nameless_program_and_the_command_line_agree_where_the_journal_is(
    program: Program,
) -> None:
    program.run('wakelog.configure("x").user_message("hi")')

    shown = program.run("""
        import subprocess, sys
        found = subprocess.run([sys.executable, "-m", "wakelog", "status", "--json"],
                               capture_output=True, check=True).stdout
        print(json.dumps(json.loads(found)))
    """)

    assert shown["total"]["accepted"] == 1


AGAIN = """
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
    import threading
    import os
    os.environ.update(WAKELOG_EXIT_TIMEOUT="60", WAKELOG_EXIT_ANSWER_TIMEOUT="60")
    first, second = InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
    one = wakelog.configure("a", directory="one", service_name="one", exporter=first)
    one.user_message("first")
    two = wakelog.configure("b", directory="two", service_name="two", exporter=second)
    two.user_message("second")
    one.user_message("third")
    further = wakelog.get_logger("c").user_message("fourth")
    ended = bool(wakelog.shutdown())
    bodies = [[d.log_record.attributes["gen_ai.agent.name"] for d in e.get_finished_logs()]
              for e in (first, second)]
    late = one.user_message("late").receipt is not None
    print(json.dumps({"ended": ended, "agents": bodies, "late": late}))
"""


def test_configuring_again_with_other_settings_ends_nothing_and_says_what_differs(
    program: Program,
) -> None:
    got = program.run(AGAIN)

    assert got == {"ended": True, "agents": [["a", "a"], ["b", "c"]], "late": True}
    assert services_of(program.folder / "one") == {"one"}
    assert services_of(program.folder / "two") == {"two"}
    assert len(program.stderr.splitlines()) == 1
    assert "other settings (service_name, directory, exporter)" in program.stderr
    assert "wakelog.get_logger" in program.stderr


SHARED = """
    import os, threading
    from wakelog.otel._made import made
    one = wakelog.configure("a", **{first})
    two = wakelog.configure("b", "flow", default_risk={{"tier": 1}}, metadata={{"m": 2}}, **{second})
    events = [one.user_message("x"), two.user_message("y"), wakelog.get_logger("c").user_message("z")]
    print(json.dumps([
        len(made.set_ups),
        len({{event.receipt and event.receipt.writer for event in events}}),
        [event.agent_name for event in events],
        two.metadata, one.sink is two.sink,
    ]))
"""


@pytest.mark.parametrize(
    "first, second",
    [
        ("{}", "{}"),
        ("dict(directory='j')", "dict(directory=os.path.abspath('j'))"),
        ("dict(durability='fsync')", "dict(durability=wakelog.Durability.FSYNC)"),
        (
            "dict(space=wakelog.Space(quota_bytes=10**7))",
            "dict(space=wakelog.Space(quota_bytes=10**7))",
        ),
        ("dict(buffer=wakelog.Buffer(9))", "dict(buffer=wakelog.Buffer(9))"),
        ("dict(span_events=True, on_error='log', redact_payloads=True)", "{}"),
        (
            "dict(redaction_config=wakelog.RedactionConfig(max_candidates=9))",
            "dict(redaction_config=wakelog.RedactionConfig(max_candidates=9))",
        ),
    ],
)
def test_equal_settings_share_one_set_up(program: Program, first: str, second: str) -> None:
    got = program.run(SHARED.format(first=first, second=second))

    assert got[:2] == [1, 1]
    assert got[2:] == [["a", "b", "c"], {"m": 2}, True]
    assert program.stderr == ""


@pytest.mark.parametrize(
    "second, named",
    [
        ("dict(directory='other')", "directory"),
        ("dict(durability='fsync')", "durability"),
        ("dict(segment_bytes=10**6)", "segment_bytes"),
        ("dict(span_events=False)", "span_events"),
        ("dict(redact_payloads=False)", "redact_payloads"),
        ("dict(on_error='raise')", "on_error"),
        ("dict(space=wakelog.Space(quota_bytes=10**7))", "space"),
        (
            "(os.environ.update(OTEL_EXPORTER_OTLP_TIMEOUT='3') or {})",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        ("(os.environ.update(WAKELOG_DURABILITY='fsync') or {})", "durability"),
        ("(os.environ.update(WAKELOG_REPLAY_RATE='5') or {})", "WAKELOG_REPLAY_RATE"),
    ],
)
def test_what_differs_is_named_and_both_set_ups_live(
    program: Program, second: str, named: str
) -> None:
    got = program.run(SHARED.format(first="{}", second=second))

    assert got[:2] == [2, 2]
    assert f"other settings ({named}):" in program.stderr
    assert len(program.stderr.splitlines()) == 1


def test_a_further_agent_before_any_set_up_is_told_what_to_do(program: Program) -> None:
    said = program.run("""
        try:
            wakelog.get_logger("critic")
        except wakelog.ConfigurationError as error:
            print(json.dumps(str(error)))
    """)

    assert "call wakelog.configure(...) before" in said


def test_a_refused_setting_leaves_a_set_up_that_can_be_tried_again(program: Program) -> None:
    got = program.run(
        """
        import os
        refused = []
        for variable, value in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x"),
            ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "x"),
        ]:
            os.environ[variable] = value
            try:
                wakelog.configure(directory="journal")
            except wakelog.ConfigurationError as error:
                refused.append(variable in str(error))
            del os.environ[variable]
        log = wakelog.configure(directory="journal", service_name="trips")
        with log.run():
            pass
        print(json.dumps(refused))
        """
    )

    assert got == [True, True, True]
    assert names_of(program.folder / "journal") == ["wakelog.run_start", "wakelog.run_end"]
    assert services_of(program.folder / "journal") == {"trips"}


# --- where to -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, exporter, endpoint",
    [
        ({ENDPOINT: "http://h:4317"}, "grpc", "h:4317"),
        ({ENDPOINT: "h:4317"}, "grpc", "h:4317"),
        ({ENDPOINT: "http://h:4318", **HTTP}, "http", "http://h:4318/v1/logs"),
        ({ENDPOINT: "http://h:4318/base/", **HTTP}, "http", "http://h:4318/base/v1/logs"),
        ({LOGS_ENDPOINT: "http://l:1/mine", **HTTP}, "http", "http://l:1/mine"),
        ({**GOOD, LOGS_ENDPOINT: "http://l:1/mine", **HTTP}, "http", "http://l:1/mine"),
        (
            {ENDPOINT: "ftp://x", LOGS_ENDPOINT: "http://l:1/mine", **HTTP},
            "http",
            "http://l:1/mine",
        ),
        ({**GOOD, LOGS_PROTOCOL: "http/protobuf"}, "http", "http://localhost:4318/v1/logs"),
        ({**GOOD, **HTTP, LOGS_PROTOCOL: "grpc"}, "grpc", "localhost:4318"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1"}, None, None),
        ({**GOOD, "OTEL_LOGS_EXPORTER": "none"}, None, None),
        ({**GOOD, "OTEL_LOGS_EXPORTER": "otlp", **HTTP}, "http", "http://localhost:4318/v1/logs"),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, None, None),
        ({}, None, None),
    ],
)
def test_the_variables_of_opentelemetry_choose_the_exporter(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    exporter: str | None,
    endpoint: str | None,
) -> None:
    from wakelog.otel._exporters import log_exporter

    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    made = log_exporter()

    if exporter is None:
        assert made is None
    else:
        assert f".{exporter}." in type(made).__module__
        assert getattr(made, "_endpoint", None) == endpoint
        assert made is not None
        made.shutdown()


def test_the_console_exporter_writes_the_events_without_their_content(program: Program) -> None:
    program.run(
        RECORD + "    log.flush()",
        OTEL_LOGS_EXPORTER="console",
        WAKELOG_DIR="journal",
    )

    for name in RECORDED:
        assert f'"event_name": "{name}"' in program.stdout
    assert "gen_ai.input.messages" not in program.stdout
    assert sum(b.pending for b in books(program.folder / "journal")) == 0


def test_exporters_of_none_keep_everything_here(program: Program) -> None:
    program.run(
        RECORD,
        OTEL_LOGS_EXPORTER="none",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        WAKELOG_DIR="journal",
        **GOOD,
    )

    assert sum(b.pending for b in books(program.folder / "journal")) == len(RECORDED)
    assert program.stderr == ""


# --- the end of the program ---------------------------------------------------------------------


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port of this machine that refuses connections: it is bound, and nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_program_ends_by_itself_while_the_endpoint_refuses(
    program: Program, refused_port: int, protocol: str
) -> None:
    began = time.monotonic()

    program.run(
        RECORD,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{refused_port}",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_TIMEOUT="120",  # seconds, for which the exporter may keep trying
        WAKELOG_DIR="journal",
    )

    assert time.monotonic() - began < 50
    assert names_of(program.folder / "journal") == RECORDED
    events, spans = [b.pending for b in books(program.folder / "journal")]
    assert {events, spans} == {len(RECORDED), 1}


def test_an_exception_keeps_its_exit_code_and_its_events(program: Program) -> None:
    got = program.run(
        """
        import subprocess, sys
        code = "import wakelog\\nwith wakelog.configure(directory='journal').run(): raise SystemExit(7)"
        print(json.dumps([subprocess.run([sys.executable, "-c", code]).returncode]))
        """
    )

    assert got == [7]
    assert names_of(program.folder / "journal")[-1] == "wakelog.run_end"


def test_shutting_down_twice_or_before_the_start_is_harmless(program: Program) -> None:
    got = program.run(
        """
        before = bool(wakelog.shutdown())
        log = wakelog.configure(directory="journal")
        log.user_message("hi")
        first, second = bool(wakelog.shutdown()), bool(wakelog.shutdown())
        late = log.user_message("late").receipt is not None
        print(json.dumps([before, first, second, late]))
        """
    )

    assert got == [True, False, True, True]
    assert names_of(program.folder / "journal") == ["wakelog.user_message"] * 2
    assert program.stderr == ""
