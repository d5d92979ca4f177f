"""The gateway's settings: arguments, variables and factories."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wakelog.errors import ConfigurationError
from wakelog.gateway import (
    EventSessionLogger,
    NullTransport,
    create_backward_compatible,
    create_from_environment,
    create_logging_only,
    create_session_logger,
    create_with_callback,
    create_with_transport,
    migrate_from_session_logger,
)


def test_arguments_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean downstream_callback"):
        EventSessionLogger(tmp_path, down_stream_callback=print)
    with pytest.raises(ConfigurationError, match=r"max_retries.*max_retry_attempts.*nonsense"):
        EventSessionLogger(tmp_path, max_retries=3, nonsense=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"session_directory_pattern": "../{session_id}"},
        {"session_directory_pattern": "/tmp/{session_id}"},
        {"session_directory_pattern": "everyone"},
        {"session_directory_pattern": "{session_id.__class__}"},
        {"session_directory_pattern": "{session_id!r}"},
        {"session_directory_pattern": "{session_id"},
        {"session_directory_pattern": "a\0{session_id}"},
        {"file_naming_pattern": "../%Y"},
        {"file_naming_pattern": "%D"},
        {"file_naming_pattern": ""},
        {"unknown_session_pattern": "{user}"},
        {"unknown_session_pattern": ""},
        {"log_format": "xml"},
        {"log_format": "custom"},
        {"max_retry_attempts": -1},
        {"retry_delay_seconds": float("nan")},
        {"durability": "maybe"},
        {"overflow": "maybe"},
        {"downstream_transport": NotImplemented},
        {"downstream_callback": "no function"},
        {"max_probe_attempts": -1},
        {"pipeline": ""},
        {"error_handler": 3},
        {"downstream_transport": NullTransport},
        {"include_system_prompt": "false"},
        {"enable_local_logging": 0},
        {"redact_payloads": "no"},
        {"redaction_config": {"keys": []}},
        {"queue_size": 2.5},
        {"max_retry_attempts": "3"},
        {"meter_provider": "global"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_refused_at_once(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        EventSessionLogger(tmp_path, **arguments)
    assert next(iter(arguments)).split("_")[-1] in str(raised.value)


@pytest.mark.parametrize(
    "variable, value, allowed",
    [
        ("AGENT_LOG_FORMAT", "xml", "jsonl, json, custom"),
        ("AGENT_LOG_INCLUDE_PROMPT", "perhaps", "true or false"),
        ("AGENT_LOG_MAX_RETRIES", "-1", "whole number"),
        ("AGENT_LOG_RETRY_DELAY", "soon", "seconds"),
        ("AGENT_LOG_RETRY_DELAY", "nan", "seconds"),
        ("AGENT_LOG_FILE_PATTERN", "../%Y", "strftime"),
        ("AGENT_LOG_ENABLE_LOCAL", "2", "true or false"),
        ("AGENT_LOG_SESSION_PATTERN", "x", "{session_id}"),
        ("AGENT_LOG_UNKNOWN_PATTERN", "{x}", "{uuid}"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        create_from_environment()
    for told in (variable, repr(value), allowed):
        assert told in str(raised.value)


def test_every_variable_does_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "DIR": str(tmp_path),
        "FORMAT": "json",
        "INCLUDE_PROMPT": "no",
        "MAX_RETRIES": "7",
        "RETRY_DELAY": "0.25",
        "FILE_PATTERN": "%Y",
        "ENABLE_LOCAL": "off",
        "SESSION_PATTERN": "x/{session_id}",
        "UNKNOWN_PATTERN": "nobody",
    }.items():
        monkeypatch.setenv(f"AGENT_LOG_{name}", value)
    by_factory = create_from_environment().settings
    later = EventSessionLogger()
    later.configure_from_env()

    assert by_factory == later.settings
    assert (by_factory.log_base_dir, by_factory.log_format) == (str(tmp_path), "json")
    assert (by_factory.include_system_prompt, by_factory.enable_local_logging) == (False, False)
    assert (by_factory.max_retry_attempts, by_factory.retry_delay_seconds) == (7, 0.25)
    assert later.get_session_directory() == tmp_path / "x" / "nobody"


def test_an_argument_beats_the_environment_even_when_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENT_LOG_INCLUDE_PROMPT", "false")
    monkeypatch.setenv("AGENT_LOG_MAX_RETRIES", "nonsense")
    monkeypatch.setenv("AGENT_LOG_DIR", "/nowhere")
    logger = EventSessionLogger(tmp_path, include_system_prompt=True, max_retry_attempts=3)
    logger.configure_from_env()
    made = create_from_environment(
        log_base_dir=tmp_path, include_system_prompt=True, max_retry_attempts=5
    )

    assert logger.settings.include_system_prompt is True
    assert logger.log_base_dir == tmp_path
    assert (made.settings.include_system_prompt, made.settings.max_retry_attempts) == (True, 5)


def test_the_environment_comes_too_late_after_the_first_event(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logger = EventSessionLogger(tmp_path)
    asyncio.run(logger({"session_id": "s"}))
    monkeypatch.setenv("AGENT_LOG_FORMAT", "json")
    with pytest.raises(ConfigurationError, match="first event"):
        logger.configure_from_env()


def test_the_factories_make_what_they_say(tmp_path: Path) -> None:
    def callback(event: object) -> None: ...

    transport = NullTransport()
    old = SimpleNamespace(
        log_file_path=tmp_path / "logs" / "s-1" / "old.jsonl", include_system_prompt=False
    )
    assert create_session_logger(tmp_path, log_format="json").settings.log_format == "json"
    alone = create_logging_only(tmp_path)
    assert (alone.downstream_callback, alone.downstream_transport) == (None, None)
    with pytest.raises(TypeError, match="downstream_callback"):
        create_logging_only(tmp_path, downstream_callback=callback)
    assert create_with_transport(
        transport=transport, log_base_dir=tmp_path
    ).downstream_transport is (transport)
    assert (
        create_with_callback(callback=callback, log_base_dir=tmp_path).downstream_callback
        is callback
    )
    both = create_with_callback(callback, tmp_path, downstream_transport=transport)
    assert (both.downstream_callback, both.downstream_transport) == (callback, transport)
    plain = create_backward_compatible(
        log_base_dir=tmp_path, downstream_callback=callback, max_retry_attempts=9
    )
    assert (plain.log_base_dir, plain.log_format, plain.max_retry_attempts) == (
        tmp_path,
        "jsonl",
        9,
    )
    migrated = migrate_from_session_logger(old_session_logger=old, downstream_callback=callback)
    assert migrated.log_base_dir == tmp_path / "logs"
    assert migrated.include_system_prompt is False
    with pytest.raises(ConfigurationError, match="log_file_path"):
        migrate_from_session_logger(object())


def test_by_default_sessions_are_where_the_environment_says_else_in_logs_sessions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AGENT_LOG_DIR", raising=False)
    assert EventSessionLogger().log_base_dir == Path("logs/sessions")
    monkeypatch.setenv("AGENT_LOG_DIR", str(tmp_path))
    assert EventSessionLogger().log_base_dir == tmp_path
    assert create_session_logger().log_base_dir == tmp_path
    assert create_backward_compatible().log_base_dir == tmp_path


def test_importing_the_gateway_loads_no_client_and_no_sdk() -> None:
    code = (
        "import sys, wakelog.gateway\n"
        "for name in ('opentelemetry.sdk', 'httpx', 'redis', 'aiokafka', 'aio_pika', 'structlog'):\n"
        "    assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
