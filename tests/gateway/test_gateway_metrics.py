"""The gateway's metrics: the books balance in every collection, and each figure says what its description says."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.conftest import ROOT
from tests.support.figures import Meter, Scrape
from tests.support.waiting import until_in_loop as until
from wakelog.errors import BufferFullError, ConfigurationError
from wakelog.gateway import (
    EventSessionLogger,
    LocalLoggingError,
    SerializationError,
    TransportConnectionError,
    TransportInterface,
)
from wakelog.gateway import _metric_table as t
from wakelog.gateway._metrics import metrics_on
from wakelog.otel import DurableLogRecordProcessor

SECONDS = 60
FATES = ("forwarded", "pending", "rejected", "dead_lettered", "corrupt", "dropped")
QUICK: dict[str, Any] = {"retry_delay_seconds": 0.01, "send_timeout_seconds": 0.1}


class Hop(TransportInterface):
    """A transport that can be down, and that never takes an event that is `bad`."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.raises: Exception | None = None
        self.taken = 0

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        if self.raises is not None:
            raise self.raises
        if not self.down and event.get("bad"):
            raise SerializationError("never")
        self.taken += not self.down
        return not self.down

    async def health_check(self) -> bool:
        return not self.down


@pytest.fixture
def meter() -> Meter:
    return Meter()


def balanced(scrape: Scrape) -> dict[str, float]:
    """Return the figures of the books, after holding them against each other."""
    books = {name: scrape(f"wakelog.gateway.events.{name}") for name in ("accepted", *FATES)}
    assert books["accepted"] == sum(books[name] for name in FATES), books
    assert all(value >= 0 for value in books.values()), books
    return books


def adopted(scrape: Scrape) -> float:
    return scrape("wakelog.gateway.events.accepted", wakelog__origin="adopted")


async def log(logger: EventSessionLogger, count: int, **fields: object) -> None:
    for n in range(count):
        assert await logger({"session_id": f"s{n % 5}", "n": n, **fields})


def gateway(base: Path, hop: TransportInterface | None, meter: Meter, **more: Any) -> Any:
    settings = {"pipeline": "one", "meter_provider": meter.provider, **QUICK, **more}
    return EventSessionLogger(base, None, hop, **settings)


def test_the_books_say_what_became_of_each_event(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        hop = Hop()
        async with gateway(tmp_path, hop, meter) as logger:
            await log(logger, 7)
            await log(logger, 1, bad=True)
            assert await logger.flush(SECONDS)
            scrape = meter.read()
            expected = {"accepted": 8, "forwarded": 7, "rejected": 1}
            assert balanced(scrape) == dict.fromkeys(FATES, 0) | expected
            assert scrape("wakelog.gateway.events.logged") == 8
            assert scrape("wakelog.gateway.pending.age") == 0
            assert scrape("wakelog.gateway.files.open") == 5
            assert scrape("wakelog.gateway.send.duration", error__type="rejected") == 1
            assert scrape("wakelog.gateway.send.duration") == 8

            logger.update_downstream_transport(None)
            await log(logger, 3)
            scrape = meter.read()
            assert scrape("wakelog.gateway.events.logged") == 11
            assert balanced(scrape)["accepted"] == 8, "what goes nowhere is not pending"

        scrape = meter.read()
        assert balanced(scrape)["forwarded"] == 7, "figures stay for the last collection"
        assert scrape("wakelog.gateway.files.open") == 0

    asyncio.run(run())


def test_an_outage_is_seen_and_its_end(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        hop = Hop(down=True)
        async with gateway(tmp_path, hop, meter) as logger:
            await log(logger, 20)
            await until(lambda: meter.read()("wakelog.gateway.circuit.state") == 2)
            await until(lambda: meter.read()("wakelog.gateway.transport.healthy") == 0)
            begun = time.time()
            await until(lambda: meter.read()("wakelog.gateway.pending.age") > 0.05)
            scrape = meter.read()
            assert balanced(scrape)["pending"] == 20
            assert scrape("wakelog.gateway.pending.age") < time.time() - begun + SECONDS
            assert scrape("wakelog.gateway.errors", kind="transport", error__type="other") > 0
            assert scrape("wakelog.gateway.errors", kind="local") == 0

            hop.down = False
            assert await logger.flush(SECONDS)
            scrape = meter.read()
            assert balanced(scrape)["forwarded"] == 20
            assert scrape("wakelog.gateway.circuit.state") == 0
            assert scrape("wakelog.gateway.transport.healthy") == 1
            assert scrape("wakelog.gateway.pending.age") == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"log_format": "json"},
        {"enable_local_logging": False, "queue_size": 20},
        {"log_format": "custom", "formatter": str, "queue_size": 20, "overflow": "drop_newest"},
    ],
    ids=["files", "documents", "memory", "custom"],
)
def test_the_books_balance_in_every_collection_while_everything_happens(
    tmp_path: Path, meter: Meter, kind: dict[str, Any]
) -> None:
    seen: list[dict[str, float]] = []
    over = threading.Event()

    def collect() -> None:
        while not over.is_set():
            seen.append(balanced(meter.read()))

    async def run() -> int:
        hop = Hop()
        logged = 0
        async with gateway(tmp_path, hop, meter, **kind) as logger:
            for round_ in range(8):
                hop.down = round_ % 2 == 1
                for n in range(60):
                    await logger({"session_id": f"s{n % 7}", "n": n, "bad": n % 10 == 0})
                    if n % 10 == 0:
                        await asyncio.sleep(0)
                    logged += 1
                if hop.down:
                    await until(lambda: logger.stats().circuit_state == "open")
            hop.down = False
            assert await logger.flush(SECONDS)
            state = logger.stats()
            now = balanced(meter.read())
            assert now["accepted"] == logged
            assert now["pending"] == state.pending == 0
            assert (now["forwarded"], now["dropped"]) == (hop.taken, state.dropped)
            assert (now["dropped"] > 0) is ("queue_size" in kind)
            assert now["rejected"] == state.rejected > 0
        return logged

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        asyncio.run(run())
    finally:
        over.set()
        thread.join()

    for before, now in pairwise(seen):
        back = {name for name in now if name != "pending" and now[name] < before[name]}
        assert not back, (before, now)
    assert max(books["pending"] for books in seen) > 0


def test_a_collection_while_a_gateway_is_made_takes_it_for_one_that_has_done_nothing(
    tmp_path: Path, meter: Meter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_up = EventSessionLogger._set_up

    def collecting(self: EventSessionLogger, *args: Any) -> None:
        meter.read()
        set_up(self, *args)

    async def run() -> None:
        monkeypatch.setattr(EventSessionLogger, "_set_up", collecting)
        async with gateway(tmp_path, Hop(), meter) as logger:
            await log(logger, 3)
            assert meter.read()("wakelog.gateway.files.open") == 3
            assert await logger.flush(SECONDS)

    asyncio.run(run())
    assert balanced(meter.read())["forwarded"] == 3
    assert caplog.messages == []


def test_what_tasks_in_several_threads_log_is_counted_once(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        async with gateway(tmp_path, Hop(), meter) as logger:
            threads = (asyncio.to_thread(asyncio.run, log(logger, 100)) for _ in range(4))
            working = asyncio.gather(*threads)
            while not working.done():
                balanced(meter.read())
                await asyncio.sleep(0.01)
            await working
            assert await logger.flush(SECONDS)
            scrape = meter.read()
            assert balanced(scrape)["forwarded"] == balanced(scrape)["accepted"] == 400
            assert scrape("wakelog.gateway.events.logged") == 400

    asyncio.run(run())


PROGRAM = """
import asyncio, json, os, sys
sys.path.insert(0, sys.argv[4])
from tests.support.figures import Meter
from wakelog.gateway import EventSessionLogger

base, hold, forever = sys.argv[1], sys.argv[2], sys.argv[3] == "forever"
names = ("accepted", "forwarded", "pending", "rejected", "dead_lettered", "corrupt", "dropped")
meter = Meter()

async def callback(event):
    return not os.path.exists(hold)

def say():
    scrape = meter.read()
    books = {name: scrape("wakelog.gateway.events." + name) for name in names}
    books["adopted"] = scrape("wakelog.gateway.events.accepted", wakelog__origin="adopted")
    books["open"] = scrape("wakelog.gateway.circuit.state")
    print(json.dumps(books), flush=True)

async def run():
    say()
    async with EventSessionLogger(
        base, callback, meter_provider=meter.provider, retry_delay_seconds=0.01
    ) as logger:
        n = 0
        while forever or n < 20:
            for k in range(10):
                assert await logger({"session_id": f"s{k}", "n": n})
            n += 1
            say()
            await asyncio.sleep(0.001)
        assert await logger.flush(60)
        say()

asyncio.run(run())
"""


def left(base: Path) -> int:
    """Return how many lines no ledger has come to yet."""
    count = 0
    for path in base.glob("*/*.jsonl"):
        ledger = path.with_name(f".{path.name}.forwarded")
        offset = json.loads(ledger.read_bytes())["offset"] if ledger.exists() else 0
        count += path.read_bytes()[offset:].count(b"\n")
    return count


def test_the_books_hold_at_every_collection_through_outages_and_two_kills(tmp_path: Path) -> None:
    base, hold = tmp_path / "base", tmp_path / "hold"
    runs: list[list[dict[str, float]]] = []
    adoptable: list[int] = []
    for how in ("forever", "forever", "end"):
        hold.unlink(missing_ok=True)
        adoptable.append(left(base) if base.exists() else 0)
        seen: list[dict[str, float]] = []
        runs.append(seen)
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, base, hold, how, ROOT],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    seen.append(json.loads(line))
                    found = seen[-1]["adopted"] == adoptable[-1]
                    if how == "forever" and len(seen) > 30 and found and seen[-1]["forwarded"]:
                        hold.touch()
                        if seen[-1]["open"] and seen[-1]["pending"] > 50:
                            process.kill()
            finally:
                process.kill()

    for books_of_a_process in runs:
        zero = dict.fromkeys(FATES, 0.0)
        for before, now in pairwise([zero, *books_of_a_process]):
            assert now["accepted"] == sum(now[name] for name in FATES), now
            assert all(now[name] >= before[name] for name in FATES if name != "pending"), now
    assert [run[-1]["adopted"] for run in runs[1:]] == adoptable[1:]
    assert all(adoptable[1:])
    assert runs[-1][-1]["pending"] == 0
    assert runs[-1][-1]["forwarded"] == runs[-1][-1]["accepted"] == 200 + adoptable[-1]
    assert left(base) == 0


def leave(base: Path, count: int) -> None:
    """Have a process log events, of which nothing is forwarded, and more that go nowhere; kill it."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from wakelog.gateway import EventSessionLogger\n"
        "async def run():\n"
        "    logger = EventSessionLogger(sys.argv[1], lambda event: False, pipeline='one')\n"
        "    for n in range(int(sys.argv[2])):\n"
        "        await logger({'session_id': f's{n % 5}', 'n': n})\n"
        "    logger.update_downstream_callback(None)\n"
        "    for n in range(10):\n"
        "        await logger({'session_id': f's{n % 5}', 'n': n,\n"
        "            'attributes': {'wakelog.gateway.forward': True}})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(base), str(count)], check=False, timeout=SECONDS
    )
    assert done.returncode == -signal.SIGKILL


def test_what_killed_processes_have_left_is_pending_before_anything_gets_through(
    tmp_path: Path, meter: Meter
) -> None:
    leave(tmp_path, 20)
    leave(tmp_path, 13)

    async def run() -> None:
        hop = Hop(down=True)
        async with gateway(tmp_path, hop, meter) as logger:
            await log(logger, 4)
            await until(lambda: balanced(meter.read())["pending"] == 37)
            assert adopted(meter.read()) == 33
            assert meter.read()("wakelog.gateway.pending.age") > 0
            assert logger.stats().pending == 4
            hop.down = False
            assert await logger.flush(SECONDS)
            assert balanced(meter.read())["forwarded"] == 37
            assert adopted(meter.read()) == 33

    asyncio.run(run())


@pytest.mark.parametrize("harm", ["damage", "delete"])
def test_what_cannot_be_read_back_is_corrupt_and_not_pending_for_ever(
    tmp_path: Path, meter: Meter, harm: str
) -> None:
    leave(tmp_path, 20)

    async def run() -> None:
        hop = Hop(down=True)
        if harm == "damage":
            for file in tmp_path.glob("s1/*.jsonl"):
                file.write_bytes(file.read_bytes().replace(b'"n":6', b'"n":7', 1))
        async with gateway(tmp_path, hop, meter) as logger:
            await log(logger, 10)
            await until(lambda: balanced(meter.read())["pending"] == 30)
            if harm == "delete":
                shutil.rmtree(tmp_path / "s1")
            hop.down = False
            assert await logger.flush(SECONDS)
            await until(lambda: balanced(meter.read())["pending"] == 0)
            lost = 1 if harm == "damage" else 6
            # A worker may have read the events of the session before it was deleted.
            corrupt = balanced(meter.read())["corrupt"]
            assert corrupt == lost if harm == "damage" else corrupt <= lost
            assert balanced(meter.read())["accepted"] == 30

    asyncio.run(run())


def test_damage_to_a_file_that_is_being_written_is_counted(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        hop = Hop(down=True)
        async with gateway(tmp_path, hop, meter, concurrency=1) as logger:
            await log(logger, 10)
            await until(lambda: logger.stats().circuit_state == "open")
            await log(logger, 10)
            # The one worker is at the first session, so none of the others has been read.
            (file,) = tmp_path.glob("s3/*.jsonl")
            file.write_bytes(file.read_bytes().replace(b'"n":8', b'"n":9'))
            hop.down = False
            assert await logger.flush(SECONDS)
            books = balanced(meter.read())
            assert (books["accepted"], books["corrupt"], books["pending"]) == (20, 2, 0)
            assert logger.stats().corrupt == 2

    asyncio.run(run())


def test_a_second_gateway_in_the_process_goes_on_with_the_books_of_the_first(
    tmp_path: Path, meter: Meter
) -> None:
    async def run() -> None:
        hop = Hop(down=True)
        first = gateway(tmp_path, hop, meter, close_timeout_seconds=0)
        await log(first, 10)
        await first.close()
        assert balanced(meter.read())["pending"] == 10
        hop.down = False
        async with gateway(tmp_path, hop, meter) as second:
            await log(second, 5)
            assert await second.flush(SECONDS)
            scrape = meter.read()
            assert balanced(scrape)["forwarded"] == balanced(scrape)["accepted"] == 15
            assert adopted(scrape) == 0

    asyncio.run(run())


def test_what_another_process_forwards_is_not_pending(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        first = gateway(tmp_path, Hop(down=True), meter, close_timeout_seconds=0)
        await log(first, 10)
        await first.close()
        other = Meter()
        async with gateway(tmp_path, Hop(), other) as second:
            assert await second.flush(SECONDS)
            assert adopted(other.read()) == balanced(other.read())["forwarded"] == 10
        assert balanced(meter.read())["forwarded"] == 10

    asyncio.run(run())


def test_the_queue_in_memory_is_seen_and_what_it_drops(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        hop = Hop(down=True)
        memory = {"enable_local_logging": False, "queue_size": 8, "close_timeout_seconds": 0}
        first = gateway(tmp_path, hop, meter, **memory)
        await log(first, 10)
        second = gateway(tmp_path, hop, meter, overflow="drop_newest", **memory)
        await asyncio.gather(*(second({"n": n}) for n in range(11)))
        third = gateway(tmp_path, hop, meter, overflow="raise", **memory)
        await log(third, 8)
        with pytest.raises(BufferFullError):
            await third({"n": 8})

        scrape = meter.read()
        assert scrape("wakelog.gateway.queue.size") == 24
        assert scrape("wakelog.gateway.queue.capacity") == 24
        assert scrape("wakelog.gateway.events.logged") == 0
        assert scrape("wakelog.gateway.events.dropped", reason="drop_oldest") == 2
        assert scrape("wakelog.gateway.events.dropped", reason="drop_newest") == 3
        assert scrape("wakelog.gateway.errors", kind="local", error__type="buffer_full") == 1
        assert balanced(scrape)["pending"] == 24
        await first.close()
        await second.close()
        scrape = meter.read()
        assert scrape("wakelog.gateway.events.dropped", reason="closed") == 16
        assert balanced(scrape)["pending"] == 8
        assert scrape("wakelog.gateway.queue.size") == 8
        hop.down = False
        assert await third.flush(SECONDS)
        assert balanced(meter.read())["pending"] == 0
        await third.close()

    asyncio.run(run())


def test_an_event_that_waits_for_room_when_the_gateway_is_closed_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        logger = EventSessionLogger(
            tmp_path, lambda event: False, enable_local_logging=False, queue_size=1,
            overflow="block", close_timeout_seconds=0, **QUICK,
        )  # fmt: skip
        assert await logger({"n": 0})
        waiting = asyncio.ensure_future(logger({"n": 1}))
        await asyncio.sleep(0)
        await logger.close()
        with pytest.raises(BufferFullError, match="closed"):
            await asyncio.wait_for(waiting, SECONDS)

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(12))
def test_a_cancelled_wait_for_room_passes_the_room_on(tmp_path: Path, turns: int) -> None:
    async def run() -> list[int]:
        held, taken = asyncio.Event(), []

        async def hold(event: dict[str, Any]) -> bool:
            await held.wait()
            taken.append(event["n"])
            return True

        logger = EventSessionLogger(
            tmp_path, hold, enable_local_logging=False, queue_size=1, overflow="block"
        )
        assert await logger({"n": 0})
        first, second = (asyncio.ensure_future(logger({"n": n})) for n in (1, 2))
        await asyncio.sleep(0)
        held.set()
        # In one of these turns of the loop, the room has come to the first, which does not know yet.
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first], timeout=SECONDS)
        assert await asyncio.wait_for(second, 5)
        assert await logger.flush(SECONDS)
        await logger.close()
        return taken if first.cancelled() else [n for n in taken if n != 1]

    assert asyncio.run(run()) == [0, 2]


def test_errors_are_counted_by_where_and_why(tmp_path: Path, meter: Meter) -> None:
    def count(kind: str, why: str) -> float:
        return meter.read()("wakelog.gateway.errors", kind=kind, error__type=why)

    async def run() -> None:
        (tmp_path / "file").touch()
        refused = gateway(tmp_path / "file", None, meter)
        with pytest.raises(LocalLoggingError):
            await refused({"n": 1})
        assert count("local", "journal") == 1
        hop = Hop()
        logger = gateway(tmp_path, hop, meter, max_event_bytes=1024)
        with pytest.raises(LocalLoggingError):
            await logger({"n": list(range(1000))})
        assert count("local", "too_large") == 1
        told = {"timeout": TimeoutError(), "connection": TransportConnectionError("gone"),
                "other": ValueError("no")}  # fmt: skip
        for why, hop.raises in told.items():
            await log(logger, 1)
            await until(partial(count, "transport", why))
        hop.raises = None
        assert await logger.flush(SECONDS)
        await logger.close()
        with pytest.raises(LocalLoggingError):
            await logger({"n": 1})
        assert count("local", "closed") == 1
        stats = logger.stats()
        assert stats.local_errors + refused.stats().local_errors == 3
        assert stats.transport_errors == meter.read()("wakelog.gateway.errors", kind="transport")

    asyncio.run(run())


def test_one_await_in_sixteen_is_measured(tmp_path: Path, meter: Meter) -> None:
    async def run() -> None:
        async with gateway(tmp_path, None, meter) as logger:
            await log(logger, 64)

    asyncio.run(run())

    scrape = meter.read()
    assert scrape("wakelog.gateway.overhead.duration") == 4
    assert "wakelog.gateway.transport.healthy" not in scrape.points, "there is no transport"


def test_every_metric_is_what_the_table_says(tmp_path: Path, meter: Meter) -> None:
    async def run() -> Scrape:
        async with gateway(tmp_path, Hop(), meter) as logger:
            await log(logger, 32)
            assert await logger.flush(SECONDS)
            return meter.read()

    scrape = asyncio.run(run())
    assert set(scrape.points) == {one.name for one in t.TABLE}
    for one in t.TABLE:
        for point in scrape.points[one.name]:
            if one.buckets:
                assert tuple(point.explicit_bounds) == one.buckets, one.name
            for name, value in point.attributes.items():
                assert value in one.attributes[name], (one.name, name, value)
        assert one.unit
        assert one.advice


def test_a_forked_child_counts_what_is_its_own_from_zero(tmp_path: Path, meter: Meter) -> None:
    async def parent(logger: EventSessionLogger) -> None:
        await log(logger, 20)
        assert await logger.flush(SECONDS)

    async def child(logger: EventSessionLogger) -> dict[str, float]:
        await log(logger, 3)
        assert await logger.flush(SECONDS)
        return {**balanced(meter.read()), "logged": meter.read()("wakelog.gateway.events.logged")}

    logger = gateway(tmp_path, Hop(), meter)
    asyncio.run(parent(logger))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(SECONDS)
            os.write(write, json.dumps(asyncio.run(child(logger))).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = json.loads(pipe.read())
    os.waitpid(pid, 0)

    assert (said["accepted"], said["forwarded"], said["logged"]) == (3, 3, 3)
    assert balanced(meter.read())["accepted"] == 20
    asyncio.run(logger.close())


def test_a_child_that_is_forked_during_a_collection_is_not_held_up(
    tmp_path: Path, meter: Meter
) -> None:
    async def some(logger: EventSessionLogger) -> None:
        await log(logger, 32)
        assert await logger.flush(SECONDS)

    logger = gateway(tmp_path, Hop(), meter)
    asyncio.run(some(logger))
    over = threading.Event()

    def collect() -> None:
        while not over.is_set():
            meter.read()

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                signal.alarm(SECONDS)
                asyncio.run(some(logger))
                asyncio.run(some(gateway(tmp_path / "another", Hop(), meter)))
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        over.set()
        thread.join()
    asyncio.run(logger.close())


def test_gateways_that_are_gone_leave_their_sums_and_nothing_else(
    tmp_path: Path, meter: Meter
) -> None:
    async def one() -> None:
        async with gateway(tmp_path, Hop(), meter) as logger:
            await log(logger, 5)
            await log(logger, 1, bad=True)
            assert await logger.flush(SECONDS)
        with pytest.raises(LocalLoggingError):
            await logger({})

    for done in range(1, 6):
        asyncio.run(one())
        gc.collect()
        for _ in range(2):
            scrape = meter.read()
            assert balanced(scrape)["accepted"] == 6 * done
            assert scrape("wakelog.gateway.events.logged") == 6 * done
            assert scrape("wakelog.gateway.errors", kind="local") == done
    metrics = metrics_on(meter.provider)
    assert metrics is not None
    assert metrics._all_counters == []
    assert metrics._books._by_run == {}


def test_two_readers_see_the_same(tmp_path: Path) -> None:
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    meters = MeterProvider(readers, shutdown_on_exit=False)

    async def run() -> None:
        async with EventSessionLogger(tmp_path, lambda _: True, meter_provider=meters) as logger:
            for round_ in range(1, 4):
                await log(logger, 16)
                assert await logger.flush(SECONDS)
                for reader in (*readers, readers[1]):
                    scrape = Meter.read_from(reader)
                    assert balanced(scrape)["forwarded"] == 16 * round_
                    assert scrape("wakelog.gateway.overhead.duration") == round_

    asyncio.run(run())


def test_without_a_meter_provider_nothing_is_loaded_and_nothing_kept(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from wakelog.gateway import EventSessionLogger\n"
        "async def run():\n"
        "    async with EventSessionLogger(sys.argv[1], lambda event: True) as logger:\n"
        "        for n in range(40):\n"
        "            await logger({'n': n})\n"
        "        assert await logger.flush(60)\n"
        "        assert not logger._counters.overheads and not logger._counters.sends\n"
        "        assert not logger._counters.books._by_run\n"
        "asyncio.run(run())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=SECONDS)


def test_the_global_meter_provider_is_used(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[2])\n"
        "from opentelemetry import metrics\n"
        "from tests.support.figures import Meter\n"
        "from wakelog.gateway import create_logging_only\n"
        "meter = Meter()\n"
        "metrics.set_meter_provider(meter.provider)\n"
        "asyncio.run(create_logging_only(sys.argv[1])({'n': 1}))\n"
        "assert meter.read()('wakelog.gateway.events.logged') == 1\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, ROOT], check=True, timeout=SECONDS)


@pytest.mark.parametrize("make", ["gateway", "processor"])
def test_a_collection_while_the_instruments_are_made_finds_nothing_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: str
) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    collections = 0

    class Eager(MeterProvider):
        """Collects before and after each instrument is made."""

        def get_meter(self, *arguments: Any, **named: Any) -> Any:
            meter: Any = meters.get_meter(*arguments, **named)
            for name in ("observable_counter", "observable_gauge", "histogram"):
                create = getattr(meter, f"create_{name}")
                setattr(meter, f"create_{name}", partial(self.creating, create))
            return meter

        def creating(self, create: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            nonlocal collections
            reader.get_metrics_data()
            made = create(*arguments, **named)
            reader.get_metrics_data()
            collections += 2
            return made

    eager = Eager(shutdown_on_exit=False)
    if make == "gateway":
        EventSessionLogger(tmp_path, meter_provider=eager)
    else:
        DurableLogRecordProcessor(None, directory=tmp_path, meter_provider=eager).shutdown()

    assert collections > 20
    assert "Callback failed" not in caplog.text
    assert len(Meter.read_from(reader).points) > 10


def test_a_provider_that_collects_nothing_does_no_harm(tmp_path: Path) -> None:
    async def run() -> None:
        async with EventSessionLogger(
            tmp_path, lambda _: True, meter_provider=NoOpMeterProvider()
        ) as logger:
            await log(logger, 20)
            assert await logger.flush(SECONDS)

    asyncio.run(run())


def test_what_is_no_meter_provider_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="meter_provider=7 has no get_meter"):
        EventSessionLogger(tmp_path, meter_provider=7)
