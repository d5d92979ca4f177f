"""A program that ends without close(): what waits is forwarded where it can be, else it is said."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from wakelog.gateway import EventSessionLogger

SECONDS = 60

BEGINNING = """
import asyncio, os, sys, threading, time
from wakelog.gateway import *

base, out = sys.argv[1], sys.argv[2]
target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def plain(event):
    os.write(target, b"%d\\n" % event.n)

async def bound(event):
    plain(event)

class Own(TransportInterface):
    works_in_any_loop = True
    async def send(self, event, metadata=None):
        plain(event)
        return True

async def log(logger, count=20):
    for n in range(count):
        await logger({"session_id": f"s{n % 3}", "n": n})

async def main(logger, count=20):
    await log(logger, count)
"""


def run(tmp_path: Path, ending: str, *more: str) -> subprocess.CompletedProcess[str]:
    program = BEGINNING + ending
    return subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "base"), str(tmp_path / "out"), *more],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def arrived(tmp_path: Path) -> list[int]:
    """Return what arrived, each once: what was on its way when the loop ended comes again."""
    out = tmp_path / "out"
    return sorted(set(map(int, out.read_text().split()))) if out.exists() else []


@pytest.mark.parametrize(
    "made",
    [
        "EventSessionLogger(base, plain)",
        "EventSessionLogger(base, lambda event: plain(event))",
        "EventSessionLogger(base, downstream_transport=CallbackTransport(plain))",
        "EventSessionLogger(base, downstream_transport=Own())",
        "EventSessionLogger(base, plain, NullTransport())",
        "EventSessionLogger(base, plain, CallbackTransport(bound))",
        "EventSessionLogger(base, plain, enable_local_logging=False)",
        "EventSessionLogger(base, plain, log_format='custom', formatter=str)",
        "EventSessionLogger(base, plain, log_format='json', durability='fsync')",
    ],
)
@pytest.mark.parametrize(
    "ending",
    ["", "raise SystemExit(3)", "raise RuntimeError('the program fails')"],
    ids=["end", "exit", "error"],
)
def test_what_needs_no_loop_of_the_callers_gets_everything(
    tmp_path: Path, made: str, ending: str
) -> None:
    done = run(tmp_path, f"logger = {made}\nasyncio.run(main(logger))\n{ending}\n")

    assert arrived(tmp_path) == list(range(20)), done.stderr
    assert "not forwarded at exit" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert not list((tmp_path / "base").glob(".wakelog/*.lock")), "nothing is left for later"


def test_what_was_forwarded_before_the_end_is_not_looked_for_again(tmp_path: Path) -> None:
    ending = """
logger = EventSessionLogger(base, plain)

async def all_of_them():
    await log(logger)
    while logger.stats().pending:
        await asyncio.sleep(0.001)

asyncio.run(all_of_them())
"""
    done = run(tmp_path, ending)
    assert arrived(tmp_path) == list(range(20)), done.stderr

    assert not list((tmp_path / "base").glob(".wakelog/*.lock")), "nothing is left for later"
    assert len(list((tmp_path / "base").glob("*/.*.forwarded"))) == 3, "it is noted"


def test_a_logger_that_nobody_holds_any_more_is_not_forgotten(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "async def scoped():\n"
        "    await log(EventSessionLogger(base, plain))\n"
        "asyncio.run(scoped())\nimport gc; gc.collect()\n",
    )

    assert arrived(tmp_path) == list(range(20)), done.stderr


def test_a_loop_that_was_not_closed_does_not_hold_it_up(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(main(EventSessionLogger(base, plain)))\n",
    )

    assert arrived(tmp_path) == list(range(20)), done.stderr


def test_a_loop_that_runs_in_a_thread_goes_on_with_it(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "async def slow(event):\n"
        "    await asyncio.sleep(0.01)\n"
        "    plain(event)\n"
        "loop = asyncio.new_event_loop()\n"
        "threading.Thread(target=loop.run_forever, daemon=True).start()\n"
        "logger = EventSessionLogger(base, slow)\n"
        "asyncio.run_coroutine_threadsafe(main(logger), loop).result()\n",
    )

    assert arrived(tmp_path) == list(range(20)), done.stderr


class Webhook(BaseHTTPRequestHandler):
    bodies: list[bytes] = []  # noqa: RUF012 - one server in this module

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


def test_a_transport_that_connects_by_itself_gets_everything_by_name_too(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = run(
            tmp_path,
            # A host's name is resolved in a thread, which the standard library refuses at exit.
            "transport = HTTPTransport(sys.argv[3])\n"
            "asyncio.run(main(EventSessionLogger(base, downstream_transport=transport)))\n",
            f"http://localhost:{server.server_port}/events",
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    numbers = {json.loads(body)["event"]["n"] for body in Webhook.bodies}
    assert numbers == set(range(20)), done.stderr
    assert "not forwarded at exit" not in done.stderr


@pytest.mark.parametrize("memory", [False, True], ids=["files", "memory"])
def test_a_coroutine_of_the_callers_loop_is_not_called_in_another_and_it_is_said(
    tmp_path: Path, memory: bool
) -> None:
    more = ", enable_local_logging=False" if memory else ""
    done = run(tmp_path, f"asyncio.run(main(EventSessionLogger(base, bound{more})))\n")

    before = arrived(tmp_path)
    left = 20 - len(before)
    assert left > 0
    assert f"{left} events were not forwarded at exit" in done.stderr
    assert "event loop that has ended" in done.stderr
    assert ("are lost" if memory else "next start") in done.stderr

    again = run(
        tmp_path,
        "async def again():\n"
        "    async with EventSessionLogger(base, bound) as logger:\n"
        "        print(await logger.flush(30))\n"
        "asyncio.run(again())\n",
    )
    assert again.stdout == "True\n", again.stderr
    assert arrived(tmp_path) == (before if memory else list(range(20)))


def test_the_exit_budget_holds_for_a_callback_that_hangs_and_the_rest_waits(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = run(
        tmp_path,
        "def hangs(event):\n"
        "    time.sleep(300)\n"
        "logger = EventSessionLogger(base, hangs, close_timeout_seconds=0.5)\n"
        "asyncio.run(main(logger))\n",
    )
    took = time.monotonic() - begun

    assert done.returncode == 0, done.stderr
    assert "20 events were not forwarded at exit" in done.stderr
    assert took < SECONDS / 2, "it waited for the callback"


def test_a_program_that_closes_has_nothing_to_do_at_the_end(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "async def closing():\n"
        "    async with EventSessionLogger(base, bound) as logger:\n"
        "        await log(logger)\n"
        "asyncio.run(closing())\n",
    )

    assert (done.stderr, arrived(tmp_path)) == ("", list(range(20)))


def test_a_forked_child_that_ends_does_not_send_what_its_parent_has_pending(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "logger = EventSessionLogger(base, plain)\n"
        "async def forking():\n"
        "    await log(logger)\n"
        "asyncio.run(forking())\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(0)\n"
        "os.waitpid(child, 0)\n",
    )

    assert arrived(tmp_path) == list(range(20)), done.stderr


def test_loggers_without_anything_pending_are_not_kept(tmp_path: Path) -> None:
    from wakelog.gateway import _exit

    async def one(n: int) -> None:
        logger = EventSessionLogger(tmp_path / str(n), lambda event: True)
        await logger({"session_id": "s"})
        assert await logger.flush(SECONDS)

    before = len(_exit._open)
    for n in range(10):
        asyncio.run(one(n))

    assert len(_exit._open) <= before + 1
