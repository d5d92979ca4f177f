"""Ten tasks in ten Celery processes that are recycled after one task each: ten spans arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.collector import Collector

TASKS = 10
APP = """
import os
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_init
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from wakelog.otel import DurableSpanProcessor

folder = Path(os.environ["BROKER_FOLDER"])
app = Celery("tests", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder), "data_folder_out": str(folder), "control_folder": str(folder),
    },
    worker_max_tasks_per_child=1,
    broker_connection_retry_on_startup=False,
)
resource = Resource({"service.name": "tasks"})
provider = TracerProvider(resource=resource)
provider.add_span_processor(
    DurableSpanProcessor(
        OTLPSpanExporter(endpoint=os.environ["TRACES"]),
        directory=os.environ["JOURNAL"],
        resource=resource,
    )
)
tracer = provider.get_tracer("tasks")


@app.task
def work(number: int) -> None:
    with tracer.start_as_current_span(f"task {number}"):
        (Path(os.environ["DONE"]) / str(number)).touch()
"""


def test_every_task_of_recycled_workers_leaves_its_span(
    tmp_path: Path, collector: Collector
) -> None:
    pytest.importorskip("celery")
    (tmp_path / "tasks_app.py").write_text(APP)
    for name in ("broker", "done"):
        (tmp_path / name).mkdir()
    environment = {
        **os.environ,
        "BROKER_FOLDER": str(tmp_path / "broker"),
        "DONE": str(tmp_path / "done"),
        "JOURNAL": str(tmp_path / "journal"),
        "TRACES": f"{collector.http_endpoint}/v1/traces",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }
    send = f"import tasks_app; [tasks_app.work.delay(n) for n in range({TASKS})]"
    subprocess.run([sys.executable, "-c", send], env=environment, check=True, timeout=60)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks_app",
        "worker",
        "-P",
        "prefork",
        "-c",
        "2",
    ]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "done").iterdir())) < TASKS:
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
            time.sleep(0.1)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    last = "import tasks_app; tasks_app.provider.shutdown()"
    subprocess.run([sys.executable, "-c", last], env=environment, check=True, timeout=60)

    deadline = time.monotonic() + 60
    wanted = {f"task {number}" for number in range(TASKS)}
    while {span.name for span in collector.spans()} != wanted:
        assert time.monotonic() < deadline, sorted(span.name for span in collector.spans())
        time.sleep(0.1)
    assert len(collector.spans()) == TASKS
