"""Nobody whose text is recorded or answered writes to a terminal, or forges a line, by it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.test_cli import recorder, run
from tests.support.scripted import ACCEPT, Answer, ScriptedHTTP
from wakelog._printable import printable, printable_json
from wakelog.errors import JournalError, WakelogError
from wakelog.gateway import EventSessionLogger, SerializationError

EVIL = "s\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\nFORGED line\r\u2028\x85"
JOINERS = "\u200c\u200d"
UNSAFE = {"Cc", "Cs", "Zl", "Zp"}


def unsafe_in(text: str) -> list[str]:
    """The characters of a command's output, or of a log line, that should not be in it."""
    return [
        c
        for line in text.split("\n")
        for c in line
        if unicodedata.category(c) in UNSAFE
        or unicodedata.bidirectional(c)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        or (c in "\u200e\u200f\u061c\u200b\ufeff")
    ]


def is_safe(text: str) -> bool:
    return not unsafe_in(text) and not any(line.startswith("FORGED") for line in text.splitlines())


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_line_without_controls(text: str) -> None:
    safe = printable(text)

    assert not unsafe_in(safe)
    assert len(safe.splitlines()) <= 1
    assert printable(safe) == safe
    if not unsafe_in(text) and "\n" not in text and safe != text:
        assert any(unicodedata.category(c) == "Cf" for c in text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_scripts_and_emoji_keep_their_joiners() -> None:
    for text in ("می‌خواهم", "👩‍💻", "naïve — “quotes” 日本語"):
        assert printable(text) == text


@given(st.recursive(st.text(st.characters(codec=None)), st.lists))
def test_json_means_the_same_without_controls(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)

    safe = printable_json(text)

    assert json.loads(safe) == value
    assert not unsafe_in(safe)


def test_every_command_says_evil_names_safely(tmp_path: Path) -> None:
    journal = tmp_path / ("j" + EVIL.replace("/", ""))
    for number in range(2):
        with recorder(journal) as log, log.run(f"title {EVIL}", session_id=EVIL, run_id=EVIL):
            log.user_message(f"{EVIL} {number}")
            log.decision(EVIL)
    missing = f"{tmp_path}/{EVIL}/missing"
    with ScriptedHTTP(Answer(status=400, message=EVIL, headers={"X": "y"})) as hop:
        http = ("--endpoint", hop.endpoint, "--protocol", "http/protobuf", "--timeout", "1")
        outputs = {
            str(line): run(*line)
            for line in (
                ("show", journal),
                ("show", "--json", "--attributes", journal),
                ("show", "--session", "nobody", journal),
                ("show", "--run", EVIL + "x", journal),
                ("show", "--session", EVIL, journal),
                ("status", journal),
                ("status", "--json", journal),
                ("verify", journal),
                ("verify", "--json", journal),
                ("dead-letters", "list", journal),
                ("dead-letters", "show", "--id", EVIL, journal),
                ("ship", *http, journal),
                ("ship", "--json", *http, journal),
                ("ship", "--endpoint", EVIL, journal),
                ("ship", "--rate", EVIL, journal),
                (EVIL, journal),
                ("show", EVIL, EVIL),
                *((command, missing) for command in ("show", "tail", "status", "verify", "ship")),
                ("demo", "--directory", journal),
            )
        }

    for line, done in outputs.items():
        assert is_safe(done.stdout), (line, done.stdout)
        assert is_safe(done.stderr), (line, done.stderr)
        assert "Traceback" not in done.stderr, line
    shown = json.loads(outputs[str(("show", "--json", "--attributes", journal))].stdout)
    assert shown["sessions"][0]["id"] == EVIL  # JSON escapes it, and means the same


def test_dead_letters_with_evil_answers_are_said_safely(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("one")
        log.decision("two")

    def only_one(request: object) -> Answer:
        evil = Answer(
            status=400, body=f"no {EVIL}".encode(), headers={"Content-Type": "text/plain"}
        )
        return evil if "one" in str(getattr(request, "message", "")) else ACCEPT

    with ScriptedHTTP(only_one) as hop:
        http = ("--endpoint", hop.endpoint, "--protocol", "http/protobuf")
        run("ship", *http, "--timeout", "5", tmp_path)
        listed = run("dead-letters", "list", tmp_path)
        letter = listed.stdout.split()[0]
        lines = [
            listed,
            run("dead-letters", "list", "--json", tmp_path),
            run("dead-letters", "show", "--id", letter, tmp_path),
            run("dead-letters", "replay", *http, tmp_path),
            run("dead-letters", "replay", "--json", *http, tmp_path),
        ]

    assert "400" in listed.stdout
    for done in lines:
        assert is_safe(done.stdout)
        assert is_safe(done.stderr)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_a_path_that_is_no_text_has_a_json_of_its_own(tmp_path: Path) -> None:
    journal = tmp_path / os.fsdecode(b"bad\xff")
    with recorder(journal) as log:
        log.decision("go")

    for line in (["status"], ["verify"], ["show"]):
        plain, as_json = run(*line, journal), run(*line, "--json", journal)
        assert (plain.returncode, plain.stderr) == (0, "")
        assert (as_json.returncode, as_json.stderr) == (0, "")
        assert json.loads(as_json.stdout).get("path", str(journal)) == str(journal)


def test_exceptions_are_said_safely_and_keep_what_they_are_about() -> None:
    assert is_safe(str(WakelogError(EVIL)))
    error = JournalError("read", EVIL, EVIL, EVIL)

    assert is_safe(str(error))
    assert error.path == EVIL


def test_the_gateways_log_says_evil_sessions_safely(tmp_path: Path) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("wakelog")
    logger.addHandler(handler)

    async def refuse(_: object) -> None:
        raise SerializationError(EVIL)

    async def forward() -> None:
        async with EventSessionLogger(tmp_path, downstream_callback=refuse) as log:
            await log({"session_id": EVIL, "message": "m"})
            await log.flush(timeout=5)

    try:
        asyncio.run(forward())
        try:
            raise ValueError(EVIL)
        except ValueError:
            logger.exception("it failed on %s", EVIL)
    finally:
        logger.removeHandler(handler)

    said = stream.getvalue()
    assert "is set aside" in said
    assert "it failed on s\\x1b]0;owned" in said
    assert not unsafe_in(said)


def test_a_log_line_without_such_text_keeps_its_template(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("wakelog").warning("%d events of %s", 3, "s-1")

    (record,) = caplog.records
    assert (record.msg, record.args) == ("%d events of %s", (3, "s-1"))
