"""Sessions on web pages: events with ids, an application to mount, and a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.conftest import ROOT
from tests.support.browser import Browser
from tests.support.collector import free_ports
from wakelog.errors import ConfigurationError, TooManyReadersError
from wakelog.streams import SessionStreams, StreamsApp, _logger, sse
from wakelog.streams._scans import Scans

SECONDS = 60


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[SessionStreams]:
    with SessionStreams(tmp_path / "streams") as made:
        yield made


def write(streams: SessionStreams, session_id: str, *texts: str) -> None:
    with streams.stream(session_id) as stream:
        for text in texts:
            stream.write(text)


def parse(frame: str) -> tuple[str, str, dict[str, str]]:
    fields = dict(line.split(": ", 1) for line in frame.strip().split("\n"))
    return fields["id"], fields.get("event", ""), json.loads(fields.get("data", "{}"))


def text_in(events: list[tuple[str, str, dict[str, str]]]) -> str:
    return "".join(data.get("text", "") for _, _, data in events)


# Frames


def test_events_carry_the_text_as_it_is_and_ids_that_go_on(streams: SessionStreams) -> None:
    texts = ["two\nlines", " leading", "\r", "data: x", "ü🌍", "", "end"]

    async def session() -> None:
        write(streams, "s", *texts)
        frames = [parse(f) async for f in sse("s", streams=streams, until_end=True)]
        assert [event for _, event, _ in frames] == ["", "start", *["chunk"] * 7, "end"]
        assert text_in(frames) == "".join(texts)
        assert frames[-1][2]["status"] == "success"
        for at, (position, _, _) in enumerate(frames):
            again = sse("s", streams=streams, last_event_id=position, until_end=True)
            rest = [parse(f) async for f in again] if at < len(frames) - 1 else []
            assert [f[1:] for f in rest[1:]] == [f[1:] for f in frames[at + 1 :]]

    asyncio.run(session())


def test_a_quiet_session_is_kept_alive(streams: SessionStreams) -> None:
    async def session() -> None:
        frames = sse("s", streams=streams, keep_alive=0.01)
        assert "retry: " in await anext(frames)
        assert (await anext(frames)).startswith(":")
        streams.write("s", "x")
        while (frame := await anext(frames)).startswith(":"):
            pass
        assert parse(frame)[2] == {"text": "x"}
        await frames.aclose()

    asyncio.run(session())


def test_without_streams_it_is_the_loggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOGS_PATH", str(tmp_path / "logs"))

    async def session() -> None:
        for message in ("<start>", "Lisbon", "</end>"):
            await _logger.log_chunk_to_queue(message, "s")
        assert text_in([parse(f) async for f in sse("s", until_end=True)]) == "Lisbon"

    try:
        asyncio.run(session())
    finally:
        _logger.close()
    assert capsys.readouterr().out == "Lisbon\n"


def test_a_foreign_id_is_refused(streams: SessionStreams) -> None:
    with pytest.raises(ConfigurationError):
        sse("s", streams=streams, last_event_id="7")


# The application


class Served:
    """An application on a port of its own."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(SECONDS)
        self._socket.close()

    @contextlib.contextmanager
    def get(self, path: str, method: str = "GET", **headers: str) -> Iterator[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request(method, path, headers=headers)
        try:
            yield connection.getresponse()
        finally:
            connection.close()


def frames_of(response: http.client.HTTPResponse) -> Iterator[tuple[str, str, dict[str, str]]]:
    lines: list[str] = []
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line:
            lines.append(line)
        else:
            if lines[0][0] != ":":
                yield parse("\n".join(lines))
            lines = []


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "none"])
def test_it_is_served_mounted_or_alone_and_goes_on_after_the_last_event(
    streams: SessionStreams, framework: str
) -> None:
    app: Any = StreamsApp(streams)
    prefix = "/live"
    if framework == "starlette":
        app = Starlette(routes=[Mount(prefix, app)])
    elif framework == "fastapi":
        outer = FastAPI()
        outer.mount(prefix, app)
        app = outer
    else:
        prefix = ""

    with Served(app) as served:
        with served.get(f"{prefix}/s%2F1%20%C3%BC") as response:
            assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
            frames = frames_of(response)
            assert next(frames)[1] == ""
            stream = streams.stream("s/1 ü")
            stream.write("one ")
            seen = [next(frames), next(frames)]
        stream.write("two ")
        stream.end()
        last = seen[-1][0]
        with served.get(
            f"{prefix}/s%2F1%20%C3%BC?until=end", **{"Last-Event-ID": last}
        ) as response:
            rest = list(frames_of(response))
        with served.get(f"{prefix}/s%2F1%20%C3%BC?until=end&after={last}") as response:
            assert [f[1:] for f in frames_of(response)] == [f[1:] for f in rest]

    assert [event for _, event, _ in seen] == ["start", "chunk"]
    assert text_in(seen) + text_in(rest) == "one two "


def test_a_reader_that_leaves_is_let_go(streams: SessionStreams) -> None:
    with Served(StreamsApp(streams)) as served:
        with served.get("/s") as response:
            next(frames_of(response))
            assert "s" in streams.lanes.watches
        until = time.monotonic() + SECONDS
        while "s" in streams.lanes.watches:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_what_it_cannot_serve_is_said(streams: SessionStreams) -> None:
    def only_mine(scope: Any, session_id: str) -> bool:
        return session_id == "mine"

    with Served(StreamsApp(streams, authorize=only_mine)) as served:
        for path, method, status in [
            ("/mine", "POST", 405),
            ("/", "GET", 404),
            ("/yours", "GET", 403),
            ("/mine?after=7", "GET", 400),
        ]:
            with served.get(path, method) as response:
                assert response.status == status
                assert len(response.read()) > 10


# Who is served, and how many


def status_of(served: Served, path: str = "/s?until=end", **headers: str) -> int:
    with served.get(path, **headers) as response:
        assert response.getheader("x-content-type-options") == "nosniff"
        return int(response.status)


def mounted(app: StreamsApp, framework: str) -> Any:
    if framework == "starlette":
        return Starlette(routes=[Mount("/live", app)])
    if framework == "fastapi":
        outer = FastAPI()
        outer.mount("/live", app)
        return outer
    return app


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "none"])
def test_without_authorize_nobody_beyond_the_loopback_is_served(
    streams: SessionStreams, framework: str
) -> None:
    write(streams, "s", "x")
    path = "/s?until=end" if framework == "none" else "/live/s?until=end"

    with Served(mounted(StreamsApp(streams), framework)) as served:
        assert status_of(served, path) == 200
        for header, value in [
            ("X-Forwarded-For", "203.0.113.7"),  # uvicorn takes it for the client
            ("X-Forwarded-For", "127.0.0.1"),
            ("Forwarded", "for=127.0.0.1"),
            ("X-Forwarded-Host", "localhost"),
            ("X-Real-IP", "127.0.0.1"),
            ("Via", "1.1 proxy"),
        ]:
            assert status_of(served, path, **{header: value}) == 403
    with Served(mounted(StreamsApp(streams, authorize=lambda *_: True), framework)) as served:
        assert status_of(served, path, **{"X-Forwarded-For": "203.0.113.7"}) == 200


@pytest.mark.parametrize(
    "client, server",
    [
        (("203.0.113.7", 1), ("127.0.0.1", 80)),
        (("127.0.0.1", 1), ("192.0.2.1", 80)),
        (("::ffff:203.0.113.7", 1), ("::1", 80)),
        (("testclient", 1), ("testserver", 80)),
        (None, ("/run/app.sock", None)),
        (None, None),
    ],
)
def test_an_address_that_is_not_surely_the_loopback_is_beyond_it(
    streams: SessionStreams, client: Any, server: Any
) -> None:
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/s",
        "headers": [(b"host", b"localhost")],
        "client": client,
        "server": server,
    }

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(StreamsApp(streams)(scope, receive, send))

    assert sent[0]["status"] == 403


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "none"])
def test_a_host_of_another_site_is_refused(streams: SessionStreams, framework: str) -> None:
    write(streams, "s", "x")
    path = "/s?until=end" if framework == "none" else "/live/s?until=end"
    asked: list[str] = []

    def authorize(scope: Any, session_id: str) -> bool:
        asked.append(session_id)
        return True

    app = StreamsApp(
        streams, authorize=authorize, allowed_hosts=["chat.example.com", "*.a.example"]
    )
    with Served(mounted(app, framework)) as served:
        for host in (
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a.example",
            "xa.example",
            "evil.example:80",
            "chat.example.com@evil.example",
            "",
        ):
            assert status_of(served, path, Host=host) == 421
        assert asked == []
        for host in (
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:80",
            "[::1]:80",
            "chat.example.com:443",
            "Chat.Example.com",
            "deep.b.a.example",
        ):
            assert status_of(served, path, Host=host) == 200
    with Served(StreamsApp(streams, allowed_hosts=["*"])) as served:
        assert status_of(served, Host="any.example") == 200


@pytest.mark.parametrize(
    "hosts", ["chat.example.com", ["https://chat.example.com"], ["chat.example.com:443"], [""], [7]]
)
def test_what_is_no_host_is_refused_at_once(streams: SessionStreams, hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_hosts"):
        StreamsApp(streams, allowed_hosts=hosts)


def test_further_connections_are_answered_and_not_served(streams: SessionStreams) -> None:
    write(streams, "s", "x")

    with Served(StreamsApp(streams, max_connections=2)) as served:
        with served.get("/s") as first, served.get("/other") as second:
            next(frames_of(first)), next(frames_of(second))
            with served.get("/s") as third:
                assert third.status == 503
                assert third.getheader("retry-after") == "5"
                assert b"max_connections" in third.read()
        until = time.monotonic() + SECONDS
        while (status := status_of(served)) == 503:  # the server has to see that they have left
            assert time.monotonic() < until
        assert status == 200


def test_further_readers_are_refused_until_one_has_ended(tmp_path: Path) -> None:
    with SessionStreams(tmp_path, max_readers=2) as streams:
        write(streams, "s", "x")
        first, second = streams.read("s"), streams.read("s")
        with pytest.raises(TooManyReadersError, match=r"2 readers already.*max_readers"):
            streams.read("s")
        with Served(StreamsApp(streams)) as served:
            assert status_of(served) == 503
            first.close()
            assert status_of(served) == 200
        del second
        gc.collect()
        assert streams.read("s") is not streams.read("t")


@pytest.mark.parametrize("name", ["max_readers", "max_scans"])
@pytest.mark.parametrize("limit", [0, -1, 1.5, None])
def test_a_limit_is_a_number_from_one_on(tmp_path: Path, name: str, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be at least 1"):
        SessionStreams(tmp_path, **{name: limit})


def test_a_connection_limit_is_a_number_from_one_on(streams: SessionStreams) -> None:
    with pytest.raises(ConfigurationError, match="max_connections must be at least 1"):
        StreamsApp(streams, max_connections=0)


# Sessions that are not there


def finished_writers(directory: Path, count: int, sessions: int) -> int:
    """Write as processes that are gone did; return how many bytes their segments have."""
    for writer in range(count):
        with SessionStreams(directory) as streams:
            for session in range(sessions):
                streams.write(f"s-{writer}-{session}", "x" * 500)
    return sum(path.stat().st_size for path in directory.rglob("*.jsonl"))


def test_requests_for_sessions_that_are_not_there_read_the_journal_once(tmp_path: Path) -> None:
    size = finished_writers(tmp_path, 3, 400)

    async def drain(streams: SessionStreams, session_id: str) -> list[str]:
        reader = streams.read(session_id, from_start=True, idle_timeout=0)
        return [chunk.text async for chunk in reader]

    with SessionStreams(tmp_path) as streams:
        scans = streams.lanes.scans
        assert asyncio.run(drain(streams, "nobody-0")) == []
        learned = scans.bytes_read
        for number in range(1, 200):
            assert asyncio.run(drain(streams, f"nobody-{number}")) == []
        again = scans.bytes_read
        assert asyncio.run(drain(streams, "s-1-7")) == ["x" * 500]

    assert size / 2 < learned <= size
    assert again == learned


def test_a_web_asks_for_sessions_that_are_not_there_and_the_journal_is_read_once(
    tmp_path: Path,
) -> None:
    size = finished_writers(tmp_path, 2, 400)

    with SessionStreams(tmp_path) as streams, Served(StreamsApp(streams)) as served:
        for number in range(50):
            with served.get(f"/nobody-{number}") as response:
                next(frames_of(response))
        with served.get("/s-1-399") as response:
            frames = frames_of(response)
            next(frames)
            assert next(frames)[2] == {"text": "x" * 500}
        assert streams.lanes.scans.bytes_read <= 2 * size


def test_what_another_process_adds_to_a_segment_is_found_all_the_same(tmp_path: Path) -> None:
    async def texts(streams: SessionStreams, session_id: str) -> list[str]:
        reader = streams.read(session_id, from_start=True, idle_timeout=0)
        return [chunk.text async for chunk in reader]

    with SessionStreams(tmp_path) as writing, SessionStreams(tmp_path) as reading:
        for turn in range(5):
            name = f"later-{turn}"
            assert asyncio.run(texts(reading, name)) == []
            writing.write(name, "here")
            assert asyncio.run(texts(reading, name)) == ["here"]
            assert asyncio.run(texts(reading, "later-0")) == ["here"]


@pytest.mark.parametrize("entries", [0, 1, 3, 1000])
def test_the_index_is_bounded_and_what_it_forgets_is_read_again(
    tmp_path: Path, entries: int
) -> None:
    finished_writers(tmp_path, 4, 3)

    async def texts(streams: SessionStreams, session_id: str) -> list[str]:
        reader = streams.read(session_id, from_start=True, idle_timeout=0)
        return [chunk.text async for chunk in reader]

    with SessionStreams(tmp_path) as streams:
        streams.lanes.scans = Scans(2, entries)
        for _ in range(2):
            for writer in range(4):
                for session in range(3):
                    name = f"s-{writer}-{session}"
                    assert asyncio.run(texts(streams, name)) == ["x" * 500]
                    assert streams.lanes.scans.entries <= entries
            assert asyncio.run(texts(streams, "nobody")) == []


def test_no_more_scans_run_at_once_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_writers(tmp_path, 2, 20)
    running, most = [0], [0]
    lock, real = threading.Lock(), Scans._find

    def counted(self: Scans, *arguments: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return real(self, *arguments)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(Scans, "_find", counted)

    async def everybody(streams: SessionStreams) -> list[int]:
        async def drain(session_id: str) -> int:
            reader = streams.read(session_id, from_start=True, idle_timeout=0)
            return len([chunk async for chunk in reader])

        return await asyncio.gather(*(drain(f"s-1-{number}") for number in range(20)))

    with SessionStreams(tmp_path, max_scans=2) as streams:
        assert asyncio.run(everybody(streams)) == [1] * 20
    assert 1 <= most[0] <= 2


# The example, in a browser


class Backend:
    """The example, running until it is killed at the end of the block."""

    def __init__(self, directory: Path, port: int, delay: float) -> None:
        self.port = port
        command = [sys.executable, str(ROOT / "examples" / "chat_backend.py"), "--directory"]
        self._log = (directory.parent / f"backend-{time.monotonic_ns()}.log").open("wb")
        self.process = subprocess.Popen(
            [*command, str(directory), "--port", str(port), "--delay", str(delay)],
            stdout=self._log,
            stderr=self._log,
        )
        until = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        self._log.close()


def test_the_example_streams_to_a_browser_that_loses_it_and_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "streams"
    (tmp_path / "profile").mkdir()
    [port] = free_ports(1)
    answers = "[...document.querySelectorAll('#answers p')]"
    ask = (
        "document.getElementById('question').value = 'hello';"
        "document.getElementById('ask').requestSubmit()"
    )

    with Browser(tmp_path / "profile") as browser:
        with Backend(directory, port, delay=0.0):
            browser.open(f"http://127.0.0.1:{port}/?session=s-1")
            browser.wait_for("window.connections === 1")
            browser.evaluate(ask)
            browser.wait_for(f"{answers}[0]?.className === 'success'")
        with Backend(directory, port, delay=0.5):  # half a minute for an answer
            browser.wait_for("window.connections === 2")
            browser.evaluate(ask)
            early = browser.wait_for(f"{answers}[1]?.textContent.length")
            browser.wait_for(f"{answers}[1].textContent.length > {early}")  # while it comes
            assert browser.evaluate(f"{answers}[1].className") == ""
        with Backend(directory, port, delay=0.0):
            browser.wait_for("window.connections === 3")
            browser.wait_for(f"{answers}[1].className === 'interrupted'")
            browser.evaluate(ask)
            browser.wait_for(f"{answers}[2]?.className === 'success'")
            shown = browser.evaluate(f"{answers}.map(p => p.textContent)")

    async def recorded() -> list[str]:
        texts: dict[str | None, str] = {}
        with SessionStreams(directory) as streams:
            async for chunk in streams.read("s-1", from_start=True, idle_timeout=0):
                texts[chunk.stream_id] = texts.get(chunk.stream_id, "") + chunk.text
        return list(texts.values())

    whole = f"You said: hello. {' '.join(f'word-{n}' for n in range(60))}. "
    assert shown == asyncio.run(recorded())
    assert shown[0] == shown[2] == whole
    assert whole.startswith(shown[1])
    assert len(shown[1]) < len(whole)
