"""What the gateway costs an agent, with transports that work and with such that do not.

    python benchmarks/bench_gateway.py [--directory DIR] [--survive]

Each figure is over single awaits of ``logger(event)``, in microseconds. Agents log bursts, with a
pause after each in which forwarding goes on; the variants take turns burst by burst, so that they
meet the same machine. The ratio is that of the medians to the first row. Where it says "metrics", there is
a MeterProvider, which collects once a second.

With --survive, in place of that: 200 sessions with 500 events each, in a process that is killed and
started again until it is through, and an account of what arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from wakelog.gateway import EventSessionLogger, ForwardedEvent, NullTransport, TransportInterface
from wakelog.record import verify

BURST, BURSTS, SESSIONS = 200, 40, 20
EVENT: dict[str, Any] = {
    "event_type": "tool_result",
    "agent_name": "researcher",
    "tool_name": "search",
    "call_id": "call_1",
    "result": {"hits": 3, "titles": ["Lisbon in May", "Two seats left", "A morning flight"]},
}


class Nowhere(MetricExporter):
    """Takes metrics nowhere."""

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        """Do nothing."""
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Do nothing."""


class Raises(TransportInterface):
    """Raises."""

    async def send(self, event: ForwardedEvent) -> bool:
        """Raise."""
        raise ConnectionError("refused")


class SaysNo(TransportInterface):
    """Returns False."""

    async def send(self, event: ForwardedEvent) -> bool:
        """Return False."""
        return False


class Hangs(TransportInterface):
    """Never comes back."""

    async def send(self, event: ForwardedEvent) -> bool:
        """Wait for ever."""
        await asyncio.Event().wait()
        return True


class IsClosed(SaysNo):
    """Has been closed."""

    @property
    def is_connected(self) -> bool:
        """Say no."""
        return False


def blocks(event: object) -> None:
    """Block the thread."""
    time.sleep(3)
    raise ConnectionError("too slow")


async def compare(directory: Path) -> None:
    """Measure all variants and print."""
    reader = PeriodicExportingMetricReader(Nowhere(), export_interval_millis=1000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    arguments: dict[str, dict[str, Any]] = {
        "no transport": {},
        "no transport, metrics": {"meter_provider": meters},
        "transport works": {"downstream_transport": NullTransport()},
        "transport works, metrics": {
            "downstream_transport": NullTransport(),
            "meter_provider": meters,
        },
        "send raises": {"downstream_transport": Raises()},
        "send returns False": {"downstream_transport": SaysNo()},
        "send hangs": {"downstream_transport": Hangs()},
        "transport is closed": {"downstream_transport": IsClosed()},
        "callback blocks 3 s and raises": {"downstream_callback": blocks},
    }
    loggers = {
        name: EventSessionLogger(
            directory / name.replace(" ", "-"),
            send_timeout_seconds=1,
            close_timeout_seconds=0,
            **given,
        )
        for name, given in arguments.items()
    }
    times: dict[str, list[int]] = {name: [] for name in loggers}
    turns = list(loggers.items())
    accepted = dict.fromkeys(loggers, 0)
    for burst in range(BURSTS):
        random.Random(burst).shuffle(turns)
        for name, logger in turns:
            for n in range(BURST):
                event = {"session_id": f"s{n % SESSIONS}", **EVENT}
                begin = time.perf_counter_ns()
                accepted[name] += await logger(event)
                if burst:  # the first one makes the files
                    times[name].append(time.perf_counter_ns() - begin)
            await asyncio.sleep(0.02)
    first = statistics.median(times["no transport"])
    print(f"{'':32} {'median µs':>10} {'p99 µs':>8} {'ratio':>6} {'logged':>8} {'forwarded':>10}")
    for name, logger in loggers.items():
        median = statistics.median(times[name])
        p99 = statistics.quantiles(times[name], n=100)[98]
        logged = accepted[name] / (BURST * BURSTS)
        print(
            f"{name:32} {median / 1e3:10.1f} {p99 / 1e3:8.1f} {median / first:6.2f} "
            f"{logged:8.1%} {logger.stats().forwarded:10,}"
        )
        await logger.close()
    meters.shutdown()


PROGRAM = """
import asyncio, os, random, sys
from wakelog.gateway import EventSessionLogger

base, out, sessions, events = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5])
target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
luck = random.Random(os.getpid())

async def callback(event):
    if luck.random() < 0.02:
        raise ConnectionError("refused")
    os.write(target, b"%s %d\\n" % (event.session_id.encode(), event["n"]))

async def agent(logger, session, begin):
    for n in range(begin, events):
        assert await logger({"session_id": session, "n": n})
        os.write(1, b"%s %d\\n" % (session.encode(), n))
        await asyncio.sleep(0)

async def run():
    begin = dict(line.split("=") for line in sys.stdin.read().split())
    async with EventSessionLogger(base, callback, retry_delay_seconds=0.01) as logger:
        await asyncio.gather(*(
            agent(logger, f"s{k}", int(begin.get(f"s{k}", 0))) for k in range(sessions)))
        assert await logger.flush(300)

asyncio.run(run())
"""


def survive(directory: Path, sessions: int = 200, events: int = 500, kills: int = 6) -> None:
    """Kill a process that logs again and again, and account for every event."""
    base, out = directory / "base", directory / "out"
    accepted: defaultdict[str, int] = defaultdict(int)
    begun = time.monotonic()
    for life in range(kills + 1):
        command = [sys.executable, "-c", PROGRAM, str(base), str(out), str(sessions), str(events)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(" ".join(f"{k}={v}" for k, v in accepted.items()).encode())
            process.stdin.close()
            count = 0
            for count, line in enumerate(process.stdout, 1):
                session, number = line.decode().split()
                accepted[session] = int(number) + 1
                if life < kills and count == sessions * events // (kills + 2):
                    process.kill()
            code = process.wait()
        print(f"life {life + 1}: {count:,} events accepted, ended with {code}")
    arrived = out.read_text().splitlines()
    firsts = list(dict.fromkeys(arrived))
    by_session: defaultdict[str, list[int]] = defaultdict(list)
    for line in firsts:
        session, _, number = line.partition(" ")
        by_session[session].append(int(number))
    files = list(base.rglob("*.jsonl"))
    lines = damaged = 0
    logged: set[str] = set()
    for file in files:
        crc = 0
        for raw in file.read_bytes().splitlines(keepends=True):
            checked = verify(raw[:-1], crc) if raw.endswith(b"\n") else None
            damaged += checked is None
            crc = checked or 0
            lines += 1
            event = json.loads(raw)["event"]
            logged.add(f"{event['session_id']} {event['n']}")
    expected = {f"s{k} {n}" for k in range(sessions) for n in range(events)}
    ordered = sum(numbers == sorted(numbers) for numbers in by_session.values())
    print(f"{len(files):,} files, {lines:,} lines, {damaged} damaged")
    print(f"{len(expected & logged):,} of {len(expected):,} events in the files")
    print(
        f"{len(expected & set(firsts)):,} of {len(expected):,} events forwarded, "
        f"{len(arrived) - len(firsts):,} of them more than once"
    )
    print(f"{ordered} of {sessions} sessions in order; {time.monotonic() - begun:.1f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=None, help="where to put the files")
    parser.add_argument("--survive", action="store_true", help="kill and restart, and account")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        if options.survive:
            survive(Path(directory))
        else:
            asyncio.run(compare(Path(directory)))


if __name__ == "__main__":
    main()
