"""The fixture: what an agent under test records, in memory, the same in every run."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

import wakelog
from wakelog import AgentLogger, AsyncAgentLogger
from wakelog.integrations.logging import WakelogHandler
from wakelog.integrations.structlog import WakelogProcessor
from wakelog.integrations.testing import Recording


def agent(log: AgentLogger) -> None:
    with log.run(session_id="s-1"):
        log.user_message("two seats")
        with log.tool("search", {"to": "LIS"}) as tool:
            tool.result("TP 559")


def test_ids_and_times_are_the_same_in_every_run(wakelog_recording: Recording) -> None:
    agent(wakelog_recording.log)
    again = Recording()
    agent(again.log)

    assert [e.to_dict() for e in wakelog_recording.events] == [e.to_dict() for e in again.events]
    first, second, *_ = wakelog_recording.events
    assert first.run_id == "00000000-0000-7000-8000-000000000001"
    assert first.event_id == "00000000-0000-7000-8000-000000000002"
    assert first.timestamp == "2026-01-01T00:00:00.000000000Z"
    assert second.timestamp == "2026-01-01T00:00:00.001000000Z"
    assert second.parent_event_id == first.event_id


def test_code_that_sets_itself_up_records_here_too(wakelog_recording: Recording) -> None:
    log = wakelog.configure("booker", service_name="shop", directory="/nowhere")
    existing = wakelog_recording.capture(AgentLogger("old"))
    structlog_ = structlog.wrap_logger(None, processors=[WakelogProcessor(last=True)])
    logger, handler = logging.getLogger("tests.plugin"), WakelogHandler()
    logger.addHandler(handler)

    log.user_message("one")
    existing.user_message("two")
    structlog_.info("three")
    logger.warning("four")
    logger.removeHandler(handler)

    assert wakelog_recording.types == ["user_message"] * 2 + ["custom"] * 2
    agents = [event.agent_name for event in wakelog_recording.events[:2]]
    assert agents == ["booker", "old"]
    assert wakelog_recording.one("custom", payload={"message": "three"}).status is None
    numbers = [int(event.event_id[-12:]) for event in wakelog_recording.events]
    assert numbers == [1, 2, 3, 4]


def test_async_loggers_record_here_too(wakelog_recording: Recording) -> None:
    log = wakelog_recording.capture(AsyncAgentLogger("a"))

    async def main() -> None:
        async with log.tool("search"):
            pass

    asyncio.run(main())

    assert wakelog_recording.types == ["tool_call", "tool_result"]


def test_the_helpers_find_and_say_what_there_is(wakelog_recording: Recording) -> None:
    agent(wakelog_recording.log)

    call = wakelog_recording.one("tool_call", tool_name="search", payload={"args": {"to": "LIS"}})
    assert call.status == "started"
    assert wakelog_recording.of("tool_call", tool_name="book") == []
    with pytest.raises(AssertionError) as caught:
        wakelog_recording.one("tool_call", tool_name="book")
    assert str(caught.value) == (
        "0 events are tool_call, tool_name='book'; recorded were\n"
        "  run_start tool_name=None\n"
        "  user_message tool_name=None\n"
        "  tool_call tool_name='search'\n"
        "  tool_result tool_name='search'\n"
        "  run_end tool_name=None"
    )
    wakelog_recording.clear()
    assert wakelog_recording.events == []


def test_after_a_test_everything_is_as_before() -> None:
    from wakelog.setup import configure

    assert wakelog.configure is configure


def test_pytest_starts_without_loading_anything_of_ours(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    heavy = ('opentelemetry', 'structlog', 'orjson', 'wakelog.logger', 'wakelog.events')\n"
        "    assert 'wakelog.integrations.pytest' in sys.modules\n"
        "    assert not [name for name in heavy if name in sys.modules]\n"
    )
    others = ["-p", "no:hypothesispytest", "-p", "no:langsmith_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *others, str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_fixture_needs_no_network_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_agent.py").write_text(
        "import socket\n"
        "def test_agent(wakelog_recording, monkeypatch, tmp_path):\n"
        "    def refuse(*_):\n"
        "        raise AssertionError('network')\n"
        "    monkeypatch.setattr(socket.socket, 'connect', refuse)\n"
        "    import wakelog\n"
        "    log = wakelog.configure('a', directory=tmp_path / 'journal')\n"
        "    with log.run():\n"
        "        log.user_message('hi')\n"
        "    assert wakelog_recording.types == ['run_start', 'user_message', 'run_end']\n"
        "    assert not (tmp_path / 'journal').exists()\n"
    )
    # With a folder of its own: else it ends by removing what other runs have left, whatever that takes.
    own = f"--basetemp={tmp_path / 'inner'}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", own, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_further_agent_records_in_memory_too(wakelog_recording: Recording) -> None:
    import wakelog

    wakelog.get_logger("critic").decision("go")

    assert wakelog_recording.one("decision").agent_name == "critic"
