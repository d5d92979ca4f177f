"""Rotation, retention and sweeping: what is deleted, when, and what never is."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.limited_journals import (
    BLOCK,
    DAY,
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
from wakelog.errors import ConfigurationError
from wakelog.journal import Books, Folder, Journal, Mark, Rotation, Space, books, folders, read
from wakelog.journal import _deletions as deletions
from wakelog.journal._folder import lock_root
from wakelog.journal._ledger import load, save
from wakelog.record import uuid7
from wakelog.storage import segment_name, segments


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now


# Rotation


def test_a_segment_ends_with_the_first_record_after_its_time(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path, segment_age=60, clock=clock)
    fill(journal, 2)
    clock.now += 59
    fill(journal, 1)
    assert segments(own_folder(journal)) == [1]

    clock.now += 1
    assert segments(own_folder(journal)) == [1]  # never by a timer
    fill(journal, 2)
    assert segments(own_folder(journal)) == [1, 2]
    journal.close()
    assert len(list(read(tmp_path))) == 5


def test_a_clock_that_is_set_back_does_not_keep_a_segment_open(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path, segment_age=60, clock=clock)
    fill(journal, 1)
    clock.now -= 365 * DAY
    fill(journal, 1)

    assert segments(own_folder(journal)) == [1, 2]
    journal.close()


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "zone, began, ends",
    [
        ("UTC", "2026-11-21T23:59:59", "2026-11-22T00:00:00"),
        ("Asia/Kolkata", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        # A day of 23 hours and one of 25.
        ("Europe/Lisbon", "2026-03-29T00:30:00", "2026-03-30T00:00:00"),
        ("Europe/Lisbon", "2026-10-25T00:30:00", "2026-10-26T00:00:00"),
        # No midnight: the clocks go from 24:00 to 1:00. Two midnights: from 24:00 back to 23:00.
        ("America/Santiago", "2026-09-05T12:00:00", "2026-09-06T01:00:00"),
        ("America/Santiago", "2026-04-04T12:00:00", "2026-04-05T00:00:00"),
    ],
    indirect=["zone"],
)
def test_the_day_ends_at_local_midnight_also_when_the_clocks_change(
    zone: str, began: str, ends: str
) -> None:
    start = datetime.fromisoformat(began).replace(tzinfo=ZoneInfo(zone)).timestamp()
    ends_at = Rotation(at_midnight=True).ends_at(start)
    assert ends_at is not None

    assert datetime.fromtimestamp(ends_at, ZoneInfo(zone)).replace(tzinfo=None).isoformat() == ends
    before = datetime.fromtimestamp(ends_at - 1, ZoneInfo(zone))
    assert before.date().isoformat() == began[:10]


@pytest.mark.parametrize("zone", ["Europe/Berlin"], indirect=True)
def test_a_segment_ends_at_midnight(tmp_path: Path, zone: str) -> None:
    midnight = datetime(2026, 7, 1, tzinfo=ZoneInfo(zone)).timestamp()
    clock = Clock(midnight - 10)
    journal = Journal(tmp_path, rotate_at_midnight=True, clock=clock)
    fill(journal, 1)
    clock.now = midnight - 0.001
    fill(journal, 1)
    assert segments(own_folder(journal)) == [1]
    clock.now = midnight
    fill(journal, 1)

    assert segments(own_folder(journal)) == [1, 2]
    journal.close()


# Retention


def test_delivered_segments_are_kept_for_a_while_and_undelivered_ones_for_ever(
    tmp_path: Path,
) -> None:
    clock = Clock()
    journal = Journal(tmp_path, segment_bytes=1000, clock=clock, fs=UNSYNCED)
    fill(journal, 20)
    folder = own_folder(journal)
    before = segments(folder)
    deliver(folder, 10)
    reached = load(folder, folder.name).segment

    clock.now += 6.9 * DAY
    journal.clean_up()
    assert segments(folder) == before

    clock.now += 300 * DAY
    journal.clean_up()
    assert segments(folder) == [index for index in before if index >= reached]
    assert len(deliver(folder)) == 10
    journal.close()
    assert total(tmp_path).delivered == 20


def test_no_more_delivered_bytes_are_kept_than_asked_and_the_oldest_go_first(
    tmp_path: Path,
) -> None:
    older = dead_writer(tmp_path, 12, delivered=True)
    age(older, 1)
    newer = dead_writer(tmp_path, 12, delivered=True)
    one = (newer / segment_name(1)).stat().st_size
    journal = Journal(tmp_path, space=Space(retention_bytes=int(2.5 * one)), fs=UNSYNCED)
    journal.clean_up()

    assert list(folders(tmp_path)) == [newer]
    assert segments(newer) == [3, 4]
    assert total(tmp_path).delivered == 24


def test_a_deleted_or_old_ledger_beside_deleted_segments_costs_duplicates_and_no_gap(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, segment_bytes=1000, space=Space(retention_age=0), fs=UNSYNCED)
    ids = fill(journal, 20)
    folder = own_folder(journal)
    deliver(folder, 4)
    old = (folder / "ledger").read_bytes()
    deliver(folder, 9)
    age(folder, 1)
    journal.clean_up()
    assert segments(folder)[0] > 1

    for ledger in [None, b"", old, b'{"writer":"x"}']:
        (folder / "ledger").unlink()
        if ledger is not None:
            (folder / "ledger").write_bytes(ledger)
        assert total(tmp_path) == Books(writer="total", live=False, accepted=20, delivered=13)
        assert deliver(folder) == ids[13:]
        (folder / "ledger").write_bytes(old)
    journal.close()


def test_a_reader_from_the_beginning_passes_over_what_was_deleted(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1000, space=Space(retention_age=0), fs=UNSYNCED)
    fill(journal, 20)
    deliver(own_folder(journal), 13)
    age(tmp_path, 1)
    journal.clean_up()
    journal.close()

    entries = list(read(tmp_path))
    assert entries[-1].record.seq == 20
    assert 1 < entries[0].record.seq <= 13
    assert entries[-1].mark.corrupt == 0


@pytest.mark.parametrize("part", ["line", "tail"])
def test_what_is_damaged_or_cut_off_is_set_aside_before_its_segment_goes(
    tmp_path: Path, part: str
) -> None:
    folder = dead_writer(tmp_path, 4, delivered=False, segment_bytes=1 << 20)
    path = folder / segment_name(1)
    content = path.read_bytes()
    if part == "line":
        damaged = content.replace(b'"seq":2,', b'"seq":7,')
        aside, kept = folder / "00000001.damaged", damaged.split(b"\n")[2] + b"\n"
    else:
        damaged = content + b'{"id":"cut of'
        aside, kept = folder / "00000001.torn", b'{"id":"cut of'
    path.write_bytes(damaged)
    deliver(folder, complete=True)
    age(folder, 8)
    before = total(tmp_path)
    Journal(tmp_path, fs=UNSYNCED).clean_up()
    Journal(tmp_path, fs=UNSYNCED).clean_up()

    assert segments(folder) == []
    assert aside.read_bytes() == kept
    assert total(tmp_path) == before
    assert before.corrupt == (part == "line")


# Sweeping


def write_many(root: Path, count: int) -> None:
    """Leave many folders of writers that are gone and delivered, quickly: copies of one."""
    first = dead_writer(root, 2, delivered=True)
    # A header's checksum would no longer fit: only the ledger names its writer anew.
    text = {path.name: path.read_bytes() for path in first.iterdir() if path.name != "ledger"}
    mark = load(first, first.name)
    for _ in range(count - 1):
        name = uuid7()
        folder = root / name
        folder.mkdir()
        for file, content in text.items():
            (folder / file).write_bytes(content)
        save(folder, name, mark, UNSYNCED)


def test_a_program_that_is_started_again_and_again_leaves_no_more_folders_than_allowed(
    tmp_path: Path,
) -> None:
    write_many(tmp_path, 2000)
    journal = Journal(tmp_path, space=Space(retention_writers=100), fs=UNSYNCED)
    before = total(tmp_path)
    assert before.delivered == 4000

    journal.clean_up()
    assert len(list(folders(tmp_path))) == 100
    assert total(tmp_path) == before
    assert size_of(tmp_path) < 200_000

    journal = Journal(tmp_path, space=Space(retention_age=0), fs=UNSYNCED)
    age(tmp_path, 1)
    journal.clean_up()
    assert list(folders(tmp_path)) == []
    assert total(tmp_path) == before
    [swept] = books(tmp_path)
    assert swept.writer == "swept"


def test_each_start_sweeps_by_itself(tmp_path: Path) -> None:
    space = Space(retention_age=0)
    for _ in range(30):
        journal = Journal(tmp_path, space=space, fs=UNSYNCED)
        fill(journal, 1)
        folder = own_folder(journal)
        deliver(folder)
        journal.close()
        age(folder, 1)

    assert len(list(folders(tmp_path))) < 5
    assert total(tmp_path).delivered == 30


def test_folders_in_which_nothing_was_ever_written_go_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, fs=UNSYNCED)
    fill(journal, 1)
    for _ in range(3):
        Folder.create(tmp_path, uuid7()).release()
    alive = Folder.create(tmp_path, uuid7())

    journal.clean_up()
    assert set(folders(tmp_path)) == {own_folder(journal), alive.path}
    alive.release()
    journal.close()


def test_what_a_crashed_start_left_goes_and_what_a_start_is_making_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path, fs=UNSYNCED)
    making = Folder.create(tmp_path, "w")
    making.path.rename(tmp_path / ".w.new")
    for name in (".old.new", ".fresh.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    for name in (".wakelog.json.1", ".wakelog.json.2.new"):
        (tmp_path / name).write_text("")
    for path in tmp_path.iterdir():
        if "fresh" not in path.name:
            os.utime(path, (1, 1))

    journal.clean_up()
    assert {path.name for path in tmp_path.glob(".*")} == {".w.new", ".fresh.new"}
    making.release()


@pytest.mark.parametrize("name", ["00000001.torn", "00000001.damaged", "dead_letters.jsonl"])
def test_what_was_set_aside_is_never_deleted(tmp_path: Path, name: str) -> None:
    folder = dead_writer(tmp_path, 10, delivered=True)
    (folder / name).write_bytes(b"kept")
    age(folder, 100)
    for _ in range(3):
        space = Space(retention_age=0, retention_bytes=0, retention_writers=0, quota_bytes=1)
        Journal(tmp_path, space=space, fs=UNSYNCED).clean_up()

    assert (folder / name).read_bytes() == b"kept"
    assert segments(folder) == []
    assert total(tmp_path).delivered == 10


def test_a_folder_that_somebody_owns_is_left_alone(tmp_path: Path) -> None:
    path = dead_writer(tmp_path, 10, delivered=True)
    before = segments(path)
    owner = Folder.adopt(path)
    assert owner is not None
    age(path, 100)
    journal = Journal(tmp_path, fs=UNSYNCED)
    journal.clean_up()
    assert segments(path) == before

    owner.release()
    journal.clean_up()
    assert not path.exists()


def test_while_somebody_else_cleans_nobody_waits_for_long_and_nothing_fails(tmp_path: Path) -> None:
    path = dead_writer(tmp_path, 10, delivered=True)
    age(path, 100)
    lock = lock_root(tmp_path, 0)
    assert lock is not None
    journal = Journal(tmp_path, fs=UNSYNCED)
    fill(journal, 10)
    journal.clean_up()
    assert path.exists()

    lock.release()
    journal.clean_up()
    assert not path.exists()
    journal.close()


def test_threads_and_processes_that_clean_and_emit_at_once_lose_nothing(tmp_path: Path) -> None:
    space = Space(retention_age=0, quota_bytes=1 << 20)
    journals = [Journal(tmp_path, segment_bytes=600, space=space, fs=UNSYNCED) for _ in range(3)]
    sent: list[list[str]] = [[], [], []]
    ids: list[list[str]] = [[], [], []]
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(30):
                ids[number] += fill(journals[number], 5, 50)
                sent[number] += deliver(own_folder(journals[number]))
                journals[number].clean_up()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for journal in journals:
        journal.close()
    assert errors == []
    assert sent == ids
    kept = total(tmp_path)
    assert (kept.accepted, kept.delivered, kept.corrupt) == (450, 450, 0)


def test_a_child_forked_while_a_folder_is_being_cleaned_does_not_keep_its_lock(
    tmp_path: Path,
) -> None:
    path = dead_writer(tmp_path, 1, delivered=False)
    held = Folder.adopt(path)
    lock = lock_root(tmp_path, 0)
    assert held is not None
    assert lock is not None
    read_end, write_end = os.pipe()
    begun, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        os.write(begin, b"x")
        os.read(read_end, 1)  # lives on while the parent goes on
        os._exit(0)
    os.close(read_end)
    assert os.read(begun, 1) == b"x"
    os.close(begun)
    os.close(begin)
    held.release()
    lock.release()

    again, root = Folder.adopt(path), lock_root(tmp_path, 0)
    assert again is not None
    assert root is not None
    os.close(write_end)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    again.release()
    root.release()


def test_whoever_got_the_lock_of_a_folder_that_is_gone_has_not_adopted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dead_writer(tmp_path, 1, delivered=True)
    real = os.open

    def late(file: Any, *arguments: Any, **named: Any) -> int:
        monkeypatch.undo()
        fd = real(file, *arguments, **named)
        shutil.rmtree(path)
        return fd

    monkeypatch.setattr(os, "open", late)
    assert Folder.adopt(path) is None


# What is deleted on purpose is no failure of the disk


def test_deleting_a_delivered_segment_does_not_alarm_a_sync_that_is_due(tmp_path: Path) -> None:
    journal = Journal(
        tmp_path,
        durability="periodic",  # type: ignore[arg-type]
        sync_interval=3600,
        segment_bytes=1000,
        space=Space(retention_age=0),
        fs=UNSYNCED,
    )
    fill(journal, 20)
    deliver(own_folder(journal))
    age(tmp_path, 1)
    journal.clean_up()
    assert len(segments(own_folder(journal))) == 1

    journal.close()


# Settings


@pytest.mark.parametrize(
    "name, value",
    [
        ("quota_policy", "drop"),
        ("quota_bytes", 0),
        ("quota_bytes", -1),
        ("quota_bytes", "1 GB"),
        ("retention_age", float("nan")),
        ("retention_bytes", -1),
        ("block_timeout", -0.5),
        ("quota_bytes", float("inf")),
        ("retention_age", float("inf")),
        ("retention_bytes", float("inf")),
        ("block_timeout", 10**400),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_clear_error(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}="):
        Space(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_bytes", "max_age"])
def test_a_rotation_that_never_could_be_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Rotation(**{name: 0})  # type: ignore[arg-type]


def test_the_default_quota_is_ten_gibibytes_or_a_tenth_of_the_disk(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert Space().limit(tmp_path) == min(10 * 1024**3, disk.f_blocks * disk.f_frsize // 10)


def test_a_mark_before_the_first_record_stays_a_beginning() -> None:
    assert deletions.Deletion().after(Mark()) == Mark()


@pytest.mark.parametrize("through", ["argument", "environment"])
def test_configure_hands_every_setting_on(
    tmp_path: Path, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wakelog
    from wakelog.otel import _made as setup

    settings: dict[str, Any] = {}
    if through == "argument":
        settings["segment_bytes"] = 5000
        settings["segment_age"] = 60
        settings["rotate_at_midnight"] = True
        settings["space"] = Space(
            retention_age=None, retention_bytes=7, quota_bytes=10**6, quota_policy="block"
        )
    else:
        for name, value in {
            "SEGMENT_BYTES": "5000",
            "SEGMENT_AGE": "60",
            "ROTATE_AT_MIDNIGHT": "true",
            "RETENTION_AGE": "none",
            "RETENTION_BYTES": "7",
            "QUOTA_BYTES": "1000000",
            "QUOTA_POLICY": "block",
        }.items():
            monkeypatch.setenv(f"WAKELOG_{name}", value)
    wakelog.configure("a", directory=tmp_path, **settings)
    assert setup.made.processor is not None
    journal = setup.made.processor.journal

    assert vars(journal._rotation) == vars(Rotation(5000, 60, at_midnight=True))
    space = journal._quota._space
    assert (space.retention_age, space.retention_bytes, space.policy) == (None, 7, BLOCK)
    assert journal.disk_limit == 10**6
    wakelog.shutdown(0)


@pytest.mark.parametrize(
    "variable, value",
    [
        ("WAKELOG_QUOTA_BYTES", "10GB"),
        ("WAKELOG_QUOTA_BYTES", "0"),
        ("WAKELOG_QUOTA_POLICY", "drop"),
        ("WAKELOG_RETENTION_AGE", "-1"),
        ("WAKELOG_QUOTA_BYTES", "inf"),
        ("WAKELOG_QUOTA_BYTES", "1e400"),
        ("WAKELOG_BLOCK_TIMEOUT", "soon"),
        ("WAKELOG_SEGMENT_BYTES", "0"),
        ("WAKELOG_SEGMENT_AGE", "x"),
        ("WAKELOG_ROTATE_AT_MIDNIGHT", "yes"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_clear_error(
    tmp_path: Path, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wakelog

    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable}="):
        wakelog.configure("a", directory=tmp_path)
    wakelog.shutdown(0)


def test_space_beside_a_logger_provider_is_refused() -> None:
    from opentelemetry.sdk._logs import LoggerProvider

    import wakelog

    with pytest.raises(ConfigurationError, match="space cannot be set beside logger_provider"):
        wakelog.configure("a", space=Space(), logger_provider=LoggerProvider())


def test_the_processor_and_status_know_the_quota(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from wakelog.cli import main
    from wakelog.otel import DurableLogRecordProcessor

    space = Space(quota_bytes=50_000, quota_policy=EVICT)
    processor = DurableLogRecordProcessor(
        None, directory=tmp_path, segment_age=3600, rotate_at_midnight=True, space=space
    )
    fill(processor.journal, 200)
    processor.shutdown()

    assert main(["status", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["quota_bytes"] == 50_000
    assert 0 < data["bytes"] == size_of(tmp_path) <= 50_000
    assert data["total"]["evicted"] == processor.journal.evicted["quota"] > 0
    assert data["balances"] is True


def test_status_and_tail_live_with_folders_that_are_swept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from wakelog.cli import main
    from wakelog.cli._follow import FollowedDirectory

    first = dead_writer(tmp_path, 3, delivered=True)
    followed = FollowedDirectory(tmp_path, from_start=True)
    assert len(followed.read()) == 3
    age(first, 30)
    Journal(tmp_path, fs=UNSYNCED).clean_up()
    assert not first.exists()
    dead_writer(tmp_path, 2, delivered=False)

    assert len(followed.read()) == 2
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "swept" in said
    assert "accepted 5 = delivered 3 + pending 2" in said
