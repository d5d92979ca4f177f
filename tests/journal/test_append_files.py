"""Everything that appends to files under the faults that the journal has: gateway, audit, dead letters, …"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.appending import APPENDERS, Appender, in_place_of_the_system
from tests.support.faults import with_calls, with_fault
from tests.support.guarantees import APPENDING, PROPERTY, Row
from tests.support.power import Power, put
from wakelog.errors import WakelogError
from wakelog.journal import Durability, _reserve
from wakelog.journal._quota import Quota
from wakelog.runtime._filesystem import FileSystem

# What the disk does is the matter of the tests of power.
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)
OPERATIONS = ["open", "write", "fdatasync", "fsync", "mkdir", "rename"]
COUNT = 3
LIMIT = 3  # disks tried for each operation


@pytest.fixture
def _without_files_that_recovery_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reserve, "keep", lambda *_, **__: True)
    monkeypatch.setattr(Quota, "_say_settings", lambda _: None)
    # In the order of the calls here, and not of a thread's.
    monkeypatch.setattr(Quota, "_clean_soon", lambda _: None)


every_appender = pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=name) for name, kind in APPENDERS.items()]
)


def name(number: int) -> str:
    return f"name-{number}"


def fault_of(which: str, kind: type[Appender]) -> str:
    return APPENDING[which].format(next(n for n, one in APPENDERS.items() if one is kind))


def append_and_say(kind: type[Appender], root: Path, fault: str) -> tuple[bool, int]:
    """Append in a forked child with a fault; return whether it was killed, and how many it had accepted."""
    reading, pipe = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with in_place_of_the_system(with_fault(UNSYNCED, fault)):
                appender = kind(root, Durability.FSYNC)
                for number in range(COUNT):
                    appender.append(name(number))
                    os.write(pipe, b".")
                appender.close()
            code = 0
        finally:
            os._exit(code)
    os.close(pipe)
    with os.fdopen(reading, "rb") as said:
        acknowledged = len(said.read())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0, acknowledged


def goes_on(kind: type[Appender], root: Path, acknowledged: list[str], tried: list[str]) -> None:
    """See that what was accepted is there, and that whoever comes next appends behind it."""
    found = kind.found(root)
    assert set(acknowledged) <= set(found) <= set(tried)
    with in_place_of_the_system(UNSYNCED):
        appender = kind(root, Durability.OS_BUFFERED)
        for later in ("later-1", "later-2"):
            appender.append(later)
        appender.close()
    again = kind.found(root)
    assert [one for one in again if not one.startswith("later")] == found
    assert [one for one in again if one.startswith("later")] == ["later-1", "later-2"]


@every_appender
def test_a_kill_before_and_after_every_system_call_loses_nothing_accepted(
    kind: type[Appender], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kills = 0
    for operation, when in itertools.product(OPERATIONS, ("before", "after")):
        for number in itertools.count(1):
            root = tmp_path / f"{operation}-{when}-{number}"
            root.mkdir(mode=0o700)
            killed, acknowledged = append_and_say(kind, root, f"{when}:{operation}:{number}")
            if not killed:
                break
            kills += 1
            names = [name(n) for n in range(COUNT)]
            goes_on(kind, root, names[:acknowledged], names[: acknowledged + 1])
            shutil.rmtree(root)
            tried = min(acknowledged + 1, COUNT)
            row = Row(fault_of("kill", kind), "fsync", 1, tried, acknowledged, 0, 0)
            record_property(PROPERTY, row)
    assert kills > 10


def accepted(kind: type[Appender], root: Path, fs: FileSystem) -> tuple[list[str], list[str]]:
    """Append until so many were accepted; return the names of those, and of all that were tried."""
    acknowledged: list[str] = []
    tried: list[str] = []
    appender: Appender | None = None
    with in_place_of_the_system(fs):
        while len(acknowledged) < COUNT and len(tried) < COUNT + 3:
            tried.append(name(len(tried)))
            with suppress(WakelogError):
                appender = appender or kind(root, Durability.FSYNC)
                appender.append(tried[-1])
                acknowledged.append(tried[-1])
        if appender is not None:
            with suppress(WakelogError):  # a document cannot be completed
                appender.close()
    return acknowledged, tried


@every_appender
@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"])
def test_an_error_of_any_system_call_is_raised_or_answered_and_nothing_accepted_is_lost(
    kind: type[Appender], code: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for operation in ("open", "write", "fdatasync", "rename"):
        for number in itertools.count(1):
            root = tmp_path / f"{operation}-{number}"
            root.mkdir(mode=0o700)
            fs = with_fault(UNSYNCED, f"error:{operation}:{number}:{code}")
            calls: list[object] = []
            fs = with_calls(fs, **{operation: counted(getattr(fs, operation), calls)})
            acknowledged, tried = accepted(kind, root, fs)
            if len(calls) < number:
                break
            assert len(acknowledged) == COUNT
            goes_on(kind, root, acknowledged, tried)
            found = [one for one in kind.found(root) if one in acknowledged]
            assert list(dict.fromkeys(found)) == acknowledged
            twice = len(found) - len(acknowledged)
            row = Row(fault_of("error", kind), "fsync", 1, len(tried), COUNT, 0, twice)
            record_property(PROPERTY, row)
        assert operation == "rename" or number > 1


def counted(call: Callable[..., Any], calls: list[object]) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return call(*arguments, **named)

    return counting


@every_appender
def test_of_a_disk_that_takes_a_part_of_a_write_and_then_is_full_nothing_accepted_is_lost(
    kind: type[Appender], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for number in itertools.count(1):
        calls = itertools.count(1)
        full = False

        def write(fd: int, data: bytes, calls: Any = calls, number: int = number) -> int:
            nonlocal full
            call = next(calls)
            if full and call == number + 1:
                raise OSError(28, "No space left on device")
            full = call == number
            return os.write(fd, data[: len(data) // 2] if full else data)

        root = tmp_path / str(number)
        root.mkdir(mode=0o700)
        acknowledged, tried = accepted(kind, root, with_calls(UNSYNCED, write=write))
        if next(calls) <= number:
            assert number > COUNT
            return
        assert len(acknowledged) == COUNT
        goes_on(kind, root, acknowledged, tried)
        row = Row(fault_of("short", kind), "fsync", 1, len(tried), COUNT, 0, 0)
        record_property(PROPERTY, row)


# The journal's own answer, which blobs and streams have, is tried once here and more in test_power_loss.py.
WITH_SYNC_ERRORS = [
    pytest.param(kind, errors, id=f"{name}-{''.join('-x'[code > 0] for code in errors) or 'all'}")
    for name, kind in APPENDERS.items()
    for errors in ([], [0, 5], [0, 5, 5])
    if name not in ("blobs", "erasable content", "streams") or len(errors) != 2
]


@pytest.mark.usefixtures("_without_files_that_recovery_does_not_read")
@pytest.mark.parametrize("kind, errors", WITH_SYNC_ERRORS)
def test_a_power_failure_after_any_operation_costs_nothing_accepted(
    kind: type[Appender],
    errors: list[int],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    base = tmp_path / "before"
    base.mkdir(mode=0o700)
    root = "new/root" if kind.makes_root and not errors else "root"
    if not kind.makes_root or errors:
        (base / root).mkdir(mode=0o700)
    power = Power(base)
    power.sync_errors = list(errors)
    with in_place_of_the_system(power.fs):
        appender = kind(base / root, Durability.FSYNC)
        for number in range(COUNT):
            power.say("tried", name(number))
            with suppress(WakelogError):
                appender.append(name(number))
                power.say("fsync", name(number))
        appender.close()

    disks = acknowledged = tried = 0
    for said, disk in power.failures(seed=1, limit=LIMIT):
        where = put(disk, tmp_path / str(disks))
        if said["fsync"] or (where / root).exists():
            goes_on(kind, where / root, said["fsync"], said["tried"])
        shutil.rmtree(where)
        disks += 1
        tried, acknowledged = tried + len(said["tried"]), acknowledged + len(said["fsync"])
    assert disks > COUNT
    fault = fault_of("power_sync" if errors else "power", kind)
    record_property(PROPERTY, Row(fault, "fsync", disks, tried, acknowledged, 0, 0))
