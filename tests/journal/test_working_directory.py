"""A relative path means what it meant when it was given, whatever the program does afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import wakelog
from tests.support.guarantees import CHANGED_DIRECTORY, PROPERTY, Row
from wakelog.errors import ConfigurationError
from wakelog.otel import DurableLogRecordProcessor
from wakelog.runtime import absolute

# Each front door is given a relative path in one working directory, records, goes to another one as
# a daemon does, records on, and reads back what it has recorded.
PROGRAM = """
import asyncio, os, sys, time
from pathlib import Path

first, second, door = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
os.chdir(first)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
import wakelog
from wakelog import AgentLogger, BufferedSink, JSONLSink
from wakelog.audit import JournalSessionLog, SQLiteSessionLog, ThreadKey
from wakelog.events import AgentEvent
from wakelog.gateway import EventSessionLogger
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor
from wakelog.streams import Logger, SessionStreams

KEY = ThreadKey("tenant", "thread")


def processor():
    exporter = InMemoryLogRecordExporter()
    processor = DurableLogRecordProcessor(exporter, directory="kept", schedule_delay_millis=100)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    yield lambda text: provider.get_logger("a").emit(body=text)
    assert processor.force_flush(20_000)
    yield [record.log_record.body for record in exporter.get_finished_logs()]


def configure():
    log = wakelog.configure("a", directory="kept")
    yield log.user_message
    wakelog.shutdown(1)
    yield [entry.record.attributes["gen_ai.input.messages"] for entry in read(first / "kept")]


def sink(kind):
    made = JSONLSink("kept/events.jsonl")
    if kind == "buffered":
        made = BufferedSink(made, capacity=100)
    log = AgentLogger("a", sink=made)
    yield log.user_message
    made.close()
    yield list(read(first / "kept" / "events.jsonl"))


def gateway():
    async def forward(event):
        forwarded.append(event)

    forwarded = []
    loop = asyncio.new_event_loop()
    logger = EventSessionLogger("kept", downstream_callback=forward)
    yield lambda text: loop.run_until_complete(logger({"session_id": "s", "text": text}))
    assert loop.run_until_complete(logger.flush(20))
    loop.run_until_complete(logger.close())
    assert logger.stats().corrupt == 0
    yield forwarded


def audit(kind):
    log = JournalSessionLog("kept") if kind == "journal" else SQLiteSessionLog("kept/log.db")
    yield lambda text: asyncio.run(log.append(KEY, [AgentEvent("custom", payload={"t": text})]))
    found = asyncio.run(log.load_since(KEY, 0))
    log.close()
    yield found


async def collect(reader):
    return [chunk async for chunk in reader]


def streams():
    made = SessionStreams("kept")
    yield lambda text: made.write("s", text)
    found = asyncio.run(collect(made.read("s", from_start=True, idle_timeout=0.2)))
    made.close()
    yield found


def logger():
    made = Logger("kept", stream_handler=lambda text: None)
    yield lambda text: asyncio.run(made.log_chunk_to_queue(text, "s"))
    found = made.get_all_logs_in_queue()
    made.close()
    yield found


doors = {
    "processor": processor, "configure": configure, "gateway": gateway, "streams": streams,
    "logger": logger, "sink": lambda: sink("plain"), "buffered": lambda: sink("buffered"),
    "audit": lambda: audit("journal"), "sqlite": lambda: audit("sqlite"),
}
steps = doors[door]()
record = next(steps)
record("one")
os.chdir(second)
record("two")
os.rmdir(second)  # not even the working directory is there any more
time.sleep(1.1)  # files are looked at once a second
record("three")
found = next(steps)
assert len(found) == 3, found
print(len(found))
os.chdir("/")
"""
DOORS = [
    "processor",
    "configure",
    "sink",
    "buffered",
    "gateway",
    "audit",
    "sqlite",
    "streams",
    "logger",
]


@pytest.mark.parametrize("door", DOORS)
def test_a_relative_path_outlives_a_change_of_the_working_directory(
    tmp_path, door, record_property
):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(first), str(second), door],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [path.name for path in first.iterdir()] == ["kept"]
    lost = 3 - int(done.stdout.split()[-1])
    record_property(PROPERTY, Row(CHANGED_DIRECTORY, "os_buffered", 1, 3, 3, lost, 0))


@pytest.mark.parametrize("url", ["s3://bucket/agents", "file:///var/lib/agents"])
def test_a_url_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAKELOG_DIR", url)

    for take in (wakelog.configure, lambda: DurableLogRecordProcessor(None, directory=url)):
        with pytest.raises(ConfigurationError, match=f"{url}' is a URL: give the path of"):
            take()

    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_in_a_directory_that_is_gone_is_one_clear_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(ConfigurationError, match=r"'journal' is relative.*give an absolute path"):
        absolute("journal")
    assert absolute("/tmp/journal") == Path("/tmp/journal")
