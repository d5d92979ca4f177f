"""The session log in journal files: damage costs what is damaged, a crash what was not accepted."""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.appending import in_place_of_the_system
from tests.support.faults import with_calls, with_fault
from wakelog import AgentEvent, JournalError
from wakelog.audit import JournalSessionLog, Logged, ThreadKey
from wakelog.audit import _archive as archive
from wakelog.audit import _thread_reading as reading
from wakelog.audit._thread_folder import Sealable, ThreadFolder
from wakelog.journal import Durability, read
from wakelog.record import encode
from wakelog.runtime._filesystem import SYSTEM, FileSystem

KEY = ThreadKey("acme", "t-1")


def said(text: str) -> AgentEvent:
    return AgentEvent("user_message", payload={"message": text})


def append(log: JournalSessionLog, *numbers: int) -> int:
    events = [said(f"m{number}") for number in numbers]
    return asyncio.run(log.append(KEY, events))


def opened(root: Path, **settings: Any) -> JournalSessionLog:
    return JournalSessionLog(root, **{"segment_bytes": 1000, **settings})


def live(root: Path) -> list[Logged]:
    return asyncio.run(opened(root).load_since(KEY))


def old(root: Path) -> list[Logged]:
    return asyncio.run(opened(root).load_archived(KEY))


def ordinals(logged: list[Logged]) -> list[int]:
    for ordinal, event in logged:
        assert event.payload["message"] == f"m{ordinal}"
    return [one.ordinal for one in logged]


def segments(root: Path) -> list[Path]:
    return sorted(opened(root).folder_of(KEY).glob("*.jsonl"))


# The form on disk


def test_a_thread_is_a_folder_in_the_journals_own_form(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(1, 11):
        append(log, number)

    entries = list(read(log.folder_of(KEY)))

    assert [entry.record.seq for entry in entries] == list(range(1, 11))
    assert {entry.record.event_name for entry in entries} == {"wakelog.user_message"}
    attributes = entries[0].resource.attributes
    assert attributes == {"wakelog.tenant.id": "acme", "gen_ai.conversation.id": "t-1"}
    assert len(segments(tmp_path)) > 1
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_archived_segments_are_compressed_and_gone_from_where_they_were(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(1, 21):
        append(log, number)
    before = segments(tmp_path)

    assert asyncio.run(log.archive_before(KEY, 20)) == 20

    folder = log.folder_of(KEY)
    archived = sorted((folder / "archive").iterdir())
    assert [path.name for path in archived] == [f"{path.name}.gz" for path in before]
    assert not any(path.exists() for path in before)
    assert b'"m1"' in gzip.decompress(archived[0].read_bytes())
    assert live(tmp_path) == []
    assert ordinals(old(tmp_path)) == list(range(1, 21))


def test_a_folder_that_an_operator_deleted_is_begun_again(tmp_path: Path) -> None:
    import shutil

    log = opened(tmp_path)
    append(log, 1, 2, 3)

    shutil.rmtree(log.folder_of(KEY))

    assert append(log, 1) == 1
    assert ordinals(live(tmp_path)) == [1]


def test_many_threads_do_not_keep_as_many_files_open(tmp_path: Path) -> None:
    log = opened(tmp_path)
    before = len(os.listdir("/proc/self/fd"))

    async def scenario() -> None:
        for number in range(300):
            await log.append(ThreadKey("acme", str(number)), [said("m1")])
        assert len(os.listdir("/proc/self/fd")) - before <= 2 * 128 + 20
        # And those that were closed are opened again.
        for number in range(300):
            assert await log.append(ThreadKey("acme", str(number)), [said("m2")]) == 2

    asyncio.run(scenario())
    log.close()
    assert len(os.listdir("/proc/self/fd")) - before < 10


def test_segments_that_are_archived_while_they_are_read_leave_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    for number in range(1, 21):
        append(log, number)
    real = reading._live
    archived: list[int] = []

    def interrupted(path: Path, after: int) -> Iterator[Logged]:
        for logged in real(path, after):
            yield logged
            if not archived:
                archived.append(archive.archive(log._folder(KEY), 15))

    monkeypatch.setattr(reading, "_RECORDS", 1)
    monkeypatch.setattr(reading, "_live", interrupted)

    assert ordinals(live(tmp_path)) == [16, 17, 18, 19, 20]
    assert archived == [15]


# Damage


def test_a_torn_tail_was_never_accepted_and_swallows_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    append(log, 1, 2)
    with segments(tmp_path)[-1].open("ab") as file:
        file.write(b'{"id":"019a","seq":3,"timest')

    assert append(log, 3) == 3
    assert append(opened(tmp_path), 4) == 4

    assert ordinals(live(tmp_path)) == [1, 2, 3, 4]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("line", [0, 1, 2, 3])
def test_a_flipped_bit_costs_one_record_and_no_ordinal(
    line: int, fresh: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path, segment_bytes=100_000)
    append(log, 1, 2, 3)
    (path,) = segments(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"m' if line else b"acme", b'"n' if line else b"acne")
    path.write_bytes(b"".join(lines))

    with caplog.at_level(logging.WARNING, "wakelog"):
        assert append(opened(tmp_path) if fresh else log, 4) == 4
        left = ordinals(live(tmp_path))

    assert left == [number for number in (1, 2, 3, 4) if number != line]
    assert any("damaged" in record.message for record in caplog.records) == (line > 0)


def test_an_empty_last_segment_is_what_a_crash_leaves_and_costs_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    append(log, 1, 2)
    index = int(segments(tmp_path)[-1].stem)
    (log.folder_of(KEY) / f"{index + 1:08d}.jsonl").touch()

    assert append(log, 3) == 3
    assert append(opened(tmp_path), 4) == 4

    assert ordinals(live(tmp_path)) == [1, 2, 3, 4]


def test_a_damaged_archive_gives_what_is_before_the_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path, segment_bytes=1_000_000)
    append(log, *range(1, 400))
    asyncio.run(log.archive_before(KEY, 399))
    (path,) = (log.folder_of(KEY) / "archive").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    with caplog.at_level(logging.WARNING, "wakelog"):
        left = ordinals(old(tmp_path))

    assert left[:10] == list(range(1, 11))
    assert left == sorted(left)
    assert "damaged" in caplog.text


@pytest.mark.parametrize("broken", [b"", b"7", b"garbage 00000000\n", None])
def test_without_its_watermark_what_is_compressed_stays_archived(
    broken: bytes | None, tmp_path: Path
) -> None:
    log = opened(tmp_path)
    for number in range(1, 21):
        append(log, number)
    asyncio.run(log.archive_before(KEY, 20))
    append(log, 21)
    path = log.folder_of(KEY) / "watermark"
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken)

    assert ordinals(live(tmp_path)) == [21]
    assert ordinals(old(tmp_path)) == list(range(1, 21))
    assert append(opened(tmp_path), 22) == 22


# Failing and crashing


class Failing:
    """Fails one call after so many."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def next(self, name: str, *codes: int) -> None:
        """Fail the next calls with these codes; 0 lets a ``write`` take a half."""
        call, left = getattr(SYSTEM, name), list(codes)

        def failing(*arguments: Any) -> Any:
            if not left:
                return call(*arguments)
            if code := left.pop(0):
                raise OSError(code, os.strerror(code))
            fd, data = arguments
            return call(fd, data[: len(data) // 2])

        self._stack.enter_context(in_place_of_the_system(with_calls(SYSTEM, **{name: failing})))


@pytest.fixture
def failing() -> Iterator[Failing]:
    with ExitStack() as stack:
        yield Failing(stack)


def test_a_full_disk_is_raised_and_leaves_a_log_that_goes_on(
    tmp_path: Path, failing: Failing
) -> None:
    log = opened(tmp_path)
    append(log, 1)

    failing.next("write", errno.ENOSPC)
    with pytest.raises(JournalError, match="No space left"):
        append(log, 2)
    failing.next("write", 0, errno.ENOSPC)
    with pytest.raises(JournalError, match="No space left"):
        append(log, 2)

    assert append(log, 2) == 2
    assert ordinals(live(tmp_path)) == [1, 2]


def test_after_a_failed_sync_the_events_go_into_another_file_and_are_synced_there(
    tmp_path: Path, failing: Failing
) -> None:
    log = opened(tmp_path, durability="fsync", segment_bytes=100_000)
    append(log, 1)

    failing.next("fdatasync", errno.EIO)
    append(log, 2)
    append(log, 3)

    assert ordinals(live(tmp_path)) == [1, 2, 3]
    assert [lines_in(path) for path in segments(tmp_path)] == [[1, 2], [2, 3]]


def test_a_sync_that_fails_again_is_raised_and_later_ones_are_of_another_file(
    tmp_path: Path, failing: Failing
) -> None:
    log = opened(tmp_path, durability="fsync", segment_bytes=100_000)
    append(log, 1)

    failing.next("fdatasync", errno.EIO, errno.EIO)
    with pytest.raises(JournalError, match="it is unknown whether"):
        append(log, 2)
    # It was written, and may be there.
    append(log, 3)

    assert ordinals(live(tmp_path)) == [1, 2, 3]
    assert lines_in(segments(tmp_path)[-1]) == [3]


def test_after_a_failed_sync_events_of_other_processes_are_written_again_in_their_order(
    tmp_path: Path, failing: Failing
) -> None:
    log, other = (
        opened(tmp_path, durability=level, segment_bytes=100_000)
        for level in ("fsync", "os_buffered")
    )
    append(log, 1)
    calls = iter([True])

    def fdatasync(fd: int) -> None:
        if next(calls, False):
            append(other, 3)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with in_place_of_the_system(with_calls(SYSTEM, fdatasync=fdatasync)):
        append(log, 2)
    append(other, 4)
    append(log, 5)

    assert [one.event.payload["message"] for one in live(tmp_path)] == [
        f"m{n}" for n in range(1, 6)
    ]
    assert lines_in(segments(tmp_path)[-1]) == [2, 3, 4, 5]
    asyncio.run(log.archive_before(KEY, 2))
    assert (ordinals(old(tmp_path)), ordinals(live(tmp_path))) == ([1, 2], [3, 4, 5])


def lines_in(segment: Path) -> list[int]:
    return [entry.record.seq for entry in read(segment)]


def test_no_task_is_told_that_the_disk_has_what_a_failed_sync_left_out(tmp_path: Path) -> None:
    """A disk that fails two syncs of five, and many who wait: who was told yes is on it."""
    synced: dict[int, int] = {}
    failed: set[int] = set()
    calls = 0

    def fdatasync(fd: int) -> None:
        nonlocal calls
        calls += 1
        status = os.fstat(fd)
        if calls % 5 in (0, 1):
            # The kernel has dropped the pages, and claims success from now on.
            failed.add(status.st_ino)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if status.st_ino not in failed:
            synced[status.st_ino] = status.st_size

    log = opened(tmp_path, durability="fsync")

    async def one(text: str) -> str | None:
        try:
            await log.append(KEY, [said(text)])
        except JournalError:
            return None
        return text

    async def scenario() -> list[str | None]:
        rounds = [await asyncio.gather(*(one(f"{n}/{m}") for m in range(8))) for n in range(12)]
        return [text for texts in rounds for text in texts]

    with in_place_of_the_system(with_calls(SYSTEM, fdatasync=fdatasync)):
        told_yes = {text for text in asyncio.run(scenario()) if text is not None}

    on_disk = set()
    for path in segments(tmp_path):
        covered = path.read_bytes()[: synced.get(path.stat().st_ino, 0)]
        on_disk |= {text for text in told_yes if f'"message":"{text}"'.encode() in covered}
    assert told_yes == on_disk
    assert 0 < len(told_yes) < 96


def test_what_is_appended_during_a_sync_is_still_to_be_synced(tmp_path: Path) -> None:
    """Else a file that ends then is closed unsynced, and the next sync answers for it."""
    during = [record(3), record(2)]

    def fdatasync(fd: int) -> None:
        os.fdatasync(fd)
        if during:
            folder.append([during.pop()], None)

    folder = ThreadFolder(
        tmp_path / "thread",
        KEY,
        segment_bytes=1 << 20,
        durability=Durability.FSYNC,
        fs=FileSystem(fdatasync=fdatasync),
    )
    for number in (1, 2, 3):
        folder.wait(number if number > 1 else folder.append([record(1)], None))
        assert folder.sync_is_due is (number < 3)
    folder.close()


def record(number: int) -> Sealable:
    return Sealable(f"r-{number}", encode({"body": number}, 1 << 20))


def test_periodic_syncs_soon_and_close_syncs_what_is_due(tmp_path: Path) -> None:
    real = with_calls(SYSTEM)
    synced = threading.Event()

    def fdatasync(fd: int) -> None:
        real.fdatasync(fd)
        synced.set()

    with in_place_of_the_system(with_calls(real, fdatasync=fdatasync)):
        periodic(tmp_path, synced)


def periodic(tmp_path: Path, synced: threading.Event) -> None:
    log = opened(tmp_path, durability="periodic", sync_interval=0.01)
    append(log, 1)
    assert synced.wait(60)

    slow = opened(tmp_path, durability="periodic", sync_interval=3600)
    append(slow, 2)
    synced.clear()
    slow.close()
    assert synced.is_set()
    log.close()


async def write_and_archive(root: Path, say: Callable[[str], object]) -> None:
    log = opened(root)
    for number in range(1, 9):
        await log.append(KEY, [said(f"m{number}")])
        say(f"{number}\n")
    for watermark in (5, 8):
        await log.archive_before(KEY, watermark)
        say(f"archived {watermark}\n")


def crashed(root: Path, fault: str) -> tuple[int, list[str]]:
    """Run it in a child with a fault, and return how the child ended and what it had said."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with in_place_of_the_system(with_fault(SYSTEM, fault)):
                asyncio.run(write_and_archive(root, lambda text: os.write(theirs, text.encode())))
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    with os.fdopen(ours) as said_so:
        lines = said_so.read().split("\n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), lines


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "unlink", "mkdir"])
def test_a_crash_at_any_system_call_loses_nothing_and_uses_no_number_twice(
    call: str, when: str, tmp_path: Path
) -> None:
    for number in range(1, 100):
        root = tmp_path / str(number)
        code, said_so = crashed(root, f"{when}:{call}:{number}")
        check_after_crash(root, said_so, f"{when}:{call}:{number}")
        if code == 0:
            assert number > 1
            return
        assert code == -9
    pytest.fail("it never came to an end")


def check_after_crash(root: Path, said_so: list[str], fault: str) -> None:
    accepted = max([int(line) for line in said_so if line.isdecimal()], default=0)
    promised = 8 if "archived 8" in said_so else 5 if "archived 5" in said_so else 0
    archived, rest = ordinals(old(root)), ordinals(live(root))
    every = archived + rest
    assert every == list(range(1, len(every) + 1)), fault
    assert len(every) in (accepted, accepted + 1), fault
    assert len(archived) >= promised, fault
    # Whoever comes next finishes what was begun.
    log = opened(root)
    assert append(log, len(every) + 1) == len(every) + 1, fault
    asyncio.run(log.archive_before(KEY, 100))
    assert ordinals(old(root)) == [*every, len(every) + 1], fault
    assert live(root) == [], fault
    log.close()
