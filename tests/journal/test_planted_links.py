"""A neighbour on the disk: whoever can make names where Wakelog writes gets nothing of this user's."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.attack import ATTACKING
from tests.support.planted_program import PARTS
from tests.support.sealed import key_files
from wakelog import AgentEvent, AgentLogger
from wakelog.audit import JournalSessionLog, SQLiteSessionLog, ThreadKey
from wakelog.errors import ConfigurationError, JournalError, WakelogError
from wakelog.gateway import EventSessionLogger
from wakelog.journal import Cursor, Journal, Mark, books, first_misfit, folders, usage
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime import ForeignFileError, open_to_read, resolved
from wakelog.sinks import JSONLSink
from wakelog.streams import SessionStreams

PROGRAM = ROOT / "tests" / "support" / "planted_program.py"
RESOURCE = Resource({"service.name": "tests"})
KEY = ThreadKey("acme", "t-1")
NEIGHBOUR = 65_534
"""A second user's id; whether it has a name does not matter."""
TRUST = "WAKELOG_TRUST_DIRECTORY"
FULL_SECONDS = 3_000 if ATTACKING else 200

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


def record(root: Path, *bodies: str) -> Path:
    """Record in a journal, and return its newest writer's folder."""
    journal = Journal(root)
    for body in bodies:
        journal.append(uuid7(), encode({"body": body}, 1 << 20), RESOURCE)
    journal.close()
    return journal.writers[-1].folder.path


# Every name that is ever touched


class Planting:
    """Programs that plant things at the names that a part of Wakelog uses; they mostly wait."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._results: dict[str, dict[str, Any]] = {}
        self._started = {
            part: subprocess.Popen(
                [sys.executable, PROGRAM, part, folder(part)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for part in PARTS
        }

    def result(self, part: str) -> dict[str, Any]:
        if part not in self._results:
            output, errors = self._started[part].communicate(timeout=FULL_SECONDS)
            assert self._started[part].returncode == 0, errors
            self._results[part] = json.loads(output)
        return self._results[part]

    def end(self) -> None:
        for program in self._started.values():
            program.kill()
            program.communicate()


@pytest.fixture(scope="module")
def planting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planting]:
    started = Planting(tmp_path_factory.mktemp)
    yield started
    started.end()


@pytest.mark.attack
@pytest.mark.parametrize("part", PARTS)
def test_links_at_every_name_that_is_touched_change_nothing_outside(planting: Planting, part: str):
    said = planting.result(part)

    assert said["changed"] == {}
    assert len(said["names"]) > 3
    unfinished = [Path(name).name for name in said["all"] if name.endswith(".new")]
    assert not {name for name in said["names"] if name.endswith(".new")}
    chance = re.compile(r"\.[0-9a-f]{16}\.new$|^\.[0-9a-f]{8}-[0-9a-f-]{27}\.new$")
    assert all(chance.search(name) for name in unfinished)


@pytest.mark.attack
@pytest.mark.parametrize("part", PARTS)
def test_fifos_devices_and_huge_files_at_every_name_stop_nothing(planting: Planting, part: str):
    assert planting.result(part)["wrong"] == {}


CHANGING = frozenset(
    [
        "open",
        "rename",
        "renames",
        "replace",
        "unlink",
        "remove",
        "rmdir",
        "removedirs",
        "mkdir",
        "makedirs",
        "truncate",
        "link",
        "symlink",
        "mkfifo",
        "mknod",
        "chmod",
        "chown",
        "utime",
    ]
)
OF_PATHS = frozenset(
    [
        "open",
        "read_bytes",
        "read_text",
        "write_bytes",
        "write_text",
        "touch",
        "mkdir",
        "unlink",
        "rename",
        "rmdir",
        "hardlink_to",
        "symlink_to",
        "chmod",
    ]
)
NO_FILES = {
    "open(os.devnull": "the reader of the output has gone",
    "os.open(os.devnull": "the reader of the output has gone",
    "endpoint.open(": "the demonstration's server",
    "self._counters.books.open(": "the books of a run",
    "steps.open(": "a step of a run",
    "self.steps.open(": "the same",
    "self._steps.open(": "the same",
    "(files('wakelog.page')": "a part of this package",
    "shutil.get_terminal_size(": "the terminal",
    "shutil.disk_usage(": "the disk",
    "target.chmod(": "a copy in a folder of this user alone, which DuckDB has just made",
}


def test_no_module_but_the_seam_opens_renames_or_deletes_a_file():
    found = []
    for path in sorted((ROOT / "src" / "wakelog").rglob("*.py")):
        if path.parent.name == "runtime" and path.stem in ("_opening", "_filesystem"):
            continue
        if path.name == "verify_proof.py":
            continue  # a program of its own, for people who have no Wakelog
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            said, called = ast.unparse(node), node.func
            if isinstance(called, ast.Attribute):
                on = ast.unparse(called.value)
                changes = on in ("os", "shutil") and (called.attr in CHANGING or on == "shutil")
                of_path = on != "os" and called.attr in OF_PATHS
                by_seam = (
                    on.rpartition(".")[2] in ("fs", "_fs", "SYSTEM", "(fs or SYSTEM)")
                    or on == "(fs or SYSTEM)"
                )
                direct = (changes or of_path) and not by_seam
            else:
                direct = isinstance(called, ast.Name) and called.id == "open"
            if direct and not said.startswith(tuple(NO_FILES)):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {said[:80]}")

    assert found == []


# Whose the directory is


def into_journal(root: Path) -> None:
    record(root, "x")


def into_gateway(root: Path) -> None:
    async def log_one() -> None:
        async with EventSessionLogger(root) as log:
            await log({"session_id": "s"})

    asyncio.run(log_one())


def into_session_log(root: Path) -> None:
    log = JournalSessionLog(root)
    asyncio.run(log.append(KEY, [AgentEvent("user_message")]))
    log.close()


def into_sqlite(root: Path) -> None:
    log = SQLiteSessionLog(root / "log.db")
    asyncio.run(log.append(KEY, [AgentEvent("user_message")]))
    log.close()


def into_streams(root: Path) -> None:
    with SessionStreams(root) as streams, streams.stream("s") as stream:
        stream.write("x")


def into_logger(root: Path) -> None:
    import wakelog

    try:
        log = wakelog.configure("a", directory=root, on_error="raise")
        log.user_message("x")
    finally:
        wakelog.shutdown()


FRONT_DOORS = [
    into_journal, into_gateway, into_session_log, into_sqlite, into_streams, into_logger,
]  # fmt: skip


@pytest.mark.parametrize("door", FRONT_DOORS)
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o2775, 0o702])
def test_a_directory_in_which_others_may_write_is_refused_with_the_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: Callable[[Path], None], mode: int
):
    root = tmp_path / "shared"
    root.mkdir()
    os.chown(root, -1, 4_711) if os.geteuid() == 0 else None
    root.chmod(mode)
    if mode == 0o2775 and os.geteuid() != 0:
        pytest.skip("only root can give a directory to a group that is nobody's own")

    with pytest.raises(WakelogError) as refused:
        door(root)
    said = str(refused.value)
    assert f"others may write in it (mode {mode:04o})" in said
    assert f"chmod go-w {root}" in said
    assert f"{root}/wakelog is made for this user alone" in said
    assert f"{TRUST}=true" in said
    assert list(root.iterdir()) == []

    door(root / "wakelog")  # what the message says helps
    monkeypatch.setenv(TRUST, "true")
    door(root)


@as_root
@pytest.mark.parametrize("door", FRONT_DOORS)
def test_the_directory_of_another_user_is_refused(tmp_path: Path, door: Callable[[Path], None]):
    root = tmp_path / "theirs"
    root.mkdir()
    os.chown(root, NEIGHBOUR, NEIGHBOUR)

    with pytest.raises(WakelogError, match=f"belongs to uid {NEIGHBOUR}, and this process runs as"):
        door(root)
    assert list(root.iterdir()) == []


@as_root
def test_a_private_group_is_not_others(tmp_path: Path):
    root = tmp_path / "j"
    root.mkdir()
    root.chmod(0o770)  # as a umask of 002 leaves it, the group being root's own
    record(root, "x")

    if hasattr(os, "setxattr"):
        users = bytes.fromhex("02000000 01000700ffffffff 02000700fefe0000 04000000ffffffff")
        users += bytes.fromhex("10000700ffffffff 20000000ffffffff")
        try:
            os.setxattr(root, "system.posix_acl_access", users)
        except OSError:
            pytest.skip("the file system has no access lists")
        with pytest.raises(JournalError, match="others may write in it"):
            record(root, "y")


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_is_made_is_for_its_owner_whatever_the_umask(tmp_path: Path, mask: int):
    old = os.umask(mask)
    try:
        for door in FRONT_DOORS:
            door(tmp_path / door.__name__ / "above" / "root")
        sink = JSONLSink(tmp_path / "named" / "above" / "events.jsonl")
        sink.write(AgentEvent("user_message"))
        sink.close()
    finally:
        os.umask(old)
    modes = {
        str(path): oct(path.stat().st_mode & 0o7777)
        for path in tmp_path.rglob("*")
        if path.name != "state"
    }
    files = {".db-wal", ".db-shm"}
    assert {mode for name, mode in modes.items() if Path(name).suffix not in files} == {
        "0o700",
        "0o600",
    }


@as_root
def test_a_root_that_is_a_link_is_followed_only_where_its_maker_may(tmp_path: Path):
    real, shared = tmp_path / "real", tmp_path / "shared"
    real.mkdir(mode=0o700)
    shared.mkdir()
    shared.chmod(0o1777)
    for name, user in (("mine", 0), ("planted", NEIGHBOUR)):
        (shared / name).symlink_to(real)
        os.lchown(shared / name, user, user)

    record(shared / "mine", "x")
    assert len(list(folders(real))) == 1
    with pytest.raises(ConfigurationError, match=f"a link that the user with uid {NEIGHBOUR}"):
        Journal(shared / "planted")
    with pytest.raises(ConfigurationError, match=f"{shared}/planted"):
        JSONLSink(shared / "planted" / "events.jsonl")
    os.chown(shared, NEIGHBOUR, NEIGHBOUR)  # who owns the directory decides what stands in it
    assert resolved(shared / "planted") == real


@as_root
def test_a_writers_folder_of_another_user_counts_for_nothing_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    record(tmp_path / "j", "ours")
    theirs = record(tmp_path / "other", "theirs")
    planted, link = tmp_path / "j" / theirs.name, tmp_path / "j" / "0123"
    size = usage(tmp_path / "j")
    theirs.rename(planted)
    os.chown(planted, NEIGHBOUR, NEIGHBOUR)
    link.symlink_to(planted)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [one.accepted for one in books(tmp_path / "j")] == [1]
            assert usage(tmp_path / "j") == size
    journal = Journal(tmp_path / "j")
    assert [folder.path.name for folder in journal.orphans()] != [planted.name]
    said = [record.getMessage() for record in caplog.records]
    assert sorted("it is a link" in text for text in said) == [False, True]
    assert any(
        f"it belongs to uid {NEIGHBOUR}, and the directory to uid 0" in text for text in said
    )


# The named file


def put_link(path: Path, away: Path) -> None:
    path.symlink_to(away / "keep")


def put_dangling(path: Path, away: Path) -> None:
    path.symlink_to(away / "new")


def put_fifo(path: Path, away: Path) -> None:
    os.mkfifo(path)


def put_folder(path: Path, away: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [put_link, put_dangling, put_fifo, put_folder])
def test_a_sinks_file_is_a_regular_file(tmp_path: Path, put: Callable[[Path, Path], None]):
    away = tmp_path / "away"
    away.mkdir()
    (away / "keep").write_text("precious\n")
    put(tmp_path / "events.jsonl", away)

    with pytest.raises(JournalError, match="it is a link or not a regular file"):
        JSONLSink(tmp_path / "events.jsonl")
    assert {path.name: path.read_text() for path in away.iterdir()} == {"keep": "precious\n"}


@as_root
def test_a_sinks_file_is_this_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "events.jsonl"
    path.touch()
    os.chown(path, NEIGHBOUR, NEIGHBOUR)

    with pytest.raises(JournalError, match=f"it belongs to the user with uid {NEIGHBOUR}"):
        JSONLSink(path)
    monkeypatch.setenv(TRUST, "true")
    JSONLSink(path).close()


def test_devices_can_be_named(tmp_path: Path):
    AgentLogger(sink="/dev/null").user_message("x")


# Two users


class _Collector(BaseHTTPRequestHandler):
    """Takes every request."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def as_user(uid: int, do: Callable[[], None]) -> int:
    """Do something in a child that is another user, and return its exit status."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        do()
        status = 0
    finally:
        os._exit(status)


@pytest.fixture
def neighbours() -> Iterator[Path]:
    """A journal that another user has recorded, in a directory that both can reach."""
    with tempfile.TemporaryDirectory() as home:  # pytest's own are closed to others
        os.chown(home, NEIGHBOUR, NEIGHBOUR)
        assert as_user(NEIGHBOUR, lambda: into_journal(Path(home, "j"))) == 0
        yield Path(home, "j")


@as_root
def test_a_sidecar_as_root_ships_as_the_journals_owner(neighbours: Path, tmp_path: Path):
    server = HTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    [folder] = folders(neighbours)
    secret = tmp_path / "secret"
    secret.write_text("precious\n")
    secret.chmod(0o600)
    for name in ("ledger", "delivery", "deleted", ".ledger.new"):
        (folder / name).symlink_to(secret)
    (neighbours / "swept").symlink_to(secret)

    def ship(timeout: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "wakelog", "ship", neighbours, "--protocol", "http/protobuf",
             "--endpoint", f"http://127.0.0.1:{server.server_port}", "--timeout", timeout],
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    try:
        refused = ship("0.5")
        (folder / "delivery").unlink()
        delivered = ship("20")
    finally:
        server.shutdown()
        server.server_close()

    assert secret.read_text() == "precious\n"
    assert "delivered 0" in refused[1]
    assert (delivered[0], delivered[1].strip()) == (0, "delivered 1, dead lettered 0, pending 0")
    owners = {path.lstat().st_uid for path in neighbours.rglob("*") if not path.is_symlink()}
    assert owners == {NEIGHBOUR}


@as_root
def test_root_reads_the_key_and_then_seals_as_the_journals_owner(neighbours: Path, tmp_path: Path):
    private, _ = key_files(tmp_path / "keys")
    [folder] = folders(neighbours)
    (folder / "seals.jsonl").symlink_to(private)

    def seal() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "wakelog", "seal", neighbours, "--once", "--key", private],
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    key = private.read_bytes()
    refused = seal()
    (folder / "seals.jsonl").unlink()
    sealed = seal()

    assert private.read_bytes() == key
    assert refused[0] == 1
    assert (sealed[0], sealed[1].strip()) == (0, "1 seal made, 1 writer has seals")
    assert {path.lstat().st_uid for path in neighbours.rglob("*")} == {NEIGHBOUR}


@as_root
def test_another_user_is_told_whose_the_journal_is(neighbours: Path):
    def ship() -> None:
        Journal(neighbours)

    neighbours.chmod(0o755)
    assert as_user(NEIGHBOUR, ship) == 0
    assert as_user(NEIGHBOUR - 1, ship) != 0
    with pytest.raises(JournalError, match=f"it belongs to uid {NEIGHBOUR}"):
        Journal(neighbours)


# What stands at a name that is read


@pytest.mark.parametrize("name", ["00000001.jsonl", "owner", "ledger", "deleted"])
def test_what_a_link_leads_to_is_not_read_as_a_record(tmp_path: Path, name: str):
    away = record(tmp_path / "away", "not ours")
    folder = record(tmp_path / "j", "ours")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(away / name)

    cursor = Cursor(folder, Mark())
    bodies = [entry.record.body for entry in cursor.read(10, 1 << 20).entries]
    cursor.close()
    assert bodies == ([] if name == "00000001.jsonl" else ["ours"])
    with pytest.raises(ForeignFileError):
        open_to_read(folder / name)


@pytest.mark.parametrize("put", [put_link, put_dangling, put_fifo, put_folder])
def test_verifying_names_what_stands_in_the_place_of_a_segment(
    tmp_path: Path, put: Callable[[Path, Path], None]
):
    record(tmp_path / "away", "not ours")
    folder = record(tmp_path / "j", "ours")
    path = folder / "00000001.jsonl"
    path.unlink()
    put(path, tmp_path / "away")

    misfit = first_misfit(folder)

    assert misfit is not None
    assert (misfit.file, misfit.line) == (path, 0)
    assert "it is a link or not a regular file" in misfit.what


OPENS_A_DATABASE = """
import asyncio, sys
from pathlib import Path
from wakelog import AgentEvent
from wakelog.audit import SQLiteSessionLog, ThreadKey
from wakelog.errors import WakelogError
from wakelog.index import Index

path = Path(sys.argv[1])
if path.name == "index.sqlite":
    with Index(path.parent.parent) as index:
        print(len(list(index.events())), "in the index")
else:
    log = SQLiteSessionLog(path)
    try:
        asyncio.run(log.append(ThreadKey("acme", "t-1"), [AgentEvent("custom")]))
    except WakelogError as error:
        print(error)
    log.close()
"""


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("name", ["log.db", ".index/index.sqlite"])
def test_a_fifo_where_sqlite_keeps_a_file_stops_nobody(tmp_path: Path, name: str, suffix: str):
    def use() -> str:
        command = [sys.executable, "-c", OPENS_A_DATABASE, str(tmp_path / name)]
        return subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=30, check=True
        ).stdout

    record(tmp_path, "one")
    use()
    planted = tmp_path / f"{name}{suffix}"
    planted.unlink(missing_ok=True)
    os.mkfifo(planted)

    expected = "1 in the index" if "index" in name else "it is a link or not a regular file"
    assert expected in use()
