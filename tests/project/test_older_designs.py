"""The pages of three older designs are held against Wakelog as they stand, where they are at hand."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import wakelog
from tests.conftest import ROOT
from wakelog import streams
from wakelog.audit import AuditSink, InMemorySessionLog, SessionAuditSink, ThreadKey
from wakelog.audit import UsageLimitBreach as Breach

PAGES = ROOT.parent / "shared" / "designs"
KEY = ThreadKey("acme", "t-1")


def page(name: str) -> str:
    path = PAGES / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"the page {name}.txt of the design is not beside this checkout")
    return path.read_text(encoding="utf-8")


def compiled(code: str) -> CodeType | None:
    with contextlib.suppress(SyntaxError):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        made: CodeType = compile(code, "the page", "exec", flags=flags)
        return made
    return None


def examples(text: str) -> Iterator[str]:
    """Find a page's programs, which it does not mark: what compiles and is more than a word."""
    block = ""
    for paragraph in [*re.split(r"\n\s*\n", text), "the end"]:
        longer = f"{block}\n\n{paragraph}" if block else paragraph
        if re.search(r"[=(]|import", paragraph) and compiled(longer) is not None:
            block = longer
            continue
        if block:
            yield block
        block = paragraph if "=" in paragraph and compiled(paragraph) else ""


async def run(code: str, namespace: dict[str, Any]) -> None:
    made = compiled(code)
    assert made is not None
    result = eval(made, namespace)
    if made.co_flags & inspect.CO_COROUTINE:
        await result


# Event sinks


@pytest.mark.parametrize("package", ["agentlogsafe", "wakelog"])
def test_every_example_of_the_event_sinks_runs_with_the_import_changed(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(examples(page("event-sinks")))
    # The page leaves out what comes before its last example.
    module = importlib.import_module(package)
    namespace = {"AsyncBufferedSink": module.AsyncBufferedSink}
    namespace["event"] = module.AgentEvent(event_type="user_message")

    async def run_all() -> None:
        for code in found:
            await run(code.replace("from agentlogsafe import", f"from {package} import"), namespace)

    asyncio.run(run_all())

    assert len(found) == 6
    assert (tmp_path / "var" / "audit" / "agent-events.jsonl").exists() == (package == "wakelog")
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2
    if package == "wakelog":
        event = wakelog.AgentEvent("user_message", payload={"message": "hello"})
        queue: list[Any] = []
        put = type("Queue", (), {"put": lambda _, one: queue.append(one)})
        wakelog.AgentLogger(sink=namespace["QueueSink"](put())).user_message("hello")
        assert queue[0]["payload"] == event.payload


# Session streams


def stated(text: str) -> dict[str, list[tuple[str, str | None]]]:
    """Return the calls that a page states, with their arguments and defaults."""
    calls: dict[str, list[tuple[str, str | None]]] = {}
    for name, arguments in re.findall(r"^(?:async )?def (\w+)\((.*?)\)", text, re.MULTILINE):
        tree = ast.parse(f"def f({arguments}): ...").body[0]
        assert isinstance(tree, ast.FunctionDef)
        names = [argument.arg for argument in tree.args.args]
        defaults: list[str | None] = [None] * (len(names) - len(tree.args.defaults))
        defaults += [ast.unparse(default) for default in tree.args.defaults]
        calls[name] = list(zip(names, defaults, strict=True))
    return calls


def test_every_call_of_the_session_streams_takes_what_the_page_states() -> None:
    calls = stated(page("session-streams"))

    assert len(calls) >= 6
    for name, expected in calls.items():
        function = getattr(streams.Logger, name, None) or getattr(streams, name)
        parameters = [
            p for p in inspect.signature(function).parameters.values() if p.name != "self"
        ]
        mine = [
            (p.name, None if p.default is p.empty else repr(p.default))
            for p in parameters
            if p.kind is not p.KEYWORD_ONLY
        ]
        assert mine == expected, name


def test_every_name_of_the_session_streams_is_there() -> None:
    text = page("session-streams")

    names = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text)) - {"LOGS_PATH"}
    assert {"DEFAULT_LOGS_DIR", "SPECIAL_TOKENS", "REASONING_STOP_TOKEN"} <= names
    for name in names:
        assert getattr(streams, name), name
    for lists in re.findall(r"^(SPECIAL_\w+) = \[(.*)\]", text, re.MULTILINE):
        tokens = [getattr(streams, name.strip()) for name in lists[1].split(",")]
        assert getattr(streams, lists[0])[: len(tokens)] == tokens
    for name in re.findall(r"^def (all_\w+) ->", text, re.MULTILINE):
        assert isinstance(getattr(streams.Logger, name), property)
    fields = re.findall(r"^(\w+): (?:str|Optional\[str\]|Literal)", text, re.MULTILINE)
    parameters = inspect.signature(streams.LogEntry).parameters.values()
    assert [p.name for p in parameters if p.kind is not p.VAR_KEYWORD] == fields


def test_the_example_of_the_session_streams_runs_with_the_import_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page("session-streams")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGS_PATH", raising=False)
    usage = text[text.index("Example Usage") : text.index("Use .distribute()")].splitlines()[1:]
    lines: list[str] = []
    for line in usage:  # the page has lost its indentation
        lines.append("    " + line if lines and lines[-1].endswith(":") else line)
    (imported,) = re.findall(r"^from (\S+) import _logger$", text, re.MULTILINE)
    made = re.findall(r"^(?:logs_dir = |os\.makedirs).*$", text, re.MULTILINE)
    program = "\n".join(
        [
            f"from {imported} import _logger, DEFAULT_LOGS_DIR".replace(
                imported, "wakelog.streams"
            ),
            "import os",
            *made,
            *lines,
        ]
    )
    printed = io.StringIO()

    async def session() -> None:
        # As in an application, where it is cancelled and not waited for.
        distributing = asyncio.create_task(streams._logger.distribute())
        with contextlib.suppress(TimeoutError), contextlib.redirect_stdout(printed):
            await asyncio.wait_for(run(program, {}), 1)
        distributing.cancel()

    asyncio.run(session())
    streams._logger.close()

    # What was logged is shown by the handler, and printed by the example.
    assert printed.getvalue() == "messagemessage\n"


# The audit sink


def test_every_record_of_the_audit_sink_takes_what_the_page_states() -> None:
    text = page("audit-sink")
    calls = re.findall(r"fn (record_\w+)\(&self, (.*?)\)", text)

    assert len(calls) == 6
    for name, arguments in calls:
        expected = [argument.split(":")[0].strip() for argument in arguments.split(", ")]
        mine = list(inspect.signature(getattr(AuditSink, name)).parameters)[1:]
        # `from` is a keyword of Python.
        assert [one.rstrip("_") for one in mine] == expected, name


def test_every_record_of_the_audit_sink_is_the_event_that_the_page_states() -> None:
    text = page("audit-sink")
    kinds = re.findall(r"GraphEvent::(\w+) \{(.*?)\n            \},", text, re.DOTALL)
    log = InMemorySessionLog()
    sink = SessionAuditSink(log, KEY)
    breach = Breach("requests", 1, 2)  # type: ignore[arg-type] # as text
    values: dict[str, Any] = {"breach": breach}

    assert len(kinds) == 6
    for name, _ in re.findall(r"fn (record_\w+)\(&self, (.*?)\)", text):
        call = getattr(sink, name)
        call(*[values.get(one, one) for one in list(inspect.signature(call).parameters)])

    events = [one.event for one in asyncio.run(log.load_since(KEY))]
    assert sink.counts() == (6, 0, 0, 0)
    for event, (kind, body) in zip(events, kinds, strict=True):
        assert event.event_type == re.sub(r"(?<!^)([A-Z])", r"_\1", kind).lower()
        named = re.findall(r"^\s+(\w+)(?::|,)", body, re.MULTILINE)
        assert named.pop() == "timestamp"
        if named != ["breach"]:  # whose own fields are the payload
            assert list(event.payload) == named
        assert event.timestamp
    assert repr(KEY) in repr(sink)
