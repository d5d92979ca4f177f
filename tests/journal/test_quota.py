"""The quota and a full disk: what is refused, waits or is evicted, and what makes room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.faults import with_calls
from tests.support.guarantees import FULL_DISK, PROPERTY, Row
from tests.support.limited_journals import (
    BLOCK,
    EVICT,
    UNSYNCED,
    age,
    dead_writer,
    deliver,
    fill,
    own_folder,
    size_of,
    total,
)
from tests.support.waiting import until
from wakelog.errors import JournalError, QuotaExceededError
from wakelog.journal import Books, Cursor, Journal, Space, read
from wakelog.journal import _deletions as deletions
from wakelog.journal._ledger import load, save
from wakelog.storage import segments

# The quota


def test_a_quota_used_up_by_undelivered_events_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    journal = Journal(tmp_path, space=Space(quota_bytes=100_000), fs=UNSYNCED)
    accepted = 0
    with pytest.raises(QuotaExceededError) as caught:  # noqa: PT012 - one of these it is
        while True:
            accepted += len(fill(journal, 1))
    with pytest.raises(QuotaExceededError):
        fill(journal, 1)

    assert 90_000 < size_of(tmp_path) <= 100_000
    error = caught.value
    assert error.quota == journal.disk_limit == 100_000
    assert error.used <= 100_000
    assert error.pending > 50_000
    for part in (str(tmp_path), "100,000", "not delivered yet", "quota_bytes", "evict_oldest"):
        assert part in str(error)
    assert total(tmp_path).pending == accepted

    # It recovers by itself: nobody calls anything but delivery.
    deliver(own_folder(journal))
    until(lambda: accepts(journal))
    assert size_of(tmp_path) <= 100_000
    journal.close()
    kept = total(tmp_path)
    assert (kept.accepted, kept.delivered) == (accepted + 1, accepted)


def accepts(journal: Journal) -> bool:
    try:
        fill(journal, 1)
    except QuotaExceededError:
        return False
    return True


def test_delivered_segments_of_anybody_go_before_anything_is_refused(tmp_path: Path) -> None:
    dead_writer(tmp_path, 100, delivered=True)
    pending = dead_writer(tmp_path, 20, delivered=False)
    journal = Journal(tmp_path, segment_bytes=4000, space=Space(quota_bytes=100_000), fs=UNSYNCED)
    delivered = 0
    for _ in range(60):
        fill(journal, 10)
        delivered += len(deliver(own_folder(journal)))

    assert size_of(tmp_path) <= 100_000
    assert len(deliver(pending, complete=True)) == 20
    journal.close()
    kept = total(tmp_path)
    assert (kept.accepted, kept.delivered, kept.corrupt) == (720, 720, 0)


def test_block_waits_until_delivery_has_made_room_and_holds_nobody_up(tmp_path: Path) -> None:
    space = Space(quota_bytes=60_000, quota_policy="block")
    journal = Journal(tmp_path, space=space, fs=UNSYNCED)
    accepted: list[str] = []
    done = threading.Event()

    def emit() -> None:
        for _ in range(300):
            accepted.extend(fill(journal, 1))
        done.set()

    threading.Thread(target=emit, daemon=True).start()
    until(lambda: journal.disk_usage > 58_000)
    before = len(accepted)
    assert not done.wait(0.2)
    assert len(accepted) < before + 10

    sent: list[str] = []
    while not done.is_set():
        sent += deliver(own_folder(journal))  # needs no lock that the blocked thread holds
        journal.clean_up()
    sent += deliver(own_folder(journal))
    assert sent == accepted
    assert size_of(tmp_path) <= 60_000
    journal.close()


def test_block_gives_up_after_its_time_out(tmp_path: Path) -> None:
    space = Space(quota_bytes=30_000, quota_policy=BLOCK, block_timeout=0.1)
    journal = Journal(tmp_path, space=space, fs=UNSYNCED)
    with pytest.raises(QuotaExceededError):
        fill(journal, 1000)
    journal.close()


def test_evict_oldest_deletes_the_oldest_undelivered_and_leaves_a_tombstone(tmp_path: Path) -> None:
    older = dead_writer(tmp_path, 20, delivered=False, segment_bytes=3000)
    age(older, 1)
    space = Space(quota_bytes=60_000, quota_policy=EVICT)
    journal = Journal(tmp_path, segment_bytes=3000, space=space, fs=UNSYNCED)
    ids: list[str] = []
    while not journal.evicted:
        ids += fill(journal, 1)
    assert segments(older)[0] == 2
    assert journal.evicted == {"quota": 8}
    [stone] = deletions.load(older).tombstones
    assert (stone.first_seq, stone.last_seq, stone.count, stone.reason) == (1, 8, 8, "quota")
    assert b'"tombstone":{"first_seq":1,"last_seq":8,"count":8,' in (older / "deleted").read_bytes()

    ids += fill(journal, 400)
    assert size_of(tmp_path) <= 60_000
    folder = own_folder(journal)
    sent = deliver(folder)
    assert sent == ids[-len(sent) :]  # the newest are there, without a gap
    journal.close()
    kept = total(tmp_path)
    assert kept.corrupt == kept.pending == 0
    assert kept.accepted == 20 + len(ids)
    assert kept.evicted == journal.evicted["quota"] == kept.accepted - len(sent)
    assert kept.delivered == len(sent)


@pytest.mark.parametrize("delivered", [0, 3, 7, 8])
def test_of_a_segment_delivered_in_part_only_the_rest_is_evicted(
    tmp_path: Path, delivered: int
) -> None:
    folder = dead_writer(tmp_path, 20, delivered=False, segment_bytes=3000)
    sent = deliver(folder, delivered, complete=True)
    journal = Journal(
        tmp_path,
        segment_bytes=3000,
        space=Space(quota_bytes=size_of(tmp_path) + 36_000, quota_policy=EVICT),
        fs=UNSYNCED,
    )
    while segments(folder)[:1] == [1]:
        fill(journal, 1)
    own = len(deliver(own_folder(journal)))
    while segments(folder):
        sent += deliver(folder, 1, complete=True)
        if load(folder, folder.name).seq == 20:
            break
    journal.close()

    kept = total(tmp_path)
    assert (kept.corrupt, kept.pending) == (0, 0)
    assert kept.delivered == own + len(sent)
    assert kept.evicted == 20 - len(sent)


def test_a_delivery_under_way_counts_what_was_evicted_beneath_it_and_nothing_twice(
    tmp_path: Path,
) -> None:
    space = Space(quota_bytes=40_000, quota_policy=EVICT)
    journal = Journal(tmp_path, segment_bytes=2000, space=space, fs=UNSYNCED)
    ids = fill(journal, 8)
    folder = own_folder(journal)
    cursor = Cursor(folder, load(folder, folder.name))
    chunk = cursor.read(3, 1 << 20)  # on its way; the ledger does not know yet
    while not journal.evicted:
        ids += fill(journal, 1)
    gone = deletions.load(folder).seq
    assert 3 < gone < 8
    assert total(tmp_path).evicted == gone

    save(folder, folder.name, chunk.mark, UNSYNCED)  # three of them have arrived after all
    kept = total(tmp_path)
    assert (kept.delivered, kept.evicted, kept.corrupt) == (3, gone - 3, 0)
    cursor.rewind(chunk.mark)
    rest = cursor.read(1000, 1 << 20)
    cursor.close()
    assert [entry.record.id for entry in rest.entries] == ids[gone:]
    save(folder, folder.name, rest.mark, UNSYNCED)
    kept = total(tmp_path)
    assert kept.delivered == len(ids) - (gone - 3)
    assert (kept.evicted, kept.corrupt) == (gone - 3, 0)
    journal.close()


def test_the_quota_counts_what_was_there_before_a_restart(tmp_path: Path) -> None:
    space = Space(quota_bytes=60_000)
    first = Journal(tmp_path, space=space, fs=UNSYNCED)
    with pytest.raises(QuotaExceededError):
        fill(first, 1000)
    first.close()
    second = Journal(tmp_path, space=space, fs=UNSYNCED)
    with pytest.raises(QuotaExceededError):
        fill(second, 1)
    second.close()
    assert size_of(tmp_path) <= 60_000


PROGRAM = """
import os, sys, time
from wakelog.errors import QuotaExceededError
from wakelog.journal import Journal, Space
from wakelog.record import Resource, encode, uuid7
journal = Journal(sys.argv[1], segment_bytes=5000,
                  space=Space(quota_bytes=250_000, quota_policy=sys.argv[2]))
resource = Resource({})
refused = accepted = 0
while accepted < 700 and (sys.argv[2] != "refuse" or refused < 3):
    try:
        journal.append(uuid7(), encode({"body": "x" * 300}, 1 << 20), resource)
        accepted += 1
    except QuotaExceededError:
        refused += 1
        time.sleep(0.01)
journal.close()
print(accepted, refused, sum(journal.evicted.values()))
"""


@pytest.mark.parametrize("policy", ["refuse", "evict_oldest"])
def test_two_processes_share_one_quota(tmp_path: Path, policy: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), policy], stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    figures = [tuple(map(int, line.split())) for line in said]

    # Each may have been granted the last few kilobytes before it saw the other's.
    assert size_of(tmp_path) <= 250_000 + 64 * 1024
    kept = total(tmp_path)
    assert kept.accepted == sum(accepted for accepted, _, _ in figures)
    assert kept.evicted == sum(evicted for _, _, evicted in figures)
    assert kept.corrupt == 0
    if policy == "refuse":
        assert [refused for _, refused, _ in figures] == [3, 3]
        assert kept.accepted > 300
    else:
        assert [accepted for accepted, _, _ in figures] == [700, 700]


# A full disk


class FullDisk:
    """A file system with so many bytes, which deleting makes free."""

    def __init__(self, root: Path, size: int) -> None:
        self.root, self.size = root, size
        self.fs = with_calls(UNSYNCED, write=self.write)
        self.refused = 0

    def write(self, fd: int, data: bytes) -> int:
        if size_of(self.root) + len(data) > self.size:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_without_one_free_byte_what_was_delivered_makes_room(tmp_path: Path, code: int) -> None:
    disk = FullDisk(tmp_path, 100_000)
    journal = Journal(tmp_path, segment_bytes=10_000, fs=disk.fs)
    ids = fill(journal, 100)
    sent = deliver(own_folder(journal), 60)
    disk.size = size_of(tmp_path)  # not one byte more

    ids += fill(journal, 1)
    assert disk.refused > 0
    assert size_of(tmp_path) <= disk.size
    sent += deliver(own_folder(journal))
    assert sent == ids
    journal.close()
    assert total(tmp_path) == Books(writer="total", live=False, accepted=101, delivered=101)


def test_on_a_full_disk_undelivered_events_go_only_where_the_policy_says_so(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path, 100_000)
    journal = Journal(tmp_path, segment_bytes=10_000, fs=disk.fs)
    with pytest.raises(JournalError, match=os.strerror(errno.ENOSPC)):
        fill(journal, 1000)
    refusing = total(tmp_path)
    journal.close()
    assert refusing.pending == refusing.accepted

    journal = Journal(tmp_path, segment_bytes=10_000, space=Space(quota_policy=EVICT), fs=disk.fs)
    ids = fill(journal, 50)
    journal.close()
    kept = total(tmp_path)
    assert (kept.accepted, kept.corrupt) == (refusing.accepted + 50, 0)
    assert kept.evicted == journal.evicted["disk_full"] > 0
    assert [entry.record.id for entry in read(tmp_path)][-50:] == ids


TMPFS = """
import os, subprocess, sys
from pathlib import Path
mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,nr_inodes=200", "none", sys.argv[1]])
if mounted.returncode:
    sys.exit(77)
from tests.journal.test_quota import check_on_a_small_disk
from tests.support.faults import with_calls
print(check_on_a_small_disk(Path(sys.argv[1]) / "journal"))
"""


def check_on_a_small_disk(root: Path) -> int:
    """Fill a disk of 400 KiB, see it refused, deliver, and see it go on; then evict.

    Returns:
        How many records were acknowledged, all of which are accounted for.
    """
    journal = Journal(root, segment_bytes=20_000, space=Space(quota_bytes=1 << 30))
    ids: list[str] = []
    sent: list[str] = []
    for _ in range(4):
        while accepts_on_disk(journal, ids):
            pass
        for name in ("more", "and more"):  # others fill what is left, to the last byte
            fill_up(root.parent / name)
        folder = own_folder(journal)
        cursor = Cursor(folder, load(folder, folder.name))
        while (chunk := cursor.read(50, 1 << 20)).entries:
            sent += [entry.record.id for entry in chunk.entries]
        assert sent == ids
        # Delivery tries again, and so does the program; nothing else has to be done.
        until(partial(goes_on, cursor, journal, ids))
        cursor.close()
        for name in ("more", "and more"):
            (root.parent / name).unlink()
    journal.close()
    assert total(root).corrupt == 0

    space = Space(quota_bytes=1 << 30, quota_policy=EVICT)
    journal = Journal(root, segment_bytes=20_000, space=space)
    more = [*fill(journal, 3000)]
    journal.close()
    kept = total(root)
    assert kept.corrupt == 0
    assert kept.accepted == len(ids) + len(more)
    assert kept.evicted == journal.evicted["disk_full"] > 1000
    assert [entry.record.id for entry in read(root)][-1] == more[-1]
    return kept.accepted


def fill_up(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)


def goes_on(cursor: Cursor, journal: Journal, ids: list[str]) -> bool:
    noted, accepted = notes_on_disk(cursor), accepts_on_disk(journal, ids)
    return noted and accepted


def notes_on_disk(cursor: Cursor) -> bool:
    try:
        save(cursor.folder, cursor.folder.name, cursor.mark)
    except JournalError as error:
        assert "No space left" in str(error)  # noqa: PT017 - it is tried again
        return False
    return True


def accepts_on_disk(journal: Journal, ids: list[str]) -> bool:
    try:
        ids += fill(journal, 1)
    except JournalError as error:
        assert "No space left" in str(error)  # noqa: PT017 - it ends the loop, too
        return False
    return True


def test_on_a_small_file_system_that_is_really_full(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting a small file system needs root and unshare")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", TMPFS, str(tmp_path)],
        capture_output=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )
    if done.returncode == 77 or done.stderr.startswith(b"unshare: "):
        pytest.skip(f"mounting is not permitted here: {done.stderr.decode().strip()}")
    assert done.returncode == 0, done.stderr.decode()
    acknowledged = int(done.stdout)
    tried = acknowledged + 4  # those that the full disk refused, once a round, at least
    record_property(PROPERTY, Row(FULL_DISK, "os_buffered", 5, tried, acknowledged, 0, 0))
