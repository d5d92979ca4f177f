"""What Wakelog, the exporters and their clients log during delivery never becomes new events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.collector import Collector, free_ports
from wakelog.journal import read

PROGRAM = """
import json, logging, sys, threading, warnings
warnings.simplefilter("ignore")
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._exporters import log_exporter
seen = []
said = threading.Event()
class Listening(logging.Handler):
    def emit(self, record):
        seen.append(record.name)
        if record.name == "wakelog":
            said.set()
provider = LoggerProvider()
durable = DurableLogRecordProcessor(log_exporter(), 20)
provider.add_log_record_processor(durable)
logging.basicConfig(level=logging.DEBUG, handlers=[
    LoggingHandler(level=logging.DEBUG, logger_provider=provider), Listening()])
log = logging.getLogger("shop")
for number in range(20):
    log.info("order %d", number)
    if number % 5 == 0:
        provider.force_flush(100)  # attempts are made between the records, whether they succeed or not
if sys.argv[1] == "arrives":
    assert provider.force_flush(60_000)
else:
    assert said.wait(60)
provider.shutdown()
print(json.dumps(sorted(set(seen))))
"""


def run(root: Path, endpoint: str, protocol: str, what: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what],
        env={
            **os.environ,
            "WAKELOG_DIR": str(root),
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
            "GRPC_VERBOSITY": "DEBUG",
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: list[str] = json.loads(done.stdout.splitlines()[-1])
    return seen


def scopes(root: Path) -> list[str]:
    return [entry.record.scope.name for entry in read(root) if entry.record.scope is not None]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_with_every_logger_at_debug_only_the_program_is_recorded(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    seen = run(tmp_path / "j", endpoint, protocol, "arrives")

    if protocol != "grpc":  # it is not for want of logging
        assert any(name.startswith("urllib3") for name in seen)
    assert scopes(tmp_path / "j") == ["shop"] * 20
    assert len(collector.log_records()) == 20


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_outage_is_logged_and_not_recorded(tmp_path: Path, protocol: str) -> None:
    [port] = free_ports(1)
    seen = run(tmp_path / "j", f"http://127.0.0.1:{port}", protocol, "does not arrive")

    assert "wakelog" in seen
    assert scopes(tmp_path / "j") == ["shop"] * 20
