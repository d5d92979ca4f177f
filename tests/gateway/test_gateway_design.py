"""The gateway's older design: code that was written for it runs when its import is changed."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest

import wakelog.gateway
from tests.conftest import ROOT
from wakelog.errors import ConfigurationError
from wakelog.gateway import (
    CallbackTransport,
    EventSessionLogger,
    ForwardedEvent,
    LoggingTransport,
    NullTransport,
    OTelTransport,
    TransportInterface,
    create_backward_compatible,
    create_from_environment,
    create_logging_only,
    create_session_logger,
    create_with_callback,
    create_with_transport,
    migrate_from_session_logger,
)

DESIGN = ROOT.parent / "shared" / "designs" / "gateway.txt"
SECONDS = 60
QUICK: dict[str, Any] = {"retry_delay_seconds": 0.01}

needs_the_page = pytest.mark.skipif(
    not DESIGN.exists(), reason="the design's page is not beside this checkout"
)


class Event(pydantic.BaseModel):
    type: str = "message"
    session_id: str = "s-1"
    content: str = "two seats"


async def one_and_all(logger: EventSessionLogger, *events: object) -> None:
    for event in events:
        assert await logger(event) is True
    assert await logger.flush(SECONDS)
    await logger.close()


# What the page shows, in words of our own.


def test_local_logging_alone(tmp_path: Path) -> None:
    asyncio.run(one_and_all(create_logging_only(log_base_dir=str(tmp_path)), Event()))
    assert len(list(tmp_path.rglob("s-1/*.jsonl"))) == 1


def test_an_empty_text_is_the_default_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_LOG_DIR", str(tmp_path / "logs"))
    assert create_logging_only(log_base_dir="").log_base_dir == tmp_path / "logs"


def test_a_callback_reads_the_events_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def my_callback(event: Any) -> None:
        print(f"Received event: {event.type}")

    logger = create_with_callback(my_callback, log_base_dir=str(tmp_path), **QUICK)
    asyncio.run(one_and_all(logger, Event(), {"type": "ping", "session_id": "s-1"}))
    assert capsys.readouterr().out == "Received event: message\nReceived event: ping\n"


def test_a_transport_of_ones_own_with_the_four_members(tmp_path: Path) -> None:
    class MyQueueTransport(TransportInterface):
        def __init__(self, connection_string: str) -> None:
            self.connection_string, self.queue, self.open = connection_string, list[Any](), True

        async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
            self.queue.append((event, metadata))
            return True

        async def close(self) -> None:
            self.open = False

        async def health_check(self) -> bool:
            return self.open

        @property
        def is_connected(self) -> bool:
            return self.open

    transport = MyQueueTransport(connection_string="...")
    asyncio.run(one_and_all(create_with_transport(transport, log_base_dir=tmp_path), Event()))
    ((event, metadata),) = transport.queue
    assert (event.content, metadata, transport.open) == ("two seats", None, False)


def test_the_environment_configures_a_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("AGENT_LOG_MAX_RETRIES", "5")
    logger = create_from_environment(retry_delay_seconds=0.5)
    asyncio.run(one_and_all(logger, Event()))
    assert (logger.log_base_dir, logger.max_retry_attempts) == (tmp_path, 5)
    assert logger.retry_delay_seconds == 0.5
    assert list(tmp_path.glob("s-1/*.jsonl"))


def test_an_older_logger_is_replaced_by_one_call(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def callback(event: Any) -> None:
        seen.append(event.type)

    class Old:
        log_file_path = tmp_path / "s-1" / "old.jsonl"
        include_system_prompt = False

    for logger in (
        create_backward_compatible(log_base_dir=tmp_path, downstream_callback=callback),
        migrate_from_session_logger(old_session_logger=Old(), downstream_callback=callback),
    ):
        asyncio.run(one_and_all(logger, Event()))
    assert len(list(tmp_path.glob("s-1/*.jsonl"))) == 2
    assert seen == ["message"] * 2


def test_a_context_manager_cleans_up(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def run() -> None:
        async with create_session_logger(tmp_path, downstream_callback=seen.append) as logger:
            await logger(Event())
            await logger(Event(type="other"))

    asyncio.run(run())
    assert [event.type for event in seen] == ["message", "other"]


# What the page says, one statement after the other.


def test_every_argument_is_an_attribute_that_changes_only_as_it_is_updated(
    tmp_path: Path,
) -> None:
    def callback(event: object) -> None: ...

    transport = NullTransport()
    logger = EventSessionLogger(tmp_path, callback, transport, max_retry_attempts=7, queue_size=5)
    parameters = inspect.signature(EventSessionLogger).parameters
    for name in (*parameters, *(one for one in logger.settings.__dataclass_fields__)):
        if name != "kwargs":
            getattr(logger, name)
    assert (logger.max_retry_attempts, logger.queue_size) == (7, 5)
    assert (logger.downstream_callback, logger.downstream_transport) == (callback, transport)

    logger.update_downstream_callback(print)
    logger.update_downstream_transport(None)
    assert (logger.downstream_callback, logger.downstream_transport) == (print, None)
    logger.update_downstream_callback(None)
    logger.update_downstream_transport(transport)
    assert (logger.downstream_callback, logger.downstream_transport) == (None, transport)
    with pytest.raises(AttributeError, match="log_format cannot be set"):
        logger.log_format = "json"


HARD_KEYS = [
    "id",
    "session_id",
    "timestamp",
    "event_name",
    "wakelog_",
    "origin",
    "class",
    "type",
    "größe",
]


@pytest.mark.parametrize("key", HARD_KEYS)
@pytest.mark.parametrize("restart", [False, True], ids=["at once", "after a restart"])
def test_every_key_is_an_attribute_and_an_item(tmp_path: Path, key: str, restart: bool) -> None:
    seen: list[ForwardedEvent] = []
    up = not restart

    def callback(event: ForwardedEvent) -> bool:
        if up:
            seen.append(event)
        return up

    async def run(*events: object) -> None:
        async with EventSessionLogger(tmp_path, callback, **QUICK) as logger:
            for event in events:
                await logger(event)
            await logger.flush(SECONDS if up else 0.05)

    asyncio.run(run({"session_id": "s", key: "mine"}))
    up = True
    asyncio.run(run())

    (event,) = seen
    assert getattr(event, key) == event[key] == "mine"
    assert len(event.wakelog.id) == 36
    assert not hasattr(event, "nothing_of_the_kind")
    assert json.loads(json.dumps(event))[key] == "mine"


@pytest.mark.parametrize(
    "event", [{"a": 1}, Event(), "text", 5], ids=["dict", "model", "text", "int"]
)
@pytest.mark.parametrize("more", [(), (None,), ({"route": "r"},)], ids=["none", "None", "metadata"])
def test_every_local_transport_takes_any_event_and_metadata(
    event: object, more: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    got: list[object] = []
    caplog.set_level(logging.INFO, "event_transport")

    async def run() -> None:
        transports: list[TransportInterface] = [
            CallbackTransport(got.append),
            LoggingTransport(logger_name="event_transport"),
            NullTransport(),
            OTelTransport(),
        ]
        for transport in transports:
            assert await transport.send(event, *more) is True
            assert transport.is_connected
            assert await transport.health_check()
            await transport.close()
            assert not transport.is_connected
            assert not await transport.health_check()

    asyncio.run(run())

    assert got == [event], "a callback gets the event as it is"
    (line,) = caplog.messages
    assert json.loads(line).get("metadata") == (more[0] if more else None)


def test_a_callback_transport_says_false_for_a_callback_that_fails_and_a_gateway_hears_why(
    tmp_path: Path,
) -> None:
    told: list[tuple[Exception, str]] = []

    async def broken(event: object) -> None:
        raise ValueError("the reason")

    transport = CallbackTransport(broken)

    async def run() -> None:
        assert await transport.send({}) is False
        logger = EventSessionLogger(
            tmp_path, None, transport, error_handler=lambda *one: told.append(one), **QUICK
        )
        await logger({"session_id": "s"})
        assert not await logger.flush(0.05)
        await logger.close()

    asyncio.run(run())

    error, text = told[0]
    assert isinstance(error.__cause__, ValueError)
    assert isinstance(text, str)
    assert text.startswith("downstream_transport: event ")


@pytest.mark.parametrize("pattern", ["%Y%m%d_%H%M%S", "%Y%m%d_%H%M%S_%f", "a.b"])
@pytest.mark.parametrize("log_format", ["jsonl", "json", "custom"])
def test_a_log_file_path_is_always_that_of_the_file(
    tmp_path: Path, pattern: str, log_format: str
) -> None:
    settings: dict[str, Any] = {
        "file_naming_pattern": pattern, "log_format": log_format, "formatter": str
    }  # fmt: skip

    async def run() -> None:
        logger = EventSessionLogger(tmp_path, **settings)
        before = logger.get_log_file_path("s")
        assert not before.exists()
        assert before == logger.get_log_file_path("s"), "it does not change with the clock"
        await logger({"session_id": "s"})
        assert before.exists(), "it is the file that was written"
        assert logger.get_log_file_path("s") == before
        await logger.close()
        assert logger.get_log_file_path("s") == before
        again = EventSessionLogger(tmp_path, **settings)
        assert again.get_log_file_path("s") == before, "after a restart too"
        await again({"session_id": "s"})
        assert again.get_log_file_path("s").exists()
        assert again.get_log_file_path("s") != before
        await again.close()

    asyncio.run(run())


def test_microseconds_are_in_a_files_name(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, file_naming_pattern="%Y%m%d_%H%M%S_%f")
    name = logger.get_log_file_path("s").stem
    assert re.fullmatch(r"\d{8}_\d{6}_\d{6}", name)
    named = datetime.strptime(name, "%Y%m%d_%H%M%S_%f").replace(tzinfo=UTC)
    assert abs((named - datetime.now(UTC)).total_seconds()) < SECONDS


def test_a_custom_format_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_formats.py").write_text(
        "class Formats:\n    @staticmethod\n    def short(event):\n        return f'* {event.type}'\n"
    )
    program = (
        "import asyncio\n"
        "from wakelog.gateway import create_from_environment\n"
        "async def main():\n"
        "    async with create_from_environment() as logger:\n"
        "        await logger({'session_id': 's', 'type': 'ping'})\n"
        "        print(logger.get_log_file_path('s').read_text(), end='')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "AGENT_LOG_FORMAT": "custom",
            "AGENT_LOG_FORMATTER": "shop_formats:Formats.short",
        },
    )
    assert done.stdout == "* ping\n"

    monkeypatch.setenv("AGENT_LOG_FORMAT", "custom")
    for value, said in (
        (None, "AGENT_LOG_FORMATTER=module:function"),
        ("json", "module:function"),
        ("no_such_module:dumps", "cannot be imported"),
        ("json:no_such_name", "cannot be imported"),
        ("json:__name__", "cannot be called"),
    ):
        if value is not None:
            monkeypatch.setenv("AGENT_LOG_FORMATTER", value)
        with pytest.raises(ConfigurationError, match=said):
            create_from_environment(log_base_dir=tmp_path)
    assert create_from_environment(log_base_dir=tmp_path, formatter=str).formatter is str


def test_a_file_that_is_deleted_while_it_is_written_costs_no_later_event(tmp_path: Path) -> None:
    async def run() -> list[int]:
        logger = EventSessionLogger(tmp_path)
        for n in range(10):
            if n % 3 == 1:
                for path in (tmp_path / "s").iterdir():
                    path.unlink()
                (tmp_path / "s").rmdir()
            assert await logger({"session_id": "s", "n": n})
        await logger.close()
        return [json.loads(line)["event"]["n"] for line in _lines(tmp_path)]

    assert asyncio.run(run()) == [7, 8, 9], "what came after the last deletion is there"


def _lines(base: Path) -> list[bytes]:
    return [line for path in base.rglob("*.jsonl") for line in path.read_bytes().splitlines()]


# What the page itself has, where it is at hand.


def blocks() -> list[str]:
    text = DESIGN.read_text(encoding="utf-8") if DESIGN.exists() else ""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def parsed(block: str) -> ast.Module:
    try:
        return ast.parse(block)
    except SyntaxError:  # a signature without a body
        return ast.parse(block.rstrip() + "\n        pass\n")


def stated() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return every function on the page, by its name here."""
    found = []
    for block in blocks():
        tree = parsed(block)
        for node in ast.walk(tree):
            owner = node.name if isinstance(node, ast.ClassDef) else ""
            body = getattr(node, "body", []) if owner or node is tree else []
            kinds = ast.FunctionDef | ast.AsyncFunctionDef
            found += [(owner, one) for one in body if isinstance(one, kinds)]
    return found


def ours(owner: str, name: str) -> Any:
    home = getattr(wakelog.gateway, owner, None) if owner else None
    if home is None and not owner and not hasattr(wakelog.gateway, name):
        home = EventSessionLogger  # a method that stands alone on the page
    return getattr(home if home is not None else wakelog.gateway, name, None)


@needs_the_page
def test_every_signature_of_the_page_is_ours_too() -> None:
    checked = 0
    for owner, function in stated():
        is_ours = not function.name.startswith("_") or function.name.startswith("__")
        if not is_ours or function.name == "my_callback":
            continue
        mine = ours(owner, function.name)
        assert mine is not None, (owner, function.name)
        if isinstance(mine, property):
            continue
        parameters = inspect.signature(mine).parameters
        names = [one.arg for one in function.args.args if one.arg != "self"]
        defaults = [ast.literal_eval(one) for one in function.args.defaults]
        given = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        accepts_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        assert accepts_any or function.args.kwarg is None, function.name
        if function.name == "__aexit__":
            continue
        has = [name for name in parameters if name != "self"]
        assert has[: len(names)] == names, (owner, function.name, has)
        for name, default in given.items():
            assert parameters[name].default == default, (owner, function.name, name)
        assert inspect.iscoroutinefunction(mine) is isinstance(function, ast.AsyncFunctionDef)
        checked += 1
    assert checked > 30


@needs_the_page
def test_every_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("AGENT_LOG_DIR", "AGENT_LOG_MAX_RETRIES"):
        monkeypatch.setenv(variable, "0")  # so that what the page sets is taken back
    examples = [
        block for block in blocks() if re.search(r"^(async with|await) ", block, re.MULTILINE)
    ]
    assert len(examples) == 4

    class MyQueueTransport(NullTransport):
        def __init__(self, connection_string: str) -> None:
            super().__init__()

    class SessionLogger:
        def __init__(self, path: str) -> None: ...
        def log_event(self, event: object) -> None: ...

    async def callback(event: object) -> None: ...

    made: list[EventSessionLogger] = []

    def noting(factory: Any) -> Any:
        def make(*arguments: Any, **named: Any) -> EventSessionLogger:
            made.append(factory(*arguments, **named))
            return made[-1]

        return make

    known: dict[str, Any] = {
        **{
            name: noting(getattr(wakelog.gateway, name))
            for name in wakelog.gateway.__all__
            if name.startswith("create_")
        },
        "os": os, "event": Event(), "event1": Event(), "event2": Event(), "callback": callback,
        "my_app_callback": callback, "SessionLogger": SessionLogger,
        "MyQueueTransport": MyQueueTransport,
    }  # fmt: skip

    async def run(block: str) -> None:
        namespace = dict(known)
        # A page's directories are not made on the machine that tests.
        text = re.sub(r"""(?<=['"])/(var|path)(?=/)""", f"{tmp_path}/\\1", block)
        code = compile(text, str(DESIGN), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
        for one in made:
            assert await one.flush(SECONDS)
            await one.close()

    for block in examples:
        asyncio.run(run(textwrap.dedent(block)))

    assert len(made) == 6
    assert all(one.stats().logged for one in made)
    assert all(one.stats().transport_errors == 0 for one in made)
    assert "Received event: message" in capsys.readouterr().out


@needs_the_page
def test_the_pages_own_transports_work_as_transports_of_a_user(tmp_path: Path) -> None:
    for block in blocks():
        match = re.search(r"^class (\w+)\(TransportInterface\)", block, re.MULTILINE)
        if match is None:
            continue
        namespace: dict[str, Any] = {"TransportInterface": TransportInterface, "logging": logging}
        exec("from typing import *\nfrom collections.abc import *\n" + block, namespace)

        async def run(make: Any = namespace[match[1]], name: str = match[1]) -> None:
            got: list[object] = []

            async def callback(event: object) -> None:
                got.append(event)

            transport = make(callback) if name == "CallbackTransport" else make()
            logger = create_with_transport(transport, log_base_dir=tmp_path / name)
            await one_and_all(logger, Event())
            assert logger.stats().forwarded == 1
            assert not transport.is_connected

        asyncio.run(run())


@needs_the_page
def test_the_pages_variables_and_errors_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    text = DESIGN.read_text(encoding="utf-8")
    for name, value in re.findall(r'^(AGENT_LOG_\w+) = "([^"]*)"', text, re.MULTILINE):
        monkeypatch.setenv(name, value)
    logger = create_from_environment()
    assert (str(logger.log_base_dir), logger.log_format) == ("logs/sessions", "jsonl")
    for child, parent in re.findall(r"^class (\w+Error)\((\w+)\)", text, re.MULTILINE):
        mine = getattr(wakelog.gateway, child)
        assert parent == "Exception" or issubclass(mine, getattr(wakelog.gateway, parent))
