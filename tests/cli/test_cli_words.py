"""The words of the command line: what may be typed, what is said to it, and what is said to type."""

from __future__ import annotations

import argparse
import ast
import gzip
import itertools
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wakelog
from tests.cli.test_cli import SECONDS, directory, environment, recorder, run
from tests.conftest import ROOT
from tests.support.sealed import key_files
from wakelog import AgentLogger, JSONLSink
from wakelog.cli import COMMANDS, build_parser, main
from wakelog.cli._words import counted

__all__ = ["directory"]

SOURCE = Path(wakelog.__file__).parent

# A value for every option that takes one, by its metavariable.
VALUES = {
    "FILE": "file",
    "DIRECTORY": "there",
    "PATH": "keys",
    "NAME=VALUE": "user.id=ann",
    "ID": "0",
    "URL": "http://127.0.0.1:1",
    "N": "5",
    "SECONDS": "3",
    "DIR": "here",
    "NAME": "shop",
    "TEXT": "lisbon",
    "TIME": "2026-11-28",
    "TYPE": "tool_call",
    "AGE": "30d",
    "ADDRESS": "127.0.0.2",
    "NAME=URL": "Jaeger=http://127.0.0.1:1",
}
READING = [
    ["show"],
    ["show", "--json"],
    ["show", "--run", "r"],
    ["sessions"],
    ["stats", "--json"],
    ["query", "SELECT 1", "--over", "index"],
    ["export"],
    ["tail"],
    ["tail", "--from-start", "--json"],
    ["status"],
    ["status", "--json"],
    ["verify"],
    ["repair"],
    ["prune"],
    ["ship", "--endpoint", "http://127.0.0.1:1", "--timeout", "1"],
    ["dead-letters", "list"],
    ["dead-letters", "show", "--id", "0"],
    ["dead-letters", "replay", "--endpoint", "http://127.0.0.1:1"],
]


# --- what may be typed


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The real parser of every command, by its name."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no commands")


def said(option: argparse.Action, *, joined: bool) -> list[str]:
    """An option as it is typed, with a value when it takes one."""
    name = option.option_strings[-1]
    if option.nargs == 0:
        return [name]
    value = str(next(iter(option.choices))) if option.choices else VALUES[str(option.metavar)]
    return [f"{name}={value}"] if joined else [name, value]


def spellings() -> Iterator[tuple[list[str], dict[str, object]]]:
    """Every command with each pair of its options in every place, and what has to come of it."""
    for name, parser in parsers().items():
        options = [
            action
            for action in parser._actions
            if action.option_strings and not isinstance(action, argparse._HelpAction)
        ]
        words = [action for action in parser._actions if not action.option_strings]
        places = [[]] if not words else [["here"]]
        for word in words:
            if word.dest != "path":
                places = [[str(choice), *rest] for choice in word.choices or () for rest in places]
        apart = [set(group._group_actions) for group in parser._mutually_exclusive_groups]
        pairs = [(), *((one,) for one in options), *itertools.combinations(options, 2)]
        pairs = [pair for pair in pairs if not any(len(group & set(pair)) > 1 for group in apart)]
        for positional, given, joined in itertools.product(places, pairs, (False, True)):
            texts = [said(option, joined=joined) for option in given]
            expected: dict[str, object] = {option.dest: True for option in given}
            # Each option goes to each gap among the other words.
            for gaps in itertools.product(range(len(positional) + 1), repeat=len(texts)):
                line: list[str] = []
                for gap in range(len(positional) + 1):
                    line += [
                        w for at, text in zip(gaps, texts, strict=True) if at == gap for w in text
                    ]
                    line += positional[gap : gap + 1]
                yield [name, *line], {**expected, **({"path": "here"} if words else {})}


def test_options_may_stand_before_between_and_after_the_other_words() -> None:
    parser = build_parser()

    tried = 0
    for line, expected in spellings():
        arguments, unknown = parser.parse_known_args(line)
        assert not unknown, line
        for name, value in expected.items():
            assert getattr(arguments, name) == value or value is True, line
            assert getattr(arguments, name) not in (None, False), line
        tried += 1

    assert tried > 500


@pytest.mark.parametrize(
    "line",
    [
        ["dead-letters", "show", "--id", "0", "here"],
        ["dead-letters", "replay", "--endpoint", "http://127.0.0.1:1", "here"],
        ["dead-letters", "list", "--json", "here"],
        ["dead-letters", "list", "--json", "--", "-here"],
    ],
)
def test_a_path_after_an_option_is_the_path(line: list[str]) -> None:
    arguments, unknown = build_parser().parse_known_args(line)

    assert (arguments.path, unknown) == (line[-1], [])


def test_a_word_too_many_is_still_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["show", "a", "b"], ["dead-letters", "list", "a", "--json", "b"]):
        with pytest.raises(SystemExit) as ended:
            main(line)
        assert ended.value.code == 2
        assert "unrecognized arguments: b" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, values",
    [("--rate", ["0", "-1", "nan", "fast", ""]), ("--timeout", ["-1", "nan", "soon", "-inf"])],
)
def test_a_number_that_cannot_be_used_is_said_with_its_option_and_what_is_allowed(
    option: str, values: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        with pytest.raises(SystemExit) as ended:
            main(["ship", f"{option}={value}", str(tmp_path)])
        error = capsys.readouterr().err
        assert ended.value.code == 2
        assert f"argument {option}: {value!r} cannot be used: give a number" in error
        assert "WAKELOG_" not in error


def test_an_endpoint_that_cannot_be_used_is_said_with_its_option(directory: Path) -> None:
    done = run("ship", "--endpoint", "ftp://x", "--protocol", "grpc", directory)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("wakelog: --endpoint 'ftp://x' is no endpoint: it begins with")
    assert "OTEL_" not in done.stderr


def test_a_tilde_that_no_shell_has_replaced_is_the_home_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(directory.parent))
    monkeypatch.setenv("WAKELOG_DIR", f"~/{directory.name}")
    key = key_files(directory.parent)[0]

    by_variable = main(["status"]), capsys.readouterr().out
    by_argument = main(["status", f"~/{directory.name}"]), capsys.readouterr().out
    sealed = main(["seal", "--once", f"--key=~/{key.name}"])

    assert by_variable == by_argument
    assert (by_variable[0], sealed) == (0, 0)


def test_one_of_something_is_not_several() -> None:
    assert [counted(number, "span") for number in (0, 1, 2_000)] == [
        "0 spans",
        "1 span",
        "2,000 spans",
    ]
    assert counted(1, "line is", "lines are") == "1 line is"
    assert counted(2, "line is", "lines are") == "2 lines are"


def test_without_a_command_the_help_is_printed() -> None:
    done = run()

    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert command in done.stdout


# --- what there is to type: every command in docs, alerts, dashboards and messages

# In quotes there may be prose that begins with the name.
QUOTED = f"wakelog (?:{'|'.join(COMMANDS)})"
IN_CODE = re.compile(rf"`+([^`]+)`+|'({QUOTED}[^':]*)'|\"({QUOTED}[^\":]*)\"")
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONTINUED = re.compile(r"\\\s*\n\s*")
WORD = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:python -m )?(wakelog (?!:).*)$", re.MULTILINE)
SYNOPSIS = re.compile(r"COMMAND|\[OPTION")


def texts_of(path: Path) -> Iterator[str]:
    """The texts that a file shows to somebody: all of it, or the strings of a program."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "WORD" for part in node.values
                ]
                yield "".join(map(str, parts))
    elif path.suffix == ".json":
        yield from strings_of(json.loads(text))
    else:
        yield re.sub(r"\$\(BIN\)/(wakelog .*)", r"`\1`", text)


def strings_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_of(inner)


def commands_in(text: str) -> Iterator[str]:
    """The commands that a text tells somebody to type."""
    for fence in FENCED.findall(text):
        lines = CONTINUED.sub(" ", fence)
        found = (line.partition("#")[0] for line in WORD.findall(lines))
        yield from (line for line in found if not SYNOPSIS.search(line))
    for groups in IN_CODE.findall(FENCED.sub("", text)):
        words = " ".join(re.sub(r"\n\s*#?", " ", "".join(groups)).split())
        if words.startswith("wakelog ") and not SYNOPSIS.search(words):
            yield words


SHOWN = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "Makefile",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(
        path
        for path in (ROOT / "collector-config").rglob("*")
        if path.suffix in (".yaml", ".json", ".md")
    ),
    *sorted((ROOT / "examples").glob("*.py")),
    *sorted((ROOT / "scripts").glob("*.py")),
    *sorted(SOURCE.rglob("*.py")),
]


def test_every_command_that_is_said_to_type_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    found: list[tuple[str, str]] = []
    wrong: list[str] = []
    for path in SHOWN:
        for text in texts_of(path):
            for command in commands_in(text):
                found.append((path.name, command))
                assert "\\" not in command, (path, command)
                words = shlex.split(command.partition(" > ")[0].replace("…", ""))[1:]
                if words == ["dead-letters"]:
                    continue  # the name of the command, as in a heading
                try:
                    _, unknown = parser.parse_known_args(words)
                except SystemExit:
                    wrong.append(f"{path.name}: {command}: {capsys.readouterr().err}")
                    continue
                if unknown:
                    wrong.append(f"{path.name}: {command}: {unknown}")

    assert not wrong, "\n".join(wrong)
    assert len(found) > 40
    # Those for the person on call are among them.
    for name in ("alerts.yaml", "metrics.md", "_metric_table.py", "delivery.md"):
        assert any(name == where and "dead-letters" in said for where, said in found), name


def test_a_wrong_command_would_be_found() -> None:
    text = "see `wakelog dead-letters DIR`, or\n```sh\nwakelog shwo x  # a comment\n```\n"

    assert list(commands_in(text)) == ["wakelog shwo x  ", "wakelog dead-letters DIR"]


# --- what a path may be


def sqlite_file(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table t (x)")
    database.close()


def binary_file(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 1000)


def text_file(path: Path) -> None:
    path.write_text("root:x:0:0:root:/root:/bin/bash\n" * 3000)


def json_file(path: Path) -> None:
    path.write_text(json.dumps({"id": {"a": 1}}, indent=2))


def gzip_file(path: Path) -> None:
    path.write_bytes(gzip.compress(b'{"id":"1"}\n'))


def no_journal(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("not a journal")
    # A folder with something called "lock" in it is not a writer yet; /run and /var have one.
    (path / "run" / "lock").mkdir(parents=True)


def unreadable(path: Path) -> None:
    path.write_text('{"id":"1"}\n')
    path.chmod(0)


def unreadable_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0)


def loop(path: Path) -> None:
    path.symlink_to(path)


def below_a_file(path: Path) -> None:
    path.parent.joinpath("a-file").write_text("x")
    path.symlink_to("a-file/inside")


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a SQLite file": (sqlite_file, "it is a SQLite database"),
    "a binary file": (binary_file, "it is a binary file"),
    "a text file": (text_file, "it is a text file, and no line of it is a record"),
    "a JSON file": (json_file, "it is JSON, but no line of it is a record"),
    "a gzip file": (gzip_file, "it is compressed with gzip"),
    "a directory without a journal": (no_journal, "there is no journal in it"),
    "an empty directory": (Path.mkdir, "there is no journal in it"),
    "a FIFO": (os.mkfifo, "it is a FIFO (a named pipe)"),
    "a missing path": (lambda _: None, "there is no such file or directory"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "there is no such file"),
    "a ring of links": (loop, "Too many levels of symbolic links"),
    "a path below a file": (below_a_file, "Not a directory"),
    "an unreadable file": (unreadable, "Permission denied. Run this as the user"),
    "an unreadable directory": (unreadable_directory, "Permission denied. Run this as the user"),
}
FIXED = {"/": "there is no journal in it", "/dev/null": "it is a device"}


def refused(line: list[str], path: str, *, user: int | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "wakelog.cli", *line, path],
        env=environment(),
        user=user,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def is_one_sentence(error: str, path: str, what: str) -> bool:
    """Tell whether an error has the one form that every command gives it."""
    return error.startswith(f"wakelog: cannot read {path}: {what}") and error.count("\n") == 1


@pytest.mark.parametrize("place", PLACES)
def test_every_reading_command_says_what_a_path_is(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, what = PLACES[place]
    path = tmp_path / "it"
    make(path)
    if "unreadable" in place and os.geteuid() == 0:
        pytest.skip("root reads everything; another test takes another user")

    said = set()
    for line in READING:
        code, (out, error) = main([*line, str(path)]), capsys.readouterr()
        assert (code, out) == (1, ""), line
        assert is_one_sentence(error, str(path), what), (line, error)
        said.add(error.partition(". ")[0])

    assert len(said) == 1  # one cause, one wording


@pytest.mark.parametrize("path", FIXED)
def test_every_reading_command_says_what_the_systems_own_paths_are(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in READING:
        code, (out, error) = main([*line, path]), capsys.readouterr()
        assert (code, out) == (1, ""), line
        # Somebody's machine may have files of lines one level below its root.
        what = "there is no journal" if path == "/" else FIXED[path]
        assert is_one_sentence(error, path, what), (line, error)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else for a moment")
@pytest.mark.parametrize("place", ["an unreadable file", "an unreadable directory"])
def test_what_another_user_may_not_read_is_said_in_a_process_of_that_user(place: str) -> None:
    import tempfile

    make, what = PLACES[place]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "it"
        make(path)
        code = (
            "import os, sys\n"
            "from wakelog.cli import build_parser, main\n"
            "build_parser()  # what the other user may not import\n"
            f"lines = {READING!r}\n"
            "import wakelog.viewer.tree, wakelog.otel.shipping\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"sys.exit(sum(main([*line, {str(path)!r}]) for line in lines) - len(lines))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for error in done.stderr.splitlines():
        assert is_one_sentence(f"{error}\n", str(path), what), error


def test_an_empty_file_is_called_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()

    for line in READING:
        if line[0] in ("tail", "sessions", "stats", "query", "export"):
            continue
        if line in (["show", "--json"], ["show", "--run", "r"]):
            continue
        code, (out, error) = main([*line, str(path)]), capsys.readouterr()
        if line == ["show"]:
            assert (code, out) == (0, f"{path} is an empty file: nothing is recorded yet.\n")
        else:
            assert (code, out) == (1, "")
            assert is_one_sentence(error, str(path), "it is an empty file")


def test_tail_says_that_a_file_is_empty_and_waits_for_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-m", "wakelog.cli", "tail", str(path)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stderr is not None
        assert tail.stdout is not None
        waits = tail.stderr.readline()
        AgentLogger("clerk", sink=JSONLSink(path)).decision("go")
        line = tail.stdout.readline()
        tail.kill()

    assert waits == f"wakelog: {path} is an empty file; waiting for its first line\n"
    assert "decision" in line


def test_records_after_much_that_is_foreign_are_still_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stdout.log"
    text_file(path)
    sink = JSONLSink(tmp_path / "one.jsonl")
    AgentLogger("clerk", sink=sink).decision("go")
    with path.open("ab") as file:
        file.write((tmp_path / "one.jsonl").read_bytes())
        file.write(path.read_bytes()[: 1 << 17])

    assert main(["show", str(path)]) == 0
    assert "decision" in capsys.readouterr().out


def test_a_deleted_current_directory_and_a_full_disk_under_the_output_are_one_line(
    directory: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    here = subprocess.run(
        [
            "sh",
            "-c",
            'rmdir "$0"; exec "$@"',
            gone,
            sys.executable,
            "-P",
            "-m",
            "wakelog",
            "status",
            ".",
        ],
        cwd=gone,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert here.returncode == 1
    assert here.stderr.count("\n") == 1
    assert here.stderr.startswith("wakelog: cannot ")

    with open("/dev/full", "w", encoding="utf-8") as full:
        for line in (
            ["show"],
            ["status"],
            ["status", "--json"],
            ["verify"],
            ["dead-letters", "list"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "wakelog", *line, directory],
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            assert done.returncode == 1
            assert done.stderr == (
                "wakelog: cannot write to standard output: No space left on device\n"
            )


# --- how it looks


def test_no_width_hides_a_figure(directory: Path) -> None:
    with recorder(directory) as log:
        for _ in range(1200):
            log.decision("go")

    for columns in (20, 40, 60, 80, 120):
        for command in ("status", "verify"):
            done = run(command, directory, COLUMNS=str(columns))
            words = " ".join(done.stdout.split())
            assert "…" not in done.stdout
            for title in ("accepted", "delivered", "pending", "dead lettered", "evicted", "size"):
                assert all(word in words for word in title.split()), (columns, title)
            before_the_verdict = words.partition("The books")[0]
            assert "1,205" in before_the_verdict
            assert "1,202" in before_the_verdict  # what is pending


@pytest.mark.parametrize("columns", ["0", "1", "3"])
def test_no_width_hides_everything(directory: Path, columns: str) -> None:
    for command in ("status", "verify", "show"):
        done = run(command, directory, COLUMNS=columns)
        assert done.stdout.strip(), command


def test_a_narrow_tree_hides_no_outcome(directory: Path) -> None:
    with recorder(directory) as log, log.run("a rather long title of a run", run_id="run-2"):
        log.tool("a_tool_with_quite_a_long_name_of_its_own", {"number": 17}).__enter__()

    wide, narrow = (run("show", directory, COLUMNS=columns).stdout for columns in ("200", "40"))

    assert "outcome unknown" in " ".join(wide.split())
    letters = "".join(c for c in narrow if c.isalnum())
    assert "outcomeunknown" in letters
    assert "…" not in narrow


@pytest.fixture
def without_rich(tmp_path: Path) -> dict[str, str]:
    """An environment in which rich cannot be imported."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'rich':\n"
        "            raise ModuleNotFoundError('No module named rich', name='rich')\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    return {"PYTHONPATH": f"{tmp_path / 'blocked'}{os.pathsep}{SOURCE.parent}"}


def test_without_rich_everything_is_printed_as_plain_text(
    directory: Path, without_rich: dict[str, str]
) -> None:
    for line in (["show"], ["status"], ["verify"], ["dead-letters", "list"], ["show", "--json"]):
        with_rich, plain = run(*line, directory), run(*line, directory, **without_rich)

        assert (plain.returncode, plain.stderr) == (0, "")
        assert plain.stdout == with_rich.stdout


def test_without_rich_events_are_followed(directory: Path, without_rich: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "wakelog", "tail", "--from-start", str(directory)],
        env={**environment(), **without_rich},
        stdout=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        lines = [tail.stdout.readline() for _ in range(5)]
        tail.kill()

    assert "run_start" in lines[0]
    assert "thanks" in lines[4]
