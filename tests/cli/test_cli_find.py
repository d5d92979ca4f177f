"""Finding things from the command line: through real processes, as a user would."""

from __future__ import annotations

import contextvars
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import SECONDS, directory, environment, recorder, run, tail
from tests.conftest import ROOT
from tests.support.recorded_runs import PROMPT, data, journal, printed
from wakelog import AgentEvent
from wakelog.viewer import load

__all__ = ["directory", "journal", "tail"]


def on_a_terminal(*arguments: object, **more: str) -> str:
    """Run a command on a terminal of 100 columns and 40 lines, and return what it shows."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wakelog.cli", *map(str, arguments)],
        env=environment(COLUMNS="100", LINES="40", TERM="xterm", **more),
        stdin=other,
        stdout=other,
        stderr=subprocess.PIPE,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(main)
    _, error = process.communicate(timeout=SECONDS)
    assert (process.returncode, error) == (0, b"")
    return shown.decode().replace("\r\n", "\n")


# --- the questions of the documentation

QUESTIONS = re.findall(
    r"^\| (.+?) \| `(wakelog [^`]+)` \|$",
    (ROOT / "docs" / "command-line.md").read_text("utf-8").partition("## Questions")[2],
    re.MULTILINE,
)


def record_what_is_asked(root: Path) -> None:
    """Record a journal in which each question of the page has an answer, and what is no answer."""
    noon = datetime.combine(date.today(), clock(0, 30)).astimezone()
    with recorder(root) as log:
        for day, tool in ((2, "older"), (1, "lookup"), (0, "newer")):
            when = int((noon - timedelta(days=day)).timestamp() * 1e9)
            for kind, status in (("tool_call", "started"), ("tool_result", "error")):
                log.sink.write(
                    AgentEvent(
                        kind, tool_name=tool, status=status, run_id=f"r-{day}", time_unix_nano=when
                    )
                )
        for run, tokens in (("run-1", 900), ("run-2", 100)):
            with log.run(run_id=run, session_id="s-1"):
                with log.model("gpt-4o", "openai", input=f"{PROMPT} order 4711") as call:
                    call.respond("yes", input_tokens=tokens, output_tokens=1)
                try:
                    with log.tool("pay", {}):
                        raise TimeoutError("too slow")
                except TimeoutError:
                    pass


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A journal in which each question of the page has an answer, and what is no answer."""
    record_what_is_asked(tmp_path)
    return tmp_path


ANSWERS = {
    "which tool calls failed yesterday": ("lookup", "older newer pay"),
    "what did a session cost": ("s-1", "s-2"),
    "is anything undelivered": ("kept here 18", "balances"),
    "which run used the most tokens": ("run-1", "run-2"),
    "what was the whole prompt of a call": ("for Lisbon?", "TimeoutError"),
    "which tools are slow": ("pay", "nothing"),
    "which events contain a text": ("run-1", "lookup pay"),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_each_question_of_the_page_is_answered_by_its_command(question: str, asked: Path) -> None:
    command = dict(QUESTIONS)[question]

    text = printed(*shlex.split(command)[1:], WAKELOG_DIR=str(asked))

    right, wrong = ANSWERS[question]
    assert right in text
    assert not [word for word in wrong.split() if word in text]


def test_what_fails_is_seen_as_it_happens(asked: Path, tail: Any) -> None:
    command = dict(QUESTIONS)["what failed in the last hour, and fails from now on"]
    following = tail(*shlex.split(command)[2:], asked)

    lines = [following.line() for _ in range(2)]
    # Half past midnight may be less than an hour ago.
    lines = [line for line in lines if "newer" not in line] or [following.line()]

    assert all("tool_result" in line and "pay" in line for line in lines)
    assert len(QUESTIONS) == len(ANSWERS) + 1


# --- show


def test_into_a_pipe_and_as_json_show_is_everything(journal: Path) -> None:
    assert data("show", journal) == {**load(journal).to_dict(), "spans": []}
    text = printed("show", journal)
    assert [text.count(f"run-{number}") for number in range(3)] == [1, 1, 1]
    assert "before everything" in text
    assert "\x1b" not in text


def test_on_a_terminal_it_is_the_newest_run_and_what_is_outside_runs(journal: Path) -> None:
    shown = on_a_terminal("show", journal)

    assert "run-2" in shown
    assert "run-1" not in shown
    assert "before everything" in shown
    assert "3 runs are recorded: wakelog sessions --runs" in shown
    assert "\x1b[31m" in shown  # the failed call is red
    assert "run-1" in on_a_terminal("show", "--all", journal)
    assert "before everything" not in on_a_terminal("show", "--last", journal, NO_COLOR="1")


def test_what_does_not_fit_on_a_terminal_goes_through_the_pager(journal: Path) -> None:
    pager = "sh -c 'echo paged; cat'"

    assert "paged" in on_a_terminal("show", "--all", "--full", journal, PAGER=pager)
    assert "paged" not in on_a_terminal(
        "show", "--all", "--full", "--no-pager", journal, PAGER=pager
    )
    assert "paged" not in on_a_terminal("show", "--last", journal, PAGER=pager)


def test_filters_show_each_event_with_its_answer_in_its_run(journal: Path) -> None:
    view = data("show", "--errors", "--type", "tool_call", "--run", "run-1", journal)

    (session,) = view["sessions"]
    (shown,) = session["runs"]
    (step,) = shown["steps"]
    assert (shown["id"], step["name"], step["status"]) == ("run-1", "book", "error")
    assert step["exception"] is None or step["exception"]["type"] == "TimeoutError"
    assert data("show", "--session", "s-0", "--tool", "book", journal)["sessions"][0]["id"] == "s-0"


def test_full_shows_a_whole_prompt_and_steers_no_terminal(journal: Path) -> None:
    text = printed("show", "--last", "--type", "model_call", "--full", journal)

    assert "Which flight leaves" in text
    assert "for Lisbon? \\x1b[31m" + "word " * 200 in text
    assert "gen_ai.usage.input_tokens: 0" in text


def test_a_model_call_says_what_it_used(journal: Path) -> None:
    (session,) = data("show", "--session", "s-1", journal)["sessions"]
    model = next(step for step in session["runs"][0]["steps"] if step["type"] == "model_call")

    assert model["usage"] == {"input_tokens": 100, "output_tokens": 10}


@pytest.mark.parametrize(
    "line",
    [
        ["show", "--tool", "nobody"],
        ["show", "--text", "nowhere"],
        ["stats", "--agent", "nobody"],
        ["sessions", "--run", "nothing"],
        ["show", "--since", "today", "--until", "yesterday"],
    ],
)
def test_a_filter_that_nothing_fits_is_said(line: list[str], journal: Path) -> None:
    done = run(*line, journal)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("wakelog: there is no ")
    assert done.stderr.count("\n") == 1


def test_a_time_that_is_none_is_refused(journal: Path) -> None:
    done = run("show", "--since", "whenever", journal)

    assert done.returncode == 2
    assert "'whenever' is not a time" in done.stderr


# --- sessions, stats, tail


def test_sessions_and_runs_are_listed_with_what_they_add_up_to(journal: Path) -> None:
    found = data("sessions", "--sort", "tokens", "--limit", "2", journal)
    runs = data("sessions", "--runs", "--sort", "tokens", "--limit", "1", journal)

    assert found["count"] == 3
    assert found["sessions"][0]["id"] == "s-1"
    assert len(found["sessions"]) == 2
    (most,) = runs["runs"]
    assert (most["id"], most["session"], most["outcome"]) == ("run-1", "s-1", "success")
    assert (most["input_tokens"], most["errors"], most["tool_calls"]) == (100, 1, 1)
    assert "run-1" in printed("sessions", "--runs", "--text", "lisbon", "--run", "run-1", journal)


def test_a_run_whose_process_lives_is_running_and_one_that_died_is_unknown(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        # In a context of its own, because it never ends.
        contextvars.copy_context().run(log.run(run_id="run-1").__enter__)
        assert data("sessions", "--runs", tmp_path)["runs"][0]["outcome"] == "running"
    assert data("sessions", "--runs", tmp_path)["runs"][0]["outcome"] == "unknown"


def test_stats_add_up_a_selection(journal: Path) -> None:
    found = data("stats", "--session", "s-1", journal)

    assert (found["runs"], found["sessions"], found["input_tokens"]) == (1, 1, 100)
    (tool,) = found["tools"]
    assert (tool["name"], tool["calls"], tool["errors"]) == ("book", 1, 1)
    assert tool["latency"]["count"] == 1
    assert found["error_names"] == [{"name": "TimeoutError", "events": 1}]
    assert sum(part["events"] for part in found["timeline"]) == found["events"]
    assert "gpt-4o" in printed("stats", journal)


def test_tail_lets_through_what_the_filters_do(journal: Path, tail: Any) -> None:
    following = tail("--from-start", "--errors", "--json", journal)

    assert [json.loads(following.line())["event_name"] for _ in range(3)] == [
        "wakelog.tool_result"
    ] * 3


# --- all of them


@pytest.mark.parametrize(
    "line",
    [["sessions"], ["show"], ["stats"], ["export"], ["query", "SELECT 1", "--over", "index"], ["prune"]],
    ids=lambda line: line[0],
)  # fmt: skip
def test_a_command_that_reads_loads_no_opentelemetry(line: list[str], journal: Path) -> None:
    code = (
        "import sys; from wakelog.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] in ('opentelemetry', 'rich')),"
        " file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line, str(journal)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "\n")


@pytest.mark.parametrize(
    "line", [["show"], ["export"], ["sessions", "--runs"], ["stats", "--json"]]
)
def test_whose_reader_goes_away_ends_quietly(line: list[str], journal: Path) -> None:
    command = [sys.executable, "-m", "wakelog.cli", *line, str(journal)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) in (0, 141)
