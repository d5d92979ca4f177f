"""Zero code: a program that is not changed, under ``opentelemetry-instrument``."""

from __future__ import annotations

import http.client
import inspect
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

from tests.conftest import ROOT
from tests.support.collector import Collector, free_ports
from tests.support.otlp import ExportedLog
from tests.support.programs import (
    EXAMPLES,
    INSTRUMENT,
    LONG_EXIT,
    SECONDS,
    UNUSED,
    environment,
    run,
)
from tests.support.waiting import until
from wakelog.configurator import JournalExporter
from wakelog.errors import ConfigurationError
from wakelog.journal import books, owner_of, read

STOCK = "configurator"  # the name of opentelemetry-distro's
REQUESTS = 100
PROGRAM = """\
import logging
logging.getLogger().setLevel(logging.INFO)
logging.getLogger("shop").warning("late by %d days", 3, extra={"order": 7})
"""


def test_the_sdk_still_has_the_configurator_that_ours_is_built_on() -> None:
    from opentelemetry.sdk import _configuration

    from wakelog.configurator import Configurator

    assert issubclass(Configurator, _configuration._OTelSDKConfigurator)
    taken = inspect.signature(_configuration._initialize_components).parameters
    assert {"export_log_record_processor", "log_exporter_names"} <= set(taken), (
        "opentelemetry-sdk's configurator has changed: wakelog.configurator has to follow"
    )


# --- a server that is killed ---------------------------------------------------------------------


@contextmanager
def served(env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    [port] = free_ports(1)
    command = [INSTRUMENT, sys.executable, str(EXAMPLES / "fastapi_agent.py"), "--port", str(port)]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: answers(port), "the server's start")
            yield process, port
        finally:
            process.kill()


def answers(port: int) -> bool:
    try:
        return get(port, "/process") == 200
    except OSError:
        return False


def get(port: int, *paths: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        for path in paths:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
        return response.status
    finally:
        connection.close()


def questions(records: list[ExportedLog]) -> Counter[str]:
    return Counter(str(log.body) for log in records if log.origin.scope_name == "answers")


@pytest.mark.parametrize("configurator", ["wakelog", STOCK])
def test_a_server_killed_after_its_last_response_loses_nothing(
    collector: Collector, tmp_path: Path, configurator: str, record_property: pytest.Function
) -> None:
    env = environment(
        collector,
        OTEL_PYTHON_CONFIGURATOR=configurator,
        OTEL_SERVICE_NAME="answers",
        OTEL_METRICS_EXPORTER="none",
        WAKELOG_DIR=str(tmp_path / "journal"),
        # Longer than the test: whatever has arrived did so after the restart, or at the kill.
        OTEL_BLRP_SCHEDULE_DELAY="600000",
    )
    asked = Counter(
        said.format(number)
        for number in range(REQUESTS)
        for said in ("question {}", "looked up {}", "answered {}")
    )

    with served(env) as (process, port):
        assert get(port, *(f"/answer/{number}" for number in range(REQUESTS))) == 200
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
    del env["OTEL_BLRP_SCHEDULE_DELAY"]
    with served(env) as (process, port):
        assert get(port, "/answer/1000") == 200
        last = "answered 1000"
        until(lambda: questions(collector.log_records())[last] > 0, "the export")
        if configurator == "wakelog":
            until(lambda: asked <= questions(collector.log_records()), "the delivery")
        process.terminate()
        process.wait(SECONDS)

    received = questions(collector.log_records())
    arrived = (asked & received).total()
    print(f"{configurator}: {arrived} of {asked.total()} records arrived after SIGKILL, restart")
    if configurator == STOCK:
        assert arrived == 0, "the stock pipeline is better than the page says"
        return
    assert arrived == asked.total()
    mine = [log for log in collector.log_records() if log.origin.scope_name == "answers"]
    assert all(log.origin.resource["service.name"] == "answers" for log in mine)
    assert len({log.trace_id for log in mine}) == REQUESTS + 1
    assert len({log.uid for log in mine}) == len(mine)


# --- what the variables mean ---------------------------------------------------------------------


def instrumented(code: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [INSTRUMENT, sys.executable, "-c", dedent(code)],
        env=environment(
            **{
                "OTEL_PYTHON_CONFIGURATOR": "wakelog",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
                "WAKELOG_DIR": str(tmp_path / "journal"),
                **variables,
            }
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def bodies(directory: Path) -> list[object]:
    return [entry.record.body for entry in read(directory)]


def test_without_an_exporter_records_stay_in_the_journal(tmp_path: Path) -> None:
    done = instrumented(
        PROGRAM, tmp_path, OTEL_LOGS_EXPORTER="none", OTEL_RESOURCE_ATTRIBUTES="team=blue"
    )

    [entry] = read(tmp_path / "journal")
    assert entry.record.body == "late by 3 days"
    assert entry.record.attributes["order"] == 7
    assert entry.record.scope is not None
    assert entry.record.scope.name == "shop"
    assert entry.resource.attributes["team"] == "blue"
    # At the exit of Python 3.12 the handler of the instrumentation fails to start a thread of its own.
    if sys.version_info[:2] != (3, 12):
        assert "Traceback" not in done.stderr


def test_the_official_structlog_instrumentation_is_durable_too(tmp_path: Path) -> None:
    program = (
        "import os, structlog\nstructlog.get_logger().info('sold', n=1); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run(
        [INSTRUMENT, sys.executable, "-c", program],
        env=environment(
            OTEL_PYTHON_CONFIGURATOR="wakelog",
            OTEL_LOGS_EXPORTER="none",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
            WAKELOG_DIR=str(tmp_path / "journal"),
        ),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [entry] = read(tmp_path / "journal")
    assert (entry.record.body, entry.record.attributes) == ("sold", {"n": 1})


def test_the_console_exporter_prints_and_the_journal_keeps(tmp_path: Path) -> None:
    done = instrumented(PROGRAM, tmp_path, OTEL_LOGS_EXPORTER="console")

    assert json.loads(done.stdout)["body"] == "late by 3 days"
    assert bodies(tmp_path / "journal") == ["late by 3 days"]


def test_the_other_signals_and_the_service_are_configured_as_ever(
    collector: Collector, tmp_path: Path
) -> None:
    code = """
    from opentelemetry import metrics, trace
    with trace.get_tracer("shop").start_as_current_span("sell"):
        with trace.get_tracer("shop").start_as_current_span("dropped"):
            pass
    metrics.get_meter("shop").create_counter("sold").add(1)
    import wakelog
    from wakelog.integrations.structlog import WakelogProcessor
    import structlog
    structlog.configure(processors=[WakelogProcessor(last=True)])
    with trace.get_tracer("shop").start_as_current_span("note"):
        structlog.get_logger().info("sold", event_name="sold", card="4111 1111 1111 1111")
    """
    done = instrumented(
        code,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.http_endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="console",
        OTEL_SERVICE_NAME="shop",
        **LONG_EXIT,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=f"structlog,{UNUSED}",
    )

    assert "sold" in done.stdout
    [log] = collector.wait_for_logs(1, SECONDS)
    assert (log.body, log.event_name) == ("sold", "sold")
    assert log.attributes["card"] == "[REDACTED]"
    spans = {span.name: span for span in collector.spans()}
    assert spans.keys() == {"sell", "dropped", "note"}
    assert log.span_id == spans["note"].span_id
    assert {span.origin.resource["service.name"] for span in spans.values()} == {"shop"}
    assert [b.pending for b in books(tmp_path / "journal")] == [0, 0]


def test_of_several_exporters_each_has_a_journal_of_its_own(
    collector: Collector, tmp_path: Path
) -> None:
    instrumented(
        PROGRAM,
        tmp_path,
        **LONG_EXIT,
        OTEL_LOGS_EXPORTER="otlp_proto_http,console,otlp_proto_grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.http_endpoint,
    )

    [log] = collector.wait_for_logs(1, SECONDS)
    assert log.body == "late by 3 days"
    kept = books(tmp_path / "journal")
    assert sorted(one.pending for one in kept) == [0, 1]  # gRPC was sent to the HTTP port
    pipelines = set()
    for one in kept:
        assert bodies(tmp_path / "journal" / one.writer) == ["late by 3 days"]
        owner = owner_of(tmp_path / "journal" / one.writer)
        assert owner is not None
        pipelines.add(owner.pipeline)
    assert len(pipelines) == 2  # each named by where it delivers to


def test_a_disabled_sdk_records_nothing_and_makes_nothing(tmp_path: Path) -> None:
    instrumented(PROGRAM, tmp_path, OTEL_SDK_DISABLED="true", OTEL_LOGS_EXPORTER="none")

    assert not (tmp_path / "journal").exists()


def test_only_who_asks_for_it_gets_it(tmp_path: Path) -> None:
    # Without the variable the first configurator that is installed is run, whichever that is.
    configured = "from wakelog.configurator import Configurator\nConfigurator().configure()\n"
    emits = "from opentelemetry._logs import get_logger\nget_logger('shop').emit(body='late')\n"
    variables = {"OTEL_LOGS_EXPORTER": "console", "WAKELOG_DIR": str(tmp_path / "journal")}

    alone = run("-c", configured + emits, env=environment(**variables))
    named = instrumented(emits, tmp_path, OTEL_PYTHON_CONFIGURATOR=STOCK, **variables)

    for done in (alone, named):
        assert json.loads(done.stdout)["body"] == "late"
    assert not (tmp_path / "journal").exists()


def test_a_setting_that_cannot_be_used_is_said_and_the_program_runs(tmp_path: Path) -> None:
    done = instrumented(PROGRAM, tmp_path, OTEL_LOGS_EXPORTER="none", WAKELOG_DURABILITY="CERTAIN")

    assert "'CERTAIN' is not known: use one of" in done.stderr


# --- declarative configuration -------------------------------------------------------------------

CONFIG = """\
file_format: "1.0"
resource:
  attributes:
    - name: service.name
      value: declared
logger_provider:
  processors:
    - simple:
        exporter:
          wakelog:
            endpoint: {endpoint}/v1/logs
            directory: {directory}
"""


@pytest.mark.parametrize("configurator", ["wakelog", STOCK])
def test_a_configuration_file_may_name_the_journal_as_an_exporter(
    collector: Collector, tmp_path: Path, configurator: str
) -> None:
    file = tmp_path / "otel.yaml"
    directory = tmp_path / "declared"
    file.write_text(CONFIG.format(endpoint=collector.http_endpoint, directory=directory))
    code = PROGRAM + "import os; os.kill(os.getpid(), 9)"
    env = environment(OTEL_PYTHON_CONFIGURATOR=configurator, OTEL_CONFIG_FILE=str(file))

    killed = subprocess.run(
        [INSTRUMENT, sys.executable, "-c", code],
        env=env,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert bodies(directory) == ["late by 3 days"]
    # Which service the file names, the exporter learns from its first record.
    again = "import logging; logging.getLogger('again').warning('started')\n"
    again += "import time\nfrom wakelog.journal import books, owner_of\nfrom pathlib import Path\n"
    again += "end = time.monotonic() + 50\n"
    again += f"while any(b.pending for b in books(Path({str(directory)!r}))):\n"
    again += "    assert time.monotonic() < end; time.sleep(0.05)\n"
    subprocess.run([INSTRUMENT, sys.executable, "-c", again], env=env, check=True, timeout=SECONDS)

    logs = collector.wait_for_logs(2, SECONDS)
    assert sorted(log.body for log in logs) == ["late by 3 days", "started"]
    assert {log.origin.resource["service.name"] for log in logs} == {"declared"}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_journal_as_an_exporter_delivers_by_either_protocol(
    collector: Collector, tmp_path: Path, protocol: str
) -> None:
    is_grpc = protocol == "grpc"
    endpoint = collector.grpc_endpoint if is_grpc else f"{collector.http_endpoint}/v1/logs"
    exporter = JournalExporter(endpoint, protocol, timeout=30_000, directory=str(tmp_path / "j"))
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("shop").emit(LogRecord(body="late"))

    assert exporter.force_flush()
    provider.shutdown()

    assert [log.body for log in collector.wait_for_logs(1, SECONDS)] == ["late"]
    assert [one.delivered for one in books(tmp_path / "j")] == [1]


def test_the_journal_as_an_exporter_refuses_a_protocol_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'smtp' is not known: use http/protobuf or grpc"):
        JournalExporter("http://localhost:1", "smtp", directory=str(tmp_path / "j"))

    assert not (tmp_path / "j").exists()


# --- the wheel -----------------------------------------------------------------------------------

ENTRY_POINTS = """
import os, sys, wakelog
from importlib.metadata import entry_points
assert wakelog.__file__.startswith(sys.prefix), wakelog.__file__
for group in ("opentelemetry_configurator", "opentelemetry_genai_completion_hook",
              "opentelemetry_logs_exporter", "pytest11", "console_scripts"):
    [found] = entry_points(group=group, name="wakelog")
    print(group, found.load().__name__)
from opentelemetry.util.genai.completion_hook import load_completion_hook
print(type(load_completion_hook()._wrapped).__name__)
"""
PLUGIN = """
def test_the_fixture(wakelog_recording):
    wakelog_recording.log.user_message("hi")
    assert wakelog_recording.types == ["user_message"]
"""


def test_the_built_wheel_brings_its_entry_points(tmp_path: Path) -> None:
    def quiet(*command: object, **variables: str) -> str:
        env = environment(**variables)
        env.pop("PYTHONPATH", None)  # it would bring the tree back
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    [wheel] = (tmp_path / "dist").iterdir()
    quiet(sys.executable, "-m", "venv", "--without-pip", "scratch")
    python = tmp_path / "scratch" / "bin" / "python"
    install = ("install", "--no-deps", "--no-index", "--no-compile", "--quiet", wheel)
    quiet(sys.executable, "-m", "pip", "--python", python, *install)
    # What it depends on is the developer's, without the editable Wakelog: files named .pth in a
    # directory that is itself named by one are not read.
    [own] = (tmp_path / "scratch" / "lib").glob("python*/site-packages")
    theirs = Path(pytest.__file__).parents[1]
    (own / "dependencies.pth").write_text(f"{theirs}\n")

    loaded = quiet(python, "-c", ENTRY_POINTS, OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK="wakelog")
    (tmp_path / "test_plugin.py").write_text(PLUGIN)
    tested = quiet(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_plugin.py")
    start = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    quiet(
        python,
        "-c",
        start,
        python,
        "-c",
        PROGRAM,
        OTEL_PYTHON_CONFIGURATOR="wakelog",
        OTEL_LOGS_EXPORTER="none",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        WAKELOG_DIR=str(tmp_path / "journal"),
    )

    assert loaded.split("\n")[:-1] == [
        "opentelemetry_configurator Configurator",
        "opentelemetry_genai_completion_hook WakelogCompletionHook",
        "opentelemetry_logs_exporter JournalExporter",
        "pytest11 wakelog.integrations.pytest",
        "console_scripts main",
        "WakelogCompletionHook",
    ]
    assert "1 passed" in tested
    assert bodies(tmp_path / "journal") == ["late by 3 days"]


def test_the_variables_for_space_and_buffer_hold_without_code_too(tmp_path: Path) -> None:
    code = """
        import json
        from opentelemetry._logs import get_logger_provider
        processors = get_logger_provider()._multi_log_record_processor._log_record_processors
        [ours] = [one for one in processors if hasattr(one, "journal")]
        print(json.dumps([ours.journal.disk_limit, ours.buffer.capacity]))
    """
    env = environment(
        OTEL_PYTHON_CONFIGURATOR="wakelog",
        WAKELOG_DIR=str(tmp_path / "journal"),
        WAKELOG_QUOTA_BYTES="9000000",
        WAKELOG_BUFFER_CAPACITY="77",
        # Nothing answers, and the exit would wait for it.
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
    )

    done = subprocess.run(
        [INSTRUMENT, sys.executable, "-c", dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [9_000_000, 77]
