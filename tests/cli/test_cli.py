"""The command line: what it prints, how it ends, and that it never shows a traceback."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

import wakelog
from wakelog import AgentLogger, JSONLSink, OTelSink
from wakelog.otel import DurableLogRecordProcessor

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = str(Path(wakelog.__file__).parent.parent)
SECONDS = 60


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": SOURCE, **more}


def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wakelog.cli", *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Tail:
    """`wakelog tail` in a process of its own, whose lines can be waited for."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wakelog.cli", "tail", *map(str, arguments)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def line(self) -> str:
        return self._lines.get(timeout=SECONDS)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def tail() -> Iterator[type[Tail]]:
    made: list[Tail] = []

    class Kept(Tail):
        def __init__(self, *arguments: object) -> None:
            made.append(self)
            super().__init__(*arguments)

    # A shell without job control has its background jobs ignore Ctrl-C, and what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Kept
    signal.signal(signal.SIGINT, before)
    for one in made:
        one.close()


@contextmanager
def recorder(directory: Path, *, delivering: bool = False) -> Iterator[AgentLogger]:
    exporter = InMemoryLogRecordExporter() if delivering else None
    processor = DurableLogRecordProcessor(exporter, 10, directory=directory)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    try:
        yield AgentLogger("clerk", sink=OTelSink(provider))
    finally:
        processor.shutdown()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A journal with one run in session `s-1`, two of its five records pending."""
    path = tmp_path / "journal"
    with recorder(path, delivering=True) as log:
        with log.run("two seats", session_id="s-1", run_id="run-1"):
            log.decision("go")
        assert log.flush()
    with recorder(path) as log:
        log.user_message("and back", session_id="s-1")
        log.user_message("thanks", session_id="s-1")
    return path


def test_show_draws_the_tree_plain_when_piped(directory: Path) -> None:
    done = run("show", directory)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Session s-1  20")
    assert "✓ run  clerk  run-1" in lines[1]
    assert "two seats" in lines[1]
    assert lines[2].endswith("└── · decision  go")
    assert lines[4].endswith("└── · user_message  thanks")


def test_show_as_json_filters_and_has_the_documented_shape(directory: Path) -> None:
    done = run("show", directory, "--run", "run-", "--session", "s", "--json")

    assert done.returncode == 0
    data = json.loads(done.stdout)
    (session,) = data["sessions"]
    (shown,) = session["runs"]
    assert (session["id"], session["steps"], data["other_records"]) == ("s-1", [], [])
    assert (shown["id"], shown["type"], shown["status"]) == ("run-1", "run", "success")
    assert [(step["type"], step["summary"]) for step in shown["steps"]] == [("decision", "go")]
    assert "attributes" not in shown


@pytest.mark.parametrize(
    "filters, message",
    [
        (["--run", "x"], "there is no run 'x' in {}; the last runs there are run-1\n"),
        (["--session", "x"], "there is no session 'x' in {}; the last sessions there are s-1\n"),
    ],
)
def test_a_filter_that_nothing_passes_names_what_there_is(
    directory: Path, filters: list[str], message: str
) -> None:
    done = run("show", directory, *filters)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"wakelog: {message.format(directory)}"


def test_without_a_path_the_usual_places_are_looked_at(directory: Path, tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    with recorder(state / "wakelog" / "desk") as log:
        log.decision("stay")

    by_variable = run("show", WAKELOG_DIR=str(directory))
    by_service = run("show", XDG_STATE_HOME=str(state), OTEL_SERVICE_NAME="desk")
    by_nothing = run("show", XDG_STATE_HOME=str(state))
    of_another = run("show", XDG_STATE_HOME=str(state), OTEL_SERVICE_NAME="bar")

    assert "Session s-1" in by_variable.stdout
    assert "decision  stay" in by_service.stdout
    assert "decision  stay" in by_nothing.stdout
    assert by_nothing.stderr == f"wakelog: {state / 'wakelog' / 'desk'} is the only journal here\n"
    assert of_another.returncode == 1
    assert "no PATH was given, WAKELOG_DIR is not set" in of_another.stderr
    assert f"Name one of these: {state / 'wakelog' / 'desk'}\n" in of_another.stderr


def test_of_several_journals_none_is_guessed_and_none_that_a_command_would_change(
    tmp_path: Path,
) -> None:
    state = tmp_path / "elsewhere"
    with recorder(state / "wakelog" / "desk") as log:
        log.decision("stay")

    commands = (
        ["prune"],
        ["ship"],
        ["repair"],
        ["erase", "--session", "s-1"],
        ["dead-letters", "list"],
    )
    changing = [run(*one, XDG_STATE_HOME=str(state)) for one in commands]
    with recorder(state / "wakelog" / "bar") as log:
        log.decision("go")
    reading = run("show", XDG_STATE_HOME=str(state))

    for done in (*changing, reading):
        assert done.returncode == 1
        assert f"Name one of these: {state / 'wakelog'}" in done.stderr


def test_status_shows_that_the_books_balance(directory: Path) -> None:
    done = run("status", directory)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert (
        "The books balance: accepted 5 = delivered 3 + pending 2 + dead lettered 0 + evicted 0 + "
        "corrupt 0"
    ) in done.stdout
    assert [line.split()[2:5] for line in done.stdout.splitlines() if " gone " in line] == [
        ["3", "3", "0"],
        ["2", "0", "2"],
    ]


def test_status_as_json_has_the_documented_shape(directory: Path) -> None:
    with recorder(directory) as log:
        log.decision("go")

        data = json.loads(run("status", directory, "--json").stdout)

    assert list(data) == [
        "path",
        "balances",
        "bytes",
        "quota_bytes",
        "kept_here",
        "writers_left_out",
        "open_spans",
        "unserved",
        "total",
        "writers",
    ]
    assert data["path"] == str(directory)
    assert (data["balances"], data["kept_here"]) == (True, False)
    assert [one["live"] for one in data["writers"]] == [False, False, True]
    figures = ("accepted", "delivered", "pending", "dead_lettered", "evicted", "corrupt")
    assert {name: data["total"][name] for name in figures} == {
        "accepted": 6,
        "delivered": 3,
        "pending": 3,
        "dead_lettered": 0,
        "evicted": 0,
        "corrupt": 0,
    }
    for name in (*figures, "bytes"):
        assert data["total"][name] == sum(one[name] for one in data["writers"])
    assert data["bytes"] > 0


def test_status_shows_the_newest_of_many_writers_and_counts_all(tmp_path: Path) -> None:
    for _ in range(23):
        with recorder(tmp_path) as log:
            log.decision("go")

    newest = json.loads(run("status", tmp_path, "--json").stdout)
    every = json.loads(run("status", tmp_path, "--json", "--all").stdout)

    assert len(newest["writers"]) == 20
    assert newest["writers_left_out"] == 3
    assert newest["total"] == every["total"]
    assert newest["writers"] == every["writers"][3:]
    assert every["total"]["accepted"] == 23


def test_status_of_one_writers_folder_is_its_own(directory: Path) -> None:
    first = min(directory.glob("*-*"))

    data = json.loads(run("status", first, "--json").stdout)

    assert [one["writer"] for one in data["writers"]] == [first.name]
    assert data["total"]["accepted"] == 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["show", "/nowhere"], "cannot read /nowhere: there is no such file or directory"),
        (["status", "/nowhere"], "cannot read /nowhere: there is no such file or directory"),
        (["tail", "/nowhere"], "cannot read /nowhere: there is no such file or directory"),
        (["status", "/etc/hostname"], "'wakelog show' reads single files"),
        (["status", "/usr"], "there is no journal in it"),
    ],
)
def test_an_error_is_one_line_and_no_traceback(arguments: list[str], message: str) -> None:
    done = run(*arguments)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("wakelog: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["shwo"], "Did you mean 'show'?"),
        (["stauts"], "Did you mean 'stats' or 'status'?"),
        (["help"], "Did you mean '--help'?"),
        (["tail", "-f"], "unrecognized arguments: -f\n"),
        (["show", "--jsno"], "Did you mean '--json'?"),
        (["status", "--json", "--al"], "Did you mean '--all'?"),
        (["dead-letters"], "the following arguments are required: action"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(arguments: list[str], message: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_version_and_help_need_nothing() -> None:
    version, usage = run("--version"), run("--help")

    assert version.returncode == usage.returncode == 0
    assert version.stdout.startswith("wakelog ")
    for command in ("show", "tail", "status", "demo"):
        assert command in usage.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_the_version_has_no_traceback_where_nothing_can_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wakelog", "--version"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )

    assert b"Traceback" not in done.stderr


def test_python_dash_m_wakelog_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wakelog", "--version"],
        env=environment(),
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )

    assert done.stdout.startswith(b"wakelog ")


@pytest.mark.parametrize(
    "arguments", [["show"], ["show", "--json"], ["status"], ["tail", "--from-start"]]
)
def test_a_reader_that_has_gone_away_is_no_error(directory: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "-m", "wakelog.cli", *arguments, str(directory)],
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, b"")


def test_tail_sees_what_another_process_records_and_ends_on_sigterm(
    directory: Path, tail: type[Tail]
) -> None:
    program = (
        "import wakelog\n"
        f"log = wakelog.configure('porter', directory={str(directory)!r})\n"
        "with log.run(session_id='s-2'):\n"
        "    log.decision('carry on')\n"
        "    input()\n"
        "    log.decision('done')\n"
    )
    following = tail(directory, "--from-start")
    before = [following.line() for _ in range(5)]  # it is following now

    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdin=subprocess.PIPE
    ) as other:
        while_it_runs = [following.line(), following.line()]
        other.communicate(b"\n", SECONDS)
    after = [following.line(), following.line()]
    code, errors = following.end(signal.SIGTERM)

    assert "run_start" in before[0]
    assert "porter" in while_it_runs[0]
    assert "carry on" in while_it_runs[1]
    assert "done" in after[0]
    assert "run_end" in after[1]
    assert (code, errors) == (0, "")


def test_tail_begins_with_what_comes_unless_told_otherwise(
    directory: Path, tail: type[Tail]
) -> None:
    with recorder(directory) as log:
        log.decision("before")
        following = tail(directory, "--json")
        while following.process.poll() is None:  # until it has looked once
            log.decision("after")
            try:
                first = following._lines.get(timeout=0.2)
            except queue.Empty:
                continue
            break
        code, errors = following.end(signal.SIGINT)

    data: dict[str, Any] = json.loads(first)
    assert data["attributes"]["wakelog.decision.text"] == "after"
    assert data["event_name"] == "wakelog.decision"
    assert (data["writer"], data["seq"]) == (max(directory.glob("*-*")).name, data["seq"])
    assert (code, errors) == (130, "")


def test_tail_follows_a_file_by_whole_lines_over_its_rotation(
    tmp_path: Path, tail: type[Tail]
) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger("clerk", sink=JSONLSink(path))
    log.decision("one")
    following = tail(path, "--from-start", "--json")
    seen = [following.line()]

    with path.open("r+b") as file:
        line = path.read_bytes()
        file.seek(0, os.SEEK_END)
        file.write(line[:30])
        file.flush()
        file.write(line[30:])
    seen.append(following.line())
    path.rename(tmp_path / "events.1.jsonl")
    log.decision("two")  # the old file is still open
    AgentLogger("clerk", sink=JSONLSink(path)).decision("three")
    seen += [following.line(), following.line()]

    texts = [json.loads(line)["attributes"]["wakelog.decision.text"] for line in seen]
    assert texts == ["one", "one", "two", "three"]
    assert following.end(signal.SIGTERM) == (0, "")
