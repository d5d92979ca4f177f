"""Metrics of a MeterProvider that ``configure`` has made: what arrives, and what they may never cost.

Providers are global, so each test runs a program of its own; the next hop is a real Collector.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.test_exit import DOWN, SOON, next_hop
from tests.support.collector import CONFIG, Collector
from tests.support.figures import FATES
from tests.support.otlp import ExportedMetrics
from tests.support.programs import PATIENTLY, SECONDS
from tests.support.waiting import until
from wakelog.journal import books

__all__ = ["next_hop"]

PROTOCOLS = ["http/protobuf", "grpc"]
INSTANCE = "service.instance.id"
# A slow machine may take long for a request; whoever waits for what does not come is far above it.
PREAMBLE = (
    PATIENTLY
    + "import json, os, sys, threading, time\n"
    + "from opentelemetry import metrics\n"
    + "import wakelog\n"
    + "from wakelog.otel import _made as setup\n"
)


def environment(directory: Path, endpoint: str = "", **more: str) -> dict[str, str]:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {}
    usual = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    return {**os.environ, "WAKELOG_DIR": str(directory), **usual, **given, **more}


def run(code: str, env: dict[str, str]) -> tuple[Any, str]:
    """Return what a program printed, read as JSON, and what it said on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null"), done.stderr


@contextmanager
def running(code: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends when its standard input does."""
    with subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def balanced(report: ExportedMetrics) -> dict[str, float]:
    found = {name: report(f"wakelog.events.{name}") for name in ("accepted", *FATES)}
    assert found["accepted"] == sum(found[name] for name in FATES), found
    return found


def endpoint_of(collector: Collector, protocol: str) -> str:
    return collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint


RECORDS = """
log = wakelog.configure("clerk", service_name="trips")
with log.run():
    for number in range(20):
        log.user_message(f"message {number}")
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_last_books_that_arrive_are_those_of_the_end(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    env = environment(tmp_path / "j", endpoint_of(collector, protocol))
    _, errors = run(RECORDS, {**env, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol})

    last = collector.metrics()[-1]
    assert balanced(last)["delivered"] == 22
    assert last("wakelog.events.pending") == 0
    assert last("wakelog.delivery.latency") > 0
    assert errors == ""
    # Events, spans and metrics are of the same process.
    [event, *_], [span] = collector.log_records(), collector.spans()
    assert event.origin.resource == span.origin.resource == last.resource
    assert last.resource["service.name"] == "trips"


WAITS = RECORDS + "print(json.dumps('ready'), flush=True)\nsys.stdin.read()\n"


def test_they_are_sent_in_the_interval_and_the_books_of_each_time_balance(
    tmp_path: Path, collector: Collector
) -> None:
    env = environment(tmp_path / "j", collector.http_endpoint, OTEL_METRIC_EXPORT_INTERVAL="50")
    with running(WAITS, env) as process:
        until(lambda: len(collector.metrics()) > 3, "four reports")
        process.communicate(timeout=SECONDS)

    reports = collector.metrics()
    for before, now in pairwise(reports):
        assert balanced(now)["accepted"] >= balanced(before)["accepted"]
    assert balanced(reports[-1])["delivered"] == 22


ENDS = """
import atexit
os.environ["WAKELOG_EXIT_ANSWER_TIMEOUT"] = "0.8"
log = wakelog.configure("clerk", service_name="trips")
log.user_message("hello")
time.sleep(float(sys.argv[1]))
atexit.register(lambda: print(json.dumps(time.monotonic()), flush=True))
"""


@pytest.mark.parametrize("next_hop", DOWN, indirect=True)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_next_hop_that_is_down_does_not_hold_up_the_exit(
    tmp_path: Path, next_hop: str, protocol: str
) -> None:
    """The exporters may keep trying for two minutes; one is already at it when the program ends."""
    env = environment(
        tmp_path,
        next_hop,
        OTEL_EXPORTER_OTLP_TIMEOUT="120",
        OTEL_METRIC_EXPORT_INTERVAL="20",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    process = subprocess.run(
        [sys.executable, "-c", PREAMBLE + ENDS, "0.3"],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    ended = time.monotonic()

    assert process.returncode == 0, process.stderr
    assert ended - json.loads(process.stdout) < SOON
    assert "Traceback" not in process.stderr
    assert books(tmp_path)[0].pending == 1


@pytest.mark.parametrize("next_hop", ["black hole"], indirect=True)
def test_a_next_hop_that_is_gone_holds_up_no_exit_of_a_program_with_nothing_to_deliver(
    tmp_path: Path, next_hop: str
) -> None:
    env = environment(tmp_path, next_hop, OTEL_EXPORTER_OTLP_TIMEOUT="120")
    code = ENDS.replace('log.user_message("hello")', "")
    process = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code, "0"],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert time.monotonic() - json.loads(process.stdout) < SOON


@pytest.mark.parametrize("next_hop", ["black hole"], indirect=True)
def test_metrics_that_go_elsewhere_and_are_not_answered_do_not_hold_up_the_exit(
    tmp_path: Path, collector: Collector, next_hop: str
) -> None:
    env = environment(
        tmp_path / "j",
        collector.http_endpoint,
        OTEL_EXPORTER_OTLP_TIMEOUT="120",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{next_hop}/v1/metrics",
    )
    process = subprocess.run(
        [sys.executable, "-c", PREAMBLE + ENDS.replace('"0.8"', '"10"'), "0"],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert time.monotonic() - json.loads(process.stdout) < SOON
    assert len(collector.log_records()) == 1


# --- whose provider ------------------------------------------------------------------------------

WHOSE = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
theirs = MeterProvider([reader], shutdown_on_exit=False)
{before}
log = wakelog.configure("clerk"{arguments})
log.user_message("hello")
data = reader.get_metrics_data()
found = data and [m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
print(json.dumps({{
    "theirs": metrics.get_meter_provider() is theirs,
    "found": bool(found) and "wakelog.events.accepted" in found,
    "made": setup.made.metrics is not None,
    "kind": type(metrics.get_meter_provider()).__name__,
    "threads": sum(t.name == "wakelog-metrics" for t in threading.enumerate()),
    "added": len(theirs._metric_readers) - 1,
}}), flush=True)
os._exit(0)
"""
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "before, arguments, variables, expected",
    [
        (
            "metrics.set_meter_provider(theirs)",
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE},
            {"theirs": True, "found": True, "made": False, "threads": 0, "added": 0},
        ),
        (
            "",
            ", meter_provider=theirs",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE},
            {"theirs": False, "found": True, "made": False, "kind": "_ProxyMeterProvider"},
        ),
        (
            "",
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE},
            {"theirs": False, "made": True, "kind": "MeterProvider", "threads": 1},
        ),
        (
            "",
            "",
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{NOWHERE}/v1/metrics"},
            {"made": True, "kind": "MeterProvider", "threads": 1},
        ),
        ("wakelog.configure()", "", {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE}, {"threads": 1}),
        ("", "", {}, {"made": False, "kind": "_ProxyMeterProvider", "threads": 0}),
        (
            "from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter as To",
            ", exporter=To()",
            {},
            {"made": False, "kind": "_ProxyMeterProvider", "threads": 0},
        ),
        (
            "",
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_METRICS_EXPORTER": "none"},
            {"made": False, "kind": "_ProxyMeterProvider", "threads": 0},
        ),
        (
            "",
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_METRICS_EXPORTER": "prometheus"},
            {"made": False, "kind": "_ProxyMeterProvider", "threads": 0},
        ),
        (
            "",
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_SDK_DISABLED": "true"},
            {"made": False, "kind": "_ProxyMeterProvider", "threads": 0},
        ),
        (
            "metrics.set_meter_provider(metrics.NoOpMeterProvider())",
            "",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE},
            {"made": False, "kind": "NoOpMeterProvider", "threads": 0},
        ),
    ],
)
def test_a_provider_is_made_where_there_is_none_and_somewhere_to_send(
    tmp_path: Path, before: str, arguments: str, variables: dict[str, str], expected: dict[str, Any]
) -> None:
    said, errors = run(
        WHOSE.format(before=before, arguments=arguments), environment(tmp_path, **variables)
    )

    assert said.items() >= expected.items()
    assert ("prometheus" in variables.values()) == ("OTEL_METRICS_EXPORTER=prometheus" in errors)


def test_a_meter_provider_beside_a_logger_provider_is_refused(tmp_path: Path) -> None:
    said, _ = run(
        "from opentelemetry.sdk._logs import LoggerProvider\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "try:\n"
        "    wakelog.configure(logger_provider=LoggerProvider(), meter_provider=MeterProvider())\n"
        "except wakelog.ConfigurationError as error:\n"
        "    print(json.dumps(str(error)))\n",
        environment(tmp_path),
    )

    assert "meter_provider cannot be set beside logger_provider" in said


def test_what_the_exporter_prefers_is_what_is_sent(tmp_path: Path, collector: Collector) -> None:
    """It is asked by a name that is not public; see ``_Exporter``."""
    env = environment(
        tmp_path / "j",
        collector.http_endpoint,
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="DELTA",
    )
    code = """
log = wakelog.configure("clerk")
for _ in range(3):
    log.user_message("x")
    wakelog.shutdown() if _ == 2 else metrics.get_meter_provider().force_flush(60000)
"""
    run(code, env)

    accepted = [report("wakelog.events.accepted") for report in collector.metrics()]
    assert accepted[:3] == [1, 1, 1]


# --- a next hop that takes no metrics, or none for a while ---------------------------------------


@pytest.fixture
def without_metrics(collector_binary: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that takes logs and traces only."""
    config = tmp_path / "without-metrics.yaml"
    text = CONFIG.read_text(encoding="utf-8")
    config.write_text(text[: text.rindex("    metrics:\n      receivers:")], encoding="utf-8")
    folder = tmp_path / "without-metrics"
    folder.mkdir()
    with Collector(collector_binary, folder, config) as running_one:
        yield running_one


ATTEMPTS = """
from wakelog.otel import _periodic_export
tries = []
export = _periodic_export._Exporter.export
def counting(*a, **k):
    tries.append(1)
    return export(*a, **k)
_periodic_export._Exporter.export = counting
log = wakelog.configure("clerk")
while len(tries) < 5:
    log.user_message("x")
    time.sleep(0.01)
assert log.flush(60)
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_next_hop_that_takes_no_metrics_costs_one_line_and_no_event(
    tmp_path: Path, without_metrics: Collector, protocol: str
) -> None:
    env = environment(
        tmp_path / "j",
        endpoint_of(without_metrics, protocol),
        OTEL_METRIC_EXPORT_INTERVAL="20",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    _, errors = run(ATTEMPTS, env)

    [line] = errors.splitlines()
    assert "cannot send metrics" in line
    assert "404" in line or "UNIMPLEMENTED" in line
    assert "OTEL_METRICS_EXPORTER=none" in line
    assert sum(one.pending for one in books(tmp_path / "j")) == 0


def test_an_outage_is_said_once_and_its_end_too(tmp_path: Path, collector: Collector) -> None:
    env = environment(
        tmp_path / "j",
        collector.http_endpoint,
        OTEL_METRIC_EXPORT_INTERVAL="20",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_LOGS_EXPORTER="none",
    )
    said: list[str] = []
    with running(WAITS, env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        until(lambda: bool(collector.metrics()), "the first report")
        collector.stop()
        said.append(process.stderr.readline())
        before = len(collector.metrics())
        collector.start()
        until(lambda: len(collector.metrics()) > before + 2, "reports after the outage")
        _, rest = process.communicate(timeout=SECONDS)
        said += rest.splitlines()

    assert "cannot send metrics" in said[0]
    assert "again" in said[1]
    assert len(said) == 2, said
    assert balanced(collector.metrics()[-1])["pending"] == 22


# --- forks ---------------------------------------------------------------------------------------

FORKS = """
log = wakelog.configure("clerk", service_name="trips")
for number in range(32):
    log.user_message(f"parent {number}")
assert log.flush(60)
metrics.get_meter_provider().force_flush(60000)
child = os.fork()
if child == 0:
    for number in range(16):
        log.user_message(f"child {number}")
    # An exit does not wait for a second attempt, which a busy machine may need.
    while not (log.flush(60) and setup.made.metrics.flush(60)):
        pass
    if sys.argv[-1] == "exits":
        sys.exit(0)
    wakelog.shutdown(60)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("how", ["exits", "shuts down"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_forked_child_reports_what_is_its_own_as_a_process_of_its_own(
    tmp_path: Path, collector: Collector, how: str, protocol: str
) -> None:
    env = environment(
        tmp_path / "j",
        endpoint_of(collector, protocol),
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    _, errors = run(FORKS.replace("sys.argv[-1]", repr(how)), env)

    last: dict[str, ExportedMetrics] = {}
    for report in collector.metrics():
        balanced(report)
        last[report.resource[INSTANCE]] = report
    instances: Counter[str] = Counter()
    for record in collector.log_records():
        instances[record.origin.resource[INSTANCE]] += 1
    assert sorted(instances.values()) == [16, 32], errors
    assert last.keys() == instances.keys()
    for instance, count in instances.items():
        assert last[instance]("wakelog.events.delivered") == count
        # One write in sixteen is measured, and no child goes on with its parent's.
        assert last[instance]("wakelog.journal.write.duration") == count / 16
        assert last[instance].resource["service.name"] == "trips"


HELD_UP = """
from opentelemetry.metrics import Observation
collecting, go_on = threading.Event(), threading.Event()
def slow(_):
    if os.getpid() == parent:
        collecting.set()
        go_on.wait({seconds})
    return [Observation(1)]
parent = os.getpid()
log = wakelog.configure("clerk")
metrics.get_meter("app").create_observable_gauge("slow", [slow])
provider = metrics.get_meter_provider()
threading.Thread(target=provider.force_flush, args=(60000,), daemon=True).start()
assert collecting.wait(60)
child = os.fork()
if child == 0:
    log.user_message("child")
    os._exit(3 if setup.made.metrics.flush(60) else 4)
go_on.set()
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(code))
"""


@pytest.mark.parametrize("seconds, code", [("0.2", 3), ("60", 4)])
def test_a_child_that_is_forked_during_a_collection_is_not_held_up(
    tmp_path: Path, collector: Collector, seconds: str, code: int
) -> None:
    """A fork waits for the collection, but not for one that hangs; then the child has no metrics."""
    env = environment(tmp_path / "j", collector.http_endpoint)

    said, _ = run(HELD_UP.format(seconds=seconds), env)

    assert said == code


@pytest.mark.parametrize("next_hop", ["black hole"], indirect=True)
def test_a_child_that_is_forked_during_an_export_is_not_held_up(
    tmp_path: Path, next_hop: str, collector: Collector
) -> None:
    env = environment(tmp_path / "j", next_hop, OTEL_EXPORTER_OTLP_TIMEOUT="120")
    code = f"""
log = wakelog.configure("clerk")
assert not setup.made.metrics.flush(0.3)  # it goes on in its thread
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = {collector.http_endpoint!r}
child = os.fork()
if child == 0:
    os._exit(3 if setup.made.metrics.flush(60) else 4)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
os._exit(0)
"""
    said, _ = run(code, env)

    assert said == 3
    assert len(collector.metrics()) == 1


def test_a_user_may_flush_and_end_the_provider(tmp_path: Path, collector: Collector) -> None:
    code = """
log = wakelog.configure("clerk")
log.user_message("x")
provider = metrics.get_meter_provider()
print(json.dumps([provider.force_flush(60000), provider.shutdown(60000), bool(wakelog.shutdown(60))]))
"""
    said, errors = run(code, environment(tmp_path / "j", collector.http_endpoint))

    assert said == [True, None, True]
    assert len(collector.metrics()) == 2
    assert "Traceback" not in errors


# --- several exporters ---------------------------------------------------------------------------

# The console comes first. Its reports would stand between what the program prints.
TWO = """
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExportResult
done = []
def noting(name, does):
    def call(self, *_, **__):
        done.append(name)
        return does()
    setattr(ConsoleMetricExporter, name, call)
def fail():
    raise OSError("the console is closed")
noting("export", {export})
noting("shutdown", {shutdown})
log = wakelog.configure("clerk")
log.user_message("x")
[thread] = [one for one in threading.enumerate() if one.name == "wakelog-metrics"]
provider = metrics.get_meter_provider()
provider.force_flush(60000)
provider.shutdown(60000)
thread.join()  # nobody waits for it after a failure
print(json.dumps(done))
"""
SUCCEED = "lambda: MetricExportResult.SUCCESS"


@pytest.mark.parametrize(
    "export, shutdown, complaint",
    [
        (SUCCEED, "lambda: None", ""),
        (SUCCEED, "fail", ""),
        ("lambda: MetricExportResult.FAILURE", "lambda: None", "the exporter gave no reason"),
        ("fail", "fail", "the console is closed"),
    ],
)
def test_one_of_two_exporters_that_fails_keeps_no_metrics_from_the_other(
    tmp_path: Path, collector: Collector, export: str, shutdown: str, complaint: str
) -> None:
    env = environment(tmp_path / "j", collector.http_endpoint, OTEL_METRICS_EXPORTER="otlp,console")
    said, errors = run(TWO.format(export=export, shutdown=shutdown), env)

    assert said == ["export", "export", "shutdown"]
    assert [balanced(report)["accepted"] for report in collector.metrics()] == [1, 1]
    assert ("cannot send metrics" in errors) == bool(complaint)
    assert complaint in errors
    assert "Traceback" not in errors
