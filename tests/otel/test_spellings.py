"""What is registered or documented works; what is misspelt or of a wrong type is said by its name."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

import wakelog
from tests.conftest import KEPT_VARIABLES, ROOT
from tests.support.programs import INSTRUMENT, SECONDS, UNUSED, environment
from wakelog import ConfigurationError
from wakelog._native import VARIABLE as NATIVE
from wakelog.configurator import JournalExporter
from wakelog.journal import folders, owner_of, read
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.otel import _settings as settings
from wakelog.otel._made import made

NOWHERE = "http://127.0.0.1:9"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
QUIET = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}

# --- entry points ---------------------------------------------------------------------------------

LOGGED = "import logging; logging.getLogger('shop').warning('late')\n"
HOOKED = """
from opentelemetry.util.genai.completion_hook import load_completion_hook
import wakelog
wakelog.configure("a")
load_completion_hook().on_completion(inputs=["q"], outputs=["a"], system_instruction=[])
"""
PLUGIN = "def test_it(wakelog_recording):\n    wakelog_recording.log.user_message('x')\n"
# What each entry point is for, in a process of its own, and what it records.
USED: dict[tuple[str, str], tuple[list[str], dict[str, str], int]] = {
    ("opentelemetry_configurator", "wakelog"): (
        [INSTRUMENT, sys.executable, "-c", LOGGED],
        {"OTEL_PYTHON_CONFIGURATOR": "wakelog", "OTEL_LOGS_EXPORTER": "none"},
        1,
    ),
    ("opentelemetry_logs_exporter", "wakelog"): (
        [INSTRUMENT, sys.executable, "-c", LOGGED],
        {"OTEL_PYTHON_CONFIGURATOR": "configurator", "OTEL_LOGS_EXPORTER": "wakelog"},
        1,
    ),
    ("opentelemetry_genai_completion_hook", "wakelog"): (
        [sys.executable, "-c", HOOKED],
        {"OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK": "wakelog"},
        1,
    ),
    ("pytest11", "wakelog"): (
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_plugin.py"],
        {},
        0,
    ),
    ("console_scripts", "wakelog"): (
        [str(Path(sys.executable).with_name("wakelog")), "--version"],
        {},
        0,
    ),
}


def registered() -> set[tuple[str, str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {(group, name) for group, names in project["entry-points"].items() for name in names}
    return found | {("console_scripts", name) for name in project["scripts"]}


def test_every_entry_point_is_tried_here() -> None:
    assert registered() == set(USED)


@pytest.mark.parametrize("group, name", sorted(USED))
def test_every_entry_point_works_in_a_process_of_its_own(
    tmp_path: Path, group: str, name: str
) -> None:
    command, variables, records = USED[group, name]
    (tmp_path / "test_plugin.py").write_text(PLUGIN)
    done = subprocess.run(
        command,
        env=environment(**QUIET, WAKELOG_DIR=str(tmp_path / "journal"), **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if records:
        assert len(list(read(tmp_path / "journal"))) == records


# --- exporters ------------------------------------------------------------------------------------

# What the variable says, and what has to come of it: on the console, and in how many journals.
SPELLINGS: dict[str, tuple[bool, int]] = {
    "otlp": (False, 1),
    "none": (False, 1),
    "NONE": (False, 1),
    " none ": (False, 1),
    "console": (True, 1),
    "console,otlp": (True, 1),
    "otlp,console": (True, 1),
    " console , otlp ": (True, 1),
    "otlp_proto_http": (False, 1),
    "otlp_proto_grpc": (False, 1),
    "otlp_proto_http,console": (True, 1),
    "otlp_proto_http,otlp_proto_grpc": (False, 2),
    "wakelog": (False, 1),
    "wakelog,console": (True, 1),
    "wakelog,otlp": (False, 1),
    "console,none": (True, 1),
    "otlp,": (False, 1),
    "": (False, 1),
}
# The SDK's own parser stands before these; under it the rest is the same.
ZERO_CODE = ("none", "console,otlp", " console , otlp ", "otlp_proto_http,console", "wakelog",
             "wakelog,console", "wakelog,otlp", "console,none")  # fmt: skip
CONFIGURED = "import wakelog; wakelog.configure('a').user_message('late')\n"


@pytest.mark.parametrize(
    "how, value",
    [
        *(("configure", value) for value in SPELLINGS),
        *(("zero code", value) for value in ZERO_CODE),
    ],
)
def test_every_spelling_of_the_sdk_records_and_exports(
    tmp_path: Path, how: str, value: str
) -> None:
    console, journals = SPELLINGS[value]
    starter = [INSTRUMENT] if how == "zero code" else []
    done = subprocess.run(
        [*starter, sys.executable, "-c", LOGGED if starter else CONFIGURED],
        env=environment(
            **QUIET,
            OTEL_PYTHON_CONFIGURATOR="wakelog",
            OTEL_LOGS_EXPORTER=value,
            OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            WAKELOG_DIR=str(tmp_path / "journal"),
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "not loaded" not in done.stderr
    assert ('"severity_text"' in done.stdout) is console
    # Each exporter has folders of its own in the one directory.
    [journal] = tmp_path.iterdir()
    assert (
        len({owner.pipeline for path in folders(journal) if (owner := owner_of(path))}) == journals
    )
    assert all(list(read(path)) for path in folders(journal))


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
@pytest.mark.parametrize("value", ["console,otlp", " otlp , console ", "otlp_proto_http", "none"])
def test_the_other_signals_take_the_same_spellings(tmp_path: Path, signal: str, value: str) -> None:
    code = "import wakelog\nwith wakelog.configure('a').run():\n    pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(
            **{**QUIET, "OTEL_LOGS_EXPORTER": "none", f"OTEL_{signal}_EXPORTER": value},
            OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            WAKELOG_DIR=str(tmp_path / "journal"),
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(list(read(tmp_path / "journal"))) == 2
    assert ("resource" in done.stdout) is ("console" in value)


@pytest.mark.parametrize("value", ["jaeger", "otlp,jaeger", "otlp;console"])
def test_an_exporter_that_nobody_has_is_refused_with_those_that_there_are(
    tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", value)

    with pytest.raises(ConfigurationError, match=f"OTEL_LOGS_EXPORTER='{value}'.*otlp_proto_http"):
        wakelog.configure(directory=tmp_path)


@pytest.mark.parametrize(
    "value, endpoint, kind",
    [
        ("wakelog", NOWHERE, "OTLPLogExporter"),
        ("wakelog", None, None),
        ("wakelog,console", NOWHERE, "OTLPLogExporter"),
        ("wakelog,otlp", NOWHERE, None),
        ("console,otlp", NOWHERE, "OTLPLogExporter"),
        ("none", NOWHERE, None),
    ],
)
def test_nothing_is_exported_twice_by_the_entry_point(
    tmp_path: Path,
    value: str,
    endpoint: str | None,
    kind: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [entry_point] = entry_points(group="opentelemetry_logs_exporter", name="wakelog")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", value)
    monkeypatch.setenv("WAKELOG_DIR", str(tmp_path))
    if endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)

    exporter = entry_point.load()()

    assert exporter.processor.delivers is (kind is not None)
    exporter.processor.close(0)


@pytest.mark.parametrize("disabled", [True, False])
def test_zero_code_without_an_instrumentation_for_logs_says_so(
    tmp_path: Path, disabled: bool
) -> None:
    done = subprocess.run(
        [INSTRUMENT, sys.executable, "-c", LOGGED],
        env=environment(
            **QUIET,
            OTEL_PYTHON_CONFIGURATOR="wakelog",
            OTEL_LOGS_EXPORTER="none",
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=f"{UNUSED}, logging, structlog"
            if disabled
            else "",
            WAKELOG_DIR=str(tmp_path),
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )

    assert ("opentelemetry-instrumentation-logging" in done.stderr) is disabled
    assert "not loaded" not in done.stderr


# --- variables ------------------------------------------------------------------------------------

NUMBERS_ABOVE_0 = ["0", "-1", "soon", "nan", "inf", "1 GB"]
FLAGS = ["yes", "1", "maybe"]
# Each variable that Wakelog or a page of it knows: values that are documented, and values that are none.
VARIABLES: dict[str, tuple[list[str], list[str]]] = {
    "WAKELOG_DIR": (["{folder}/named"], ["{file}", "{file}/below"]),
    "WAKELOG_AGENT_NAME": (["planner"], []),
    "WAKELOG_PIPELINE": (["audit"], ["two\tnames", "x" * 300]),
    "WAKELOG_WORKFLOW_NAME": (["travel"], []),
    "WAKELOG_DURABILITY": (["os_buffered", "flush", "periodic", "fsync"], ["paper", "FSYNC!"]),
    "WAKELOG_SEGMENT_BYTES": (["1000000"], NUMBERS_ABOVE_0),
    "WAKELOG_SEGMENT_AGE": (["3600", "0.5"], NUMBERS_ABOVE_0),
    "WAKELOG_ROTATE_AT_MIDNIGHT": (["true", "false"], FLAGS),
    "WAKELOG_SPAN_EVENTS": (["true", "false"], FLAGS),
    "WAKELOG_GENAI_EVENTS": (["true", "false"], FLAGS),
    "WAKELOG_GENAI_METRICS": (["true", "false"], FLAGS),
    "WAKELOG_COSTS": (["true", "false"], FLAGS),
    "WAKELOG_SPAN_STARTS": (["true", "false"], FLAGS),
    "WAKELOG_SPAN_IDLE": (["60"], NUMBERS_ABOVE_0),
    "WAKELOG_UNKNOWN_OUTCOME": (["error", "unset", "drop"], ["maybe"]),
    "OTEL_BSP_EXPORT_TIMEOUT": (["1000"], ["0"]),
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": ([NOWHERE], ["ftp://x"]),
    "WAKELOG_REDACT": (["true", "false"], FLAGS),
    "WAKELOG_REDACT_FOREIGN": (["true", "false", "drop_content"], FLAGS),
    "WAKELOG_DROP_ATTRIBUTES": (["gen_ai.input.messages, gen_ai.prompt.*"], []),
    "WAKELOG_ON_ERROR": (["log", "raise", "RAISE"], ["never", "0"]),
    "WAKELOG_RETENTION_AGE": (["3600", "none"], ["-1", "soon", "nan"]),
    "WAKELOG_RETENTION_BYTES": (["1000000", "none"], ["-1", "soon", "1 GB"]),
    "WAKELOG_RETENTION_WRITERS": (["10", "none"], ["-1", "many"]),
    "WAKELOG_QUOTA_BYTES": (["10000000"], ["0", "-1", "10GB", "inf"]),
    "WAKELOG_QUOTA_POLICY": (["block", "refuse", "evict_oldest"], ["drop", "none"]),
    "WAKELOG_BLOCK_TIMEOUT": (["1", "none"], ["-1", "soon"]),
    "WAKELOG_BUFFER_CAPACITY": (["9"], ["0", "-1", "0.5", "many"]),
    "WAKELOG_BUFFER_OVERFLOW": (["block", "drop_newest", "drop_oldest", "raise"], ["drop"]),
    "WAKELOG_BUFFER_TIMEOUT": (["1", "none"], ["-1", "soon"]),
    "WAKELOG_REPLAY_RATE": (["100"], NUMBERS_ABOVE_0),
    "WAKELOG_EXIT_TIMEOUT": (["3"], NUMBERS_ABOVE_0),
    "WAKELOG_EXIT_ANSWER_TIMEOUT": (["2"], NUMBERS_ABOVE_0),
    "WAKELOG_MAX_RECORD_BYTES": (["100000"], NUMBERS_ABOVE_0),
    "WAKELOG_MAX_EVENT_BYTES": (["100000"], NUMBERS_ABOVE_0),
    "WAKELOG_TRUST_DIRECTORY": (["true", "false"], FLAGS),
    "WAKELOG_SEALING": (["true", "false"], FLAGS),
    "WAKELOG_SEAL_KEY": ([], ["{folder}/missing.pem", "{file}"]),
    "WAKELOG_SEAL_INTERVAL": (["60"], NUMBERS_ABOVE_0),
    "WAKELOG_CHECKPOINTS": (["{folder}/checkpoints"], []),
    "WAKELOG_TIMESTAMP_URL": ([], ["http://127.0.0.1:9/tsa"]),  # needs WAKELOG_CHECKPOINTS
    "WAKELOG_ERASABLE": (["true", "false"], FLAGS),
    "OTEL_BLRP_SCHEDULE_DELAY": (["100"], ["0", "-1"]),
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": (["100"], ["0", "-1", "1000000"]),
    "OTEL_BLRP_EXPORT_TIMEOUT": (["1000"], ["0", "-1"]),
    "OTEL_BLRP_MAX_QUEUE_SIZE": (["1000"], ["0", "-1", "100"]),
    "OTEL_BSP_MAX_QUEUE_SIZE": (["1000"], ["0", "100"]),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": (["100"], ["0", "1000000"]),
    "OTEL_BSP_SCHEDULE_DELAY": (["100"], ["0"]),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": (["100"], ["-1", "many"]),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": (["100"], ["-1", "many"]),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ([NOWHERE], ["ftp://x", "localhost:4318", " "]),
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ([NOWHERE], ["ftp://x"]),
    "OTEL_EXPORTER_OTLP_PROTOCOL": (["http/protobuf", "grpc"], ["http/json", "h2"]),
    "OTEL_EXPORTER_OTLP_TIMEOUT": (["3"], ["soon"]),
    "OTEL_EXPORTER_OTLP_COMPRESSION": (["gzip", "none"], ["zip"]),
    "OTEL_EXPORTER_OTLP_HEADERS": (["a=b"], []),
    "OTEL_EXPORTER_OTLP_CERTIFICATE": (["{file}"], []),
    "OTEL_LOGS_EXPORTER": (["otlp", "console", "none", "wakelog"], ["jaeger"]),
    "OTEL_TRACES_EXPORTER": (["otlp", "console", "none"], ["jaeger"]),
    "OTEL_METRICS_EXPORTER": (["otlp", "console", "none", "prometheus"], ["jaeger"]),
    "OTEL_METRIC_EXPORT_INTERVAL": (["60000"], ["0", "soon"]),
    CONTENT: (["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"], ["SPANS"]),
    "OTEL_SERVICE_NAME": (["shop"], []),
    "OTEL_RESOURCE_ATTRIBUTES": (["team=blue"], []),
    "OTEL_SDK_DISABLED": (["true", "false"], []),
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": (["true"], []),
}
# Tried by the tests of zero code, of the hook, and of the demo.
ELSEWHERE = {
    "OTEL_PYTHON_CONFIGURATOR",
    "OTEL_CONFIG_FILE",
    "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
    "WAKELOG_DEMO_PATIENCE",
    "WAKELOG_TRACE_URL",  # tests/view/test_page.py
    "WAKELOG_CONTEXT",  # tests/events/test_propagation.py
    "WAKELOG_DIRECT_ENCODING",  # tests/otel/test_direct_encoding.py
}
READ_BY_THE_DROP_IN = {
    "WAKELOG_DIR", "WAKELOG_PIPELINE", "WAKELOG_REPLAY_RATE", "WAKELOG_MAX_RECORD_BYTES",
    "WAKELOG_MAX_EVENT_BYTES", "WAKELOG_TRUST_DIRECTORY", CONTENT,
    "OTEL_BLRP_SCHEDULE_DELAY", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
}  # fmt: skip


def test_every_variable_that_is_documented_or_known_is_tried() -> None:
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    documented = set(re.findall(r"\b(?:WAKELOG|OTEL)_[A-Z_]*[A-Z]\b(?!_)", text))

    known = set(VARIABLES) | ELSEWHERE | KEPT_VARIABLES
    assert documented - known == set()
    assert settings._KNOWN - known == set()
    undocumented = {name for name in settings._KNOWN if name not in text}
    assert undocumented <= {"WAKELOG_DEMO_PATIENCE"}


TRY = """
import json, logging, os, sys
import wakelog
from wakelog.otel import DurableLogRecordProcessor, _made
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
heard = []
class Listening(logging.Handler):
    def emit(self, record):
        heard.append(record.getMessage())
logging.getLogger("wakelog").addHandler(Listening())
logging.getLogger("wakelog").propagate = False
said = []
base = dict(os.environ)
for number, (how, variable, value) in enumerate(json.loads(sys.argv[1])):
    os.environ.clear()
    os.environ.update(base)
    os.environ[variable] = value
    heard.clear()
    try:
        if how == "configure":
            log = wakelog.configure("a", service_name=f"s{number}")
            event = log.user_message("x")
            said.append(["fine", log.refused.total(), *heard])
        else:
            processor = DurableLogRecordProcessor(InMemoryLogRecordExporter())
            processor.close(0)
            said.append(["fine", 0, *heard])
    except BaseException as error:
        said.append([type(error).__name__, isinstance(error, wakelog.WakelogError), str(error)])
    _made.made.end_recording(0)
with open(sys.argv[2], "w") as file:
    file.write(json.dumps(said))
os._exit(0)
"""


def tried(cases: list[tuple[str, str, str]], folder: Path) -> list[list[Any]]:
    """Tries each variable in a set-up of its own; the tracer provider is made by the first alone."""
    (folder / "file").write_text("")
    filled = [
        (how, variable, value.format(folder=folder, file=folder / "file"))
        for how, variable, value in cases
    ]
    done = subprocess.run(
        [sys.executable, "-c", TRY, json.dumps(filled), str(folder / "said")],
        env=environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=NOWHERE, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_METRICS_EXPORTER="none", XDG_STATE_HOME=str(folder / "state"),
        ),
        cwd=folder, capture_output=True, text=True, timeout=4 * SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads((folder / "said").read_text())
    return found


def test_every_documented_value_works(tmp_path: Path) -> None:
    cases = [("configure", name, value) for name, (good, _) in VARIABLES.items() for value in good]
    cases += [
        ("drop-in", name, value) for name in READ_BY_THE_DROP_IN for value in VARIABLES[name][0]
    ]

    answers = tried(cases, tmp_path)

    wrong = [
        (case, answer)
        for case, answer in zip(cases, answers, strict=True)
        if answer[:2] != ["fine", 0]
    ]
    assert wrong == []


def test_every_bad_value_is_refused_by_the_name_of_its_variable(tmp_path: Path) -> None:
    of_the_tracer = [
        n for n in VARIABLES if n.startswith(("OTEL_BSP_", "OTEL_SPAN_", "OTEL_TRACES_"))
    ]
    # Before there is a tracer provider, which the rest makes.
    names = [*of_the_tracer, *(name for name in VARIABLES if name not in of_the_tracer)]
    # The metrics exporter is made where it is asked for.
    cases = [
        ("configure", name, value)
        for name in names
        for value in VARIABLES[name][1]
        if "METRIC" not in name or name == "OTEL_METRICS_EXPORTER"
    ]
    cases += [
        ("drop-in", name, value) for name in READ_BY_THE_DROP_IN for value in VARIABLES[name][1]
    ]

    answers = tried(cases, tmp_path)

    wrong = [
        (case, answer)
        for case, answer in zip(cases, answers, strict=True)
        if answer[1] is not True or case[1] not in answer[2]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "name, bad",
    [
        ("WAKELOG_SPAN_IDLE", "0"),
        ("WAKELOG_SPAN_STARTS", "maybe"),
        ("WAKELOG_UNKNOWN_OUTCOME", "bad"),
    ],
)
def test_a_variable_for_spans_is_checked_before_there_is_an_exporter(
    tmp_path: Path, name: str, bad: str
) -> None:
    assert name in VARIABLES
    code = "import sys, wakelog; wakelog.configure('a', directory=sys.argv[1])"

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment(**{name: bad}), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip

    assert f"ConfigurationError: {name}={bad!r} is not known" in done.stderr


@pytest.mark.parametrize(
    "misspelt, meant",
    [
        ("WAKELOG_DIRECTORY", "did you mean WAKELOG_DIR?"),
        ("WAKELOG_DURABLITY", "did you mean WAKELOG_DURABILITY?"),
        ("WAKELOG_BUFFER_SIZE", "did you mean WAKELOG_BUFFER_"),
        ("WAKELOG_QUOTA_BYTE", "did you mean WAKELOG_QUOTA_BYTES?"),
        ("WAKELOG_XYZZY", "getting-started"),
    ],
)
@pytest.mark.parametrize("how", ["configure", "drop-in"])
def test_a_misspelt_variable_is_said_once_with_the_nearest_name(
    tmp_path: Path,
    misspelt: str,
    meant: str,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(settings, "_said_misspelt", set())
    monkeypatch.setenv(misspelt, "1")

    with caplog.at_level(logging.WARNING, logger="wakelog"):
        for number in range(2):
            if how == "configure":
                wakelog.configure(directory=tmp_path / str(number), service_name="x")
            else:
                DurableLogRecordProcessor(None, directory=tmp_path / str(number)).close(0)

    said = [r.getMessage() for r in caplog.records if misspelt in r.getMessage()]
    assert len(said) == 1
    assert meant in said[0]
    made.end_recording(0)


def test_the_variables_of_the_tests_are_nobodys_mistake() -> None:
    of_tests = KEPT_VARIABLES - {NATIVE}

    assert all(name.startswith(settings._OF_DEVELOPMENT) for name in of_tests)


# --- arguments ------------------------------------------------------------------------------------


class Wrong:
    """Nothing that any argument may be."""


def constructors() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Public constructors, with the arguments that they cannot do without."""
    sink = wakelog.MemorySink()
    return {
        "configure": (wakelog.configure, {}),
        "get_logger": (wakelog.get_logger, {}),
        "DurableLogRecordProcessor": (DurableLogRecordProcessor, {"exporter": None}),
        "JournalExporter": (JournalExporter, {}),
        "AgentLogger": (wakelog.AgentLogger, {}),
        "AsyncAgentLogger": (wakelog.AsyncAgentLogger, {}),
        "OTelSink": (OTelSink, {}),
        "JSONLSink": (wakelog.JSONLSink, {"path": "events.jsonl"}),
        "AsyncJSONLSink": (wakelog.AsyncJSONLSink, {"path": "events.jsonl"}),
        "BufferedSink": (wakelog.BufferedSink, {"sink": sink}),
        "AsyncBufferedSink": (wakelog.AsyncBufferedSink, {"sink": sink}),
        "StructuredLoggingSink": (wakelog.StructuredLoggingSink, {}),
        "Buffer": (wakelog.Buffer, {}),
        "Space": (wakelog.Space, {}),
        "RedactionConfig": (wakelog.RedactionConfig, {}),
    }


def arguments() -> list[tuple[str, str]]:
    return [
        (name, parameter.name)
        for name, (make, _) in constructors().items()
        for parameter in inspect.signature(make).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


@pytest.mark.parametrize("name, argument", arguments())
def test_an_argument_of_a_wrong_type_is_refused_by_its_name(
    tmp_path: Path, name: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, needed = constructors()[name]

    with pytest.raises(ConfigurationError) as caught:
        make(**{**needed, argument: Wrong()})

    assert argument in str(caught.value)
    assert "Wrong" in str(caught.value)


SOME = ["text", b"bytes", 7, 1.5, True, [1], {"a": 1}, object, Wrong()]


@pytest.mark.parametrize("name, argument", arguments())
def test_no_argument_of_any_type_raises_an_error_of_others(
    tmp_path: Path, name: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, needed = constructors()[name]
    if name == "configure":
        needed = {"exporter": InMemoryLogRecordExporter()}

    for value in SOME:
        try:
            result = make(**{**needed, argument: value})
        except ConfigurationError as error:
            assert argument in str(error)  # noqa: PT017 - some are fine
        except wakelog.JournalError:
            assert argument in ("path", "directory")
        else:
            close = getattr(result, "close", None)
            if close is not None and name in ("BufferedSink", "JSONLSink", "AsyncJSONLSink"):
                answer = close()
                if inspect.iscoroutine(answer):
                    answer.close()
            if isinstance(result, DurableLogRecordProcessor):
                result.close(0)
    made.end_recording(0)


@pytest.mark.parametrize(
    "argument, value",
    [
        *itertools.product(("segment_bytes", "segment_age"), (0, -1, float("nan"))),
        *itertools.product(
            ("replay_rate", "max_record_bytes", "max_line_bytes", "max_event_bytes"), (0, -1)
        ),
        *itertools.product(
            ("schedule_delay_millis", "max_export_batch_size", "max_queue_size"), (0, -1)
        ),
        ("max_queue_size", 100),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_its_name(
    tmp_path: Path, argument: str, value: Any
) -> None:
    if isinstance(value, float) and argument == "segment_bytes":
        value = -7
    given: dict[str, Any] = {argument: value}

    with pytest.raises(ConfigurationError, match=argument):
        DurableLogRecordProcessor(InMemoryLogRecordExporter(), directory=tmp_path, **given)
    if argument in inspect.signature(wakelog.configure).parameters:
        with pytest.raises(ConfigurationError, match=argument):
            wakelog.configure(directory=tmp_path, **given)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", Path("a\0b")])
def test_a_path_that_cannot_be_one_is_refused_by_its_name(path: Any) -> None:
    doors = {
        "directory": (wakelog.configure, lambda **more: DurableLogRecordProcessor(None, **more)),
        "path": (wakelog.JSONLSink,),
        "sink": (wakelog.AgentLogger,),
    }
    for argument, makers in doors.items():
        for make in makers:
            with pytest.raises(ConfigurationError, match=f"{argument}=.* is not a path"):
                make(**{argument: path})


# --- platforms and homes --------------------------------------------------------------------------


def test_without_a_home_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wakelog.cli import main

    def homeless() -> Path:
        message = "Could not determine home directory."
        raise RuntimeError(message)

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    for door in (wakelog.configure, lambda: DurableLogRecordProcessor(None), JournalExporter):
        with pytest.raises(ConfigurationError, match="WAKELOG_DIR"):
            door()
    for command in ("status", "show", "tail", "verify"):
        assert main([command]) == 1
        assert "WAKELOG_DIR" in capsys.readouterr().err
    wakelog.configure(directory=tmp_path, service_name="named").user_message("x")
    made.end_recording(0)


@pytest.mark.parametrize(
    "code",
    [
        "import wakelog; wakelog.configure",
        "import wakelog; wakelog.AgentLogger",
        "import wakelog.otel; wakelog.otel.DurableLogRecordProcessor",
        "import wakelog.gateway",
        "import wakelog.audit",
        "import wakelog.streams",
        "import wakelog.configurator",
        "import wakelog.integrations.structlog",
    ],
)
def test_without_posix_locks_the_error_says_where_to_run_it(code: str) -> None:
    windows = "import sys; sys.modules['fcntl'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", windows + code], capture_output=True, text=True, check=False,
        timeout=SECONDS,
    )  # fmt: skip

    assert done.returncode == 1
    assert "ImportError: Wakelog keeps its journal under the file locks of POSIX" in done.stderr
    assert "WSL" in done.stderr


def test_without_posix_locks_the_command_says_it_in_one_line() -> None:
    windows = "import sys; sys.modules['fcntl'] = None\nfrom wakelog.cli import main; sys.exit(main(['status']))"
    done = subprocess.run(
        [sys.executable, "-c", windows],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("wakelog: ")
    assert len(done.stderr.splitlines()) == 1
