"""Settings of `configure` that cannot be used are refused with what to do instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import wakelog
from tests.support.configured_programs import (
    ENDPOINT,
    GOOD,
    HTTP,
    LOGS_ENDPOINT,
    LOGS_PROTOCOL,
    PROTOCOL,
    Program,
    names_of,
    program,
)

__all__ = ["program"]


CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# What is set, the variable and value that the message must name, and the remedy in it.
REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "no scheme": ({ENDPOINT: "localhost:4318", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "no scheme, one name": ({ENDPOINT: "collector", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "wrong scheme": ({ENDPOINT: "ftp://x", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "wrong scheme, grpc": ({ENDPOINT: "ftp://x"}, ENDPOINT, "http://localhost:4317"),
    "no host": ({ENDPOINT: "http://", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "no host, grpc": ({ENDPOINT: "http://"}, ENDPOINT, "http://localhost:4317"),
    "space inside": ({ENDPOINT: "http://local host:1", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "space before": ({ENDPOINT: " http://localhost:1", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "space after": ({ENDPOINT: "http://localhost:1 ", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "line end after": ({ENDPOINT: "http://h:1\n", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "space after, grpc": ({ENDPOINT: "localhost:4317 "}, ENDPOINT, "http://localhost:4317"),
    "only spaces": ({ENDPOINT: "  "}, ENDPOINT, "http://localhost:4317"),
    "port too high": ({ENDPOINT: "http://h:99999", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "half an address": ({ENDPOINT: "http://[::1", **HTTP}, ENDPOINT, "http://localhost:4318"),
    "logs endpoint": (
        {**GOOD, LOGS_ENDPOINT: "localhost:4318", **HTTP},
        LOGS_ENDPOINT,
        "http://localhost:4318",
    ),
    "traces endpoint": (
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://x"},
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://localhost:4317",
    ),
    "protocol": ({**GOOD, PROTOCOL: "http/json"}, PROTOCOL, "http/protobuf"),
    "logs protocol": ({**GOOD, LOGS_PROTOCOL: "h2"}, LOGS_PROTOCOL, "http/protobuf"),
    "logs exporter": ({"OTEL_LOGS_EXPORTER": "jaeger"}, "OTEL_LOGS_EXPORTER", "otlp"),
    "traces exporter": ({"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER", "otlp"),
    "metrics exporter": ({"OTEL_METRICS_EXPORTER": "jaeger"}, "OTEL_METRICS_EXPORTER", "otlp"),
    "metrics endpoint": (
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "ftp://x"},
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http://localhost:4317",
    ),
    "metrics interval": (
        {"OTEL_METRIC_EXPORT_INTERVAL": "0", "OTEL_METRICS_EXPORTER": "console"},
        "OTEL_METRIC_EXPORT_INTERVAL",
        "above 0",
    ),
    "metrics exemplars": (
        {**GOOD, "OTEL_METRICS_EXEMPLAR_FILTER": "foo"},
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "foo",
    ),
    "content policy": ({CONTENT: "SPANS"}, CONTENT, "SPAN_ONLY"),
    "durability": ({"durability": "paper"}, "durability", "fsync"),
    "durability variable": ({"WAKELOG_DURABILITY": "paper"}, "WAKELOG_DURABILITY", "fsync"),
    "span events": ({"WAKELOG_SPAN_EVENTS": "some"}, "WAKELOG_SPAN_EVENTS", "true or false"),
    "redaction": ({"WAKELOG_REDACT": "0"}, "WAKELOG_REDACT", "true or false"),
    "buffer, no number": (
        {"WAKELOG_BUFFER_CAPACITY": "many"},
        "WAKELOG_BUFFER_CAPACITY",
        "a whole number of at least 1",
    ),
    "buffer, a fraction": (
        {"WAKELOG_BUFFER_CAPACITY": "0.5"},
        "WAKELOG_BUFFER_CAPACITY",
        "a whole number of at least 1",
    ),
    "buffer overflow": (
        {"WAKELOG_BUFFER_OVERFLOW": "drop"},
        "WAKELOG_BUFFER_OVERFLOW",
        "drop_newest, drop_oldest",
    ),
    "buffer time-out": ({"WAKELOG_BUFFER_TIMEOUT": "soon"}, "WAKELOG_BUFFER_TIMEOUT", "seconds"),
}


TRY_ALL = """
    import os, sys
    said = {}
    for name, settings in json.loads(sys.stdin.read()).items():
        durability = settings.pop("durability", None)
        os.environ.update(settings)
        try:
            wakelog.configure(directory="journal", durability=durability)
        except ValueError as error:
            said[name] = [type(error).__name__, str(error)]
        for variable in settings:
            del os.environ[variable]
    print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What configure said to each refused setting, all tried in one process."""
    settings = json.dumps({name: given for name, (given, _, _) in REFUSED.items()})
    code = TRY_ALL.replace("sys.stdin.read()", repr(settings))
    return Program(tmp_path_factory.mktemp("refused")).run(code)


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_cannot_be_used_is_refused_with_name_value_and_remedy(
    said: dict[str, list[str]], name: str
) -> None:
    given, variable, remedy = REFUSED[name]

    kind, message = said[name]

    assert kind == "ConfigurationError"
    assert f"{variable}={given[variable]!r}" in message
    assert remedy in message


def test_everything_can_be_said_by_the_environment_and_an_argument_wins(program: Program) -> None:
    code = """
        log = wakelog.configure(directory="journal")
        event = log.user_message("mail me@example.org")
        named = wakelog.configure("arg", directory="journal", redact_payloads=True)
        other = named.user_message("mail me@example.org")
        print(json.dumps([event.agent_name, event.workflow_name, event.receipt.durability,
                          event.payload["message"], other.agent_name, other.payload["message"]]))
    """

    said = program.run(
        code,
        WAKELOG_AGENT_NAME="env-agent",
        WAKELOG_WORKFLOW_NAME="env-flow",
        WAKELOG_DURABILITY="fsync",
        WAKELOG_REDACT="False",
    )

    assert said[:4] == ["env-agent", "env-flow", "fsync", "mail me@example.org"]
    assert said[4:] == ["arg", "mail [REDACTED]"]


BUFFERED = """
    from wakelog.otel import _made as setup
    {made}
    log.user_message("hi")
    queue = setup.made.processor.buffer
    print(json.dumps(queue and [queue.settings.capacity, queue.settings.overflow,
                                queue.settings.timeout]))
"""


@pytest.mark.parametrize(
    "made, variables, expected",
    [
        ("log = wakelog.configure()", {}, None),
        (
            "log = wakelog.configure(buffer=wakelog.Buffer(7, 'drop_oldest'))",
            {"WAKELOG_BUFFER_CAPACITY": "9", "WAKELOG_BUFFER_TIMEOUT": "3"},
            [7, "drop_oldest", None],
        ),
        ("log = wakelog.configure()", {"WAKELOG_BUFFER_CAPACITY": "9"}, [9, "block", None]),
        (
            "log = wakelog.configure()",
            {"WAKELOG_BUFFER_OVERFLOW": "raise", "WAKELOG_BUFFER_TIMEOUT": "none"},
            [1024, "raise", None],
        ),
        ("log = wakelog.configure()", {"WAKELOG_BUFFER_TIMEOUT": "0.5"}, [1024, "block", 0.5]),
    ],
)
def test_a_buffer_is_there_when_it_is_asked_for_and_loses_nothing_at_the_end(
    program: Program, made: str, variables: dict[str, str], expected: Any
) -> None:
    got = program.run(BUFFERED.format(made=made), WAKELOG_DIR="journal", **variables)

    assert got == expected
    assert names_of(program.folder / "journal") == ["wakelog.user_message"]


def test_a_buffer_beside_a_provider_is_refused(program: Program) -> None:
    said = program.run("""
        from opentelemetry.sdk._logs import LoggerProvider
        try:
            wakelog.configure(logger_provider=LoggerProvider(), buffer=wakelog.Buffer())
        except wakelog.ConfigurationError as error:
            print(json.dumps(str(error)))
    """)

    assert "buffer cannot be set beside logger_provider" in said


@pytest.mark.parametrize("kind", ["file", "below a file", "newer", "foreign"])
def test_a_directory_that_cannot_be_used_is_refused_with_path_and_remedy(
    program: Program, kind: str
) -> None:
    path = program.folder / "journal"
    if kind in ("newer", "foreign"):
        path.mkdir()
        marker = {"wakelog": "journal", "format": 99} if kind == "newer" else ["something else"]
        (path / "wakelog.json").write_text(json.dumps(marker))
    else:
        path.write_text("a file")
    named = path / "deeper" if kind == "below a file" else path

    got = program.run(
        """
        try:
            wakelog.configure()
        except wakelog.JournalError as error:
            print(json.dumps([type(error).__name__, str(error)]))
        """,
        WAKELOG_DIR=str(named),
    )

    expected = "JournalFormatError" if kind in ("newer", "foreign") else "JournalError"
    assert got[0] == expected
    assert str(named) in got[1]
    assert "WAKELOG_DIR" in got[1]
    assert kind in ("newer", "foreign") or path.read_text() == "a file"


def test_a_directory_that_cannot_be_written_is_refused(program: Program) -> None:
    for place in ("/proc/1/fdinfo/journal", "/sys/kernel/journal"):
        if Path(place).parent.is_dir():
            break
    else:
        pytest.skip("no directory here that refuses even root")

    got = program.run(
        """
        try:
            wakelog.configure()
        except wakelog.JournalError as error:
            print(json.dumps(str(error)))
        """,
        WAKELOG_DIR=place,
    )

    assert place in got
    assert "WAKELOG_DIR" in got


def test_a_buffer_of_another_kind_is_refused(tmp_path: Path) -> None:
    wrong: Any = 100

    with pytest.raises(wakelog.ConfigurationError, match="of type int; give"):
        wakelog.configure("a", directory=tmp_path, buffer=wrong)
