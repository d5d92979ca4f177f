"""A logger and its sink: a sink that fails, `flush` and `close`, `JSONLSink`, and durability."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from wakelog import (
    AgentEvent,
    AgentLogger,
    AsyncAgentLogger,
    AsyncJSONLSink,
    Durability,
    EventSink,
    JournalError,
    JSONLSink,
    MemorySink,
    OTelSink,
    SinkError,
)
from wakelog.errors import ConfigurationError
from wakelog.journal import Journal
from wakelog.journal._shared_file import SharedFile
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import Callable


from tests.support.logging_agents import OwnError, Recorded, nothing_is_attached, records_of


class FailingSink:
    """Refuses what ``refuses`` says, by raising ``error``."""

    def __init__(self, *refuses: str, error: BaseException | None = None) -> None:
        self.refuses = refuses
        self.error = error or SinkError("the disk is full")
        self.events: list[AgentEvent] = []

    def write(self, event: AgentEvent) -> None:
        if event.event_type in self.refuses:
            raise self.error
        self.events.append(event)


# --- a sink that fails --------------------------------------------------------------------------

BLOCKS: dict[str, tuple[str, str, Callable[[AgentLogger], Any]]] = {
    "run": ("run_start", "run_end", lambda log: log.run()),
    "model": ("model_call", "model_response", lambda log: log.model("m")),
    "tool": ("tool_call", "tool_result", lambda log: log.tool("t")),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_failing_sink_never_replaces_the_programs_exception(block: str) -> None:
    _, closing, opened = BLOCKS[block]
    recorded = Recorded(sink=FailingSink(closing, "error"))
    problem = ValueError("the program's own")

    with pytest.raises(ValueError, match="own") as caught, opened(recorded.log):
        raise problem

    assert caught.value is problem
    assert "the disk is full" in "".join(caught.value.__notes__)
    assert len(recorded.spans()) == 1
    assert nothing_is_attached()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_failing_sink_raises_where_the_program_did_not(block: str) -> None:
    _, closing, opened = BLOCKS[block]
    recorded = Recorded(sink=FailingSink(closing))
    body: list[int] = []

    with pytest.raises(SinkError, match="the disk is full"), opened(recorded.log):
        body.append(1)

    assert body == [1]
    assert len(recorded.spans()) == 1
    assert nothing_is_attached()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_sink_that_fails_at_the_start_leaves_nothing_attached(block: str) -> None:
    opening, _, opened = BLOCKS[block]
    recorded = Recorded(sink=FailingSink(opening))
    body: list[int] = []

    with pytest.raises(SinkError, match="the disk is full"), opened(recorded.log):
        body.append(1)

    assert body == []
    assert len(recorded.spans()) == 1
    assert nothing_is_attached()


class FailingSampler(Sampler):
    """A sampler of somebody else's with a bug."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        message = "sampler"
        raise OwnError(message)

    def get_description(self) -> str:
        return "fails"


def test_a_tracer_that_fails_keeps_no_agent_from_its_work() -> None:
    recorded = Recorded(tracer_provider=TracerProvider(FailingSampler(), shutdown_on_exit=False))

    with recorded.log.run(session_id="s-1", agent="a") as run_id:
        recorded.log.user_message("hi")

    assert run_id
    assert nothing_is_attached()


def test_the_end_of_a_run_is_recorded_although_its_error_was_not() -> None:
    sink = FailingSink("error")
    log = AgentLogger(sink=sink)

    with pytest.raises(ValueError, match="no"), log.run():
        raise ValueError("no")

    assert [event.event_type for event in sink.events] == ["run_start", "run_end"]
    assert sink.events[-1].status == "error"


class UnspeakableError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


@pytest.mark.parametrize("block", BLOCKS)
def test_an_exception_without_text_is_recorded_and_comes_out(block: str) -> None:
    _, closing, opened = BLOCKS[block]
    recorded = Recorded()

    with pytest.raises(UnspeakableError), opened(recorded.log):
        raise UnspeakableError

    assert recorded.types()[-1] == closing
    assert recorded.events[-1].status == "error"
    assert not hasattr(UnspeakableError, "__notes__")


def test_a_sinks_own_exception_becomes_a_sink_error_with_its_cause() -> None:
    cause = ValueError("bad value")
    log = AgentLogger(sink=FailingSink("custom", error=cause))

    with pytest.raises(SinkError) as caught:
        log.emit("custom")

    assert caught.value.__cause__ is cause
    assert "FailingSink" in str(caught.value)
    assert "bad value" in str(caught.value)


def test_ctrl_c_in_a_sink_stays_what_it_is() -> None:
    log = AgentLogger(sink=FailingSink("custom", error=KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        log.emit("custom")


# --- the logger and its sink --------------------------------------------------------------------


class Flushable:
    """A sink with everything that a sink may have."""

    delivers = True

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.closed = False

    def write(self, event: AgentEvent) -> None: ...

    def flush(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return False

    def close(self) -> None:
        self.closed = True


def test_flush_says_what_the_sink_says_and_close_leaves_others_sinks_open() -> None:
    sink = Flushable()
    log = AgentLogger(sink=sink)

    delivered = log.flush(1.5)
    log.close()

    assert not delivered
    assert sink.waited == [1.5]
    assert not sink.closed


@pytest.mark.parametrize("sink", [None, MemorySink(), FailingSink()])
def test_flush_is_true_where_nothing_is_delivered(sink: EventSink | None) -> None:
    log = AgentLogger(sink=sink)

    assert log.flush()


@pytest.mark.parametrize("timeout", ["5", None, True])
def test_a_time_out_that_is_no_number_is_refused_in_one_word(timeout: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        AgentLogger().flush(timeout)

    assert str(refused.value) == f"timeout is of type {type(timeout).__name__}; give a number"


# --- JSONLSink ----------------------------------------------------------------------------------


def test_a_path_is_a_file_of_one_line_an_event(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on" / "the way" / "events.jsonl"
    log = AgentLogger("planner", sink=path)

    with log.run(session_id="s-1"):
        log.user_message("two\nlines")
    log.close()

    lines = path.read_text().splitlines()
    records = records_of(path)
    assert [json.loads(line)["event_name"] for line in lines] == [r.event_name for r in records]
    assert [r.event_name for r in records] == [
        "wakelog.run_start",
        "wakelog.user_message",
        "wakelog.run_end",
    ]
    assert [r.seq for r in records] == [1, 2, 3]
    assert {r.attributes["gen_ai.conversation.id"] for r in records} == {"s-1"}
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger(sink=str(path))

    event = log.user_message("hi")

    [record] = records_of(path)
    assert record.id == event.event_id
    assert event.receipt is not None
    assert event.receipt.seq == record.seq == 1
    assert event.receipt.writer == record.writer


def test_a_single_event_may_ask_for_the_disk(tmp_path: Path) -> None:
    log = AgentLogger(sink=tmp_path / "events.jsonl")

    ordinary = log.tool_result("pay")
    careful = log.tool_call("pay", durability=Durability.FSYNC)
    less = AgentLogger(sink=JSONLSink(tmp_path / "other.jsonl", "fsync")).emit(
        "custom", durability=Durability.OS_BUFFERED
    )

    levels = [event.receipt and event.receipt.durability for event in (ordinary, careful, less)]
    assert levels == [Durability.OS_BUFFERED, Durability.FSYNC, Durability.FSYNC]


def test_a_tool_block_may_ask_for_the_disk(tmp_path: Path) -> None:
    sink = JSONLSink(tmp_path / "events.jsonl")
    seen: list[AgentEvent] = []

    class Both:
        def write(self, event: AgentEvent) -> None:
            sink.write(event)
            seen.append(event)

    with AgentLogger(sink=Both()).tool("pay", durability=Durability.FSYNC):
        pass

    assert [e.receipt and e.receipt.durability for e in seen] == [Durability.FSYNC] * 2


@pytest.mark.parametrize("kind", ["journal", "file", "async file"])
def test_fsync_is_kept_under_an_event_loop_other_than_asyncios(tmp_path: Path, kind: str) -> None:
    if kind == "journal":
        processor = DurableLogRecordProcessor(None, directory=tmp_path / "journal")
        provider = LoggerProvider()
        provider.add_log_record_processor(processor)
        sink: Any = OTelSink(provider)
    else:
        sink = (JSONLSink if kind == "file" else AsyncJSONLSink)(tmp_path / "events.jsonl")
    log = AsyncAgentLogger(sink=sink, on_error="raise")

    async def record() -> list[AgentEvent]:
        return [
            await log.tool_call("pay", durability=Durability.FSYNC),
            await log.tool_call("pay", durability=Durability.FSYNC, event_key="a", run_id="r"),
            await log.tool_result("pay", "x" * 1_000_000, durability=Durability.FSYNC),
        ]

    with pytest.raises(StopIteration) as ended:  # as trio runs it, without anything to wait for
        record().send(None)

    levels = [event.receipt and event.receipt.durability for event in ended.value.value]
    assert levels == [Durability.FSYNC] * 3


def test_a_torn_last_line_does_not_swallow_the_next_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    before = AgentLogger(sink=path)
    kept = before.user_message("before")
    before.user_message("torn")
    before.close()
    path.write_bytes(path.read_bytes()[:-20])

    after = AgentLogger(sink=path).user_message("after")

    assert [record.id for record in records_of(path)] == [kept.event_id, after.event_id]


def test_a_closed_sink_raises(tmp_path: Path) -> None:
    log = AgentLogger(sink=tmp_path / "events.jsonl")
    log.close()
    log.close()

    with pytest.raises(SinkError, match=r"events\.jsonl.*closed"):
        log.user_message("hi")


def test_a_path_that_cannot_be_a_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JournalError) as below:
        AgentLogger(sink=tmp_path / "file" / "events.jsonl")
    with pytest.raises(JournalError) as directory:
        AgentLogger(sink=tmp_path)

    for caught in (below, directory):
        assert str(tmp_path) in str(caught.value)
        assert caught.value.hint


def test_a_disk_that_is_full_refuses_the_event() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    log = AgentLogger(sink="/dev/full")

    with pytest.raises(SinkError, match="No space left"):
        log.user_message("hi")


def test_an_event_that_is_too_long_for_a_line_is_whole_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger(sink=path, redact_payloads=False)

    log.user_message("x" * 3_000_000)

    [record] = records_of(path)
    assert path.stat().st_size < 1024 * 1024
    assert record.attributes["gen_ai.input.messages"][0]["parts"][0]["content"] == "x" * 3_000_000
    [blob] = (tmp_path / "events.jsonl.blobs").iterdir()
    assert blob.stat().st_size > 3_000_000


EVENTS_EACH = 40
TEXT = "x" * 5000  # longer than a pipe's atomic write and than a page


def _append(path: str, name: str) -> None:
    log = AgentLogger(sink=path, redact_payloads=False)
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(log.user_message, f"{name}{TEXT}") for _ in range(EVENTS_EACH)]:
            future.result()


# Newer Pythons warn of any fork in a process that may have threads.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@FORKS
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_threads_share_a_file_and_lines_stay_whole(
    method: str, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    start: Any = multiprocessing.get_context(method)
    processes = [start.Process(target=_append, args=(str(path), name)) for name in "ab"]

    for process in processes:
        process.start()
    _append(str(path), "c")
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    _assert_whole(path, writers=3, each=EVENTS_EACH)


def _append_more(log: AgentLogger) -> None:
    for _ in range(EVENTS_EACH):
        log.user_message(TEXT)


@FORKS
def test_a_forked_child_goes_on_with_the_same_logger_as_a_writer_of_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger(sink=path, redact_payloads=False)
    start = multiprocessing.get_context("fork")
    log.user_message(TEXT)

    children = [start.Process(target=_append_more, args=(log,)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in range(EVENTS_EACH - 1):
        log.user_message(TEXT)
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0, 0]
    _assert_whole(path, writers=3, each=EVENTS_EACH)


def _assert_whole(path: Path, *, writers: int, each: int) -> None:
    records = records_of(path)
    numbers = defaultdict(list)
    for record in records:
        numbers[record.writer].append(record.seq)
        [message] = record.attributes["gen_ai.input.messages"]
        assert message["parts"][0]["content"].endswith(TEXT)
    assert len(path.read_bytes().splitlines()) == len(records) == writers * each
    assert len({record.id for record in records}) == len(records)
    assert list(numbers.values()) == [list(range(1, each + 1))] * writers


# --- durability as text -------------------------------------------------------------------------


@pytest.mark.parametrize("is_journal", [True, False])
def test_a_durability_given_as_text_is_waited_for(tmp_path: Path, *, is_journal: bool) -> None:
    syncs: list[int] = []

    def sync(fd: int) -> None:
        os.fdatasync(fd)
        syncs.append(fd)

    fs = FileSystem(fdatasync=sync)
    if is_journal:
        journal = Journal(tmp_path, fs=fs)
        receipt = journal.append(uuid7(), encode({"body": 1}, 4096), Resource({}), "fsync")  # type: ignore[arg-type] # as a program without types
        journal.close()
    else:
        file = SharedFile(tmp_path / "f.jsonl", fs=fs)
        level = Durability.OS_BUFFERED.at_least("fsync")  # type: ignore[arg-type] # likewise
        receipt = file.append(uuid7(), encode({"body": 1}, 4096), level)
        file.close()

    assert receipt.durability is Durability.FSYNC
    assert syncs


@pytest.mark.parametrize("wrong", ["FSYNC", "fsnyc", 1, True])
def test_a_call_with_an_unknown_durability_raises(wrong: Any) -> None:
    recorded = Recorded(on_error="log")

    with pytest.raises(ConfigurationError, match=r"durability=.* is not known"):
        recorded.log.user_message("hello", durability=wrong)
    with (
        pytest.raises(ConfigurationError, match=r"durability=.* is not known"),
        recorded.log.tool("pay", durability=wrong),
    ):
        raise AssertionError

    assert recorded.events == []


def test_an_event_with_a_durability_as_text_has_the_level() -> None:
    event = Recorded().log.user_message("hello", durability="fsync")
    assert event.durability is Durability.FSYNC


def test_a_failure_of_an_event_with_fsync_as_text_raises() -> None:
    log = Recorded(sink=FailingSink("user_message", error=SinkError("full")), on_error="log").log

    with pytest.raises(SinkError):
        log.user_message("hello", durability="fsync")


def test_a_subclass_with_a_put_of_its_own_gets_every_event() -> None:
    seen: list[str] = []

    class Noting(AgentLogger):
        def put(self, event: AgentEvent) -> None:
            seen.append(event.event_type)
            super().put(event)

    sink = MemorySink()
    log = Noting(sink=sink)
    log.user_message("hello")
    with log.run(), log.tool("search"), log.model("gpt-4o", "openai") as model:
        model.respond("hi")

    assert seen == [event.event_type for event in sink.events]
    assert len(seen) == 7
