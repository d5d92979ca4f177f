"""A lock that cannot be taken is told from one that another holds, and from one that nobody knows."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from wakelog.runtime import FileLock, ForeignFileError, is_locked

HOLDER = """
import sys
from wakelog.runtime import FileLock
lock = FileLock.take(sys.argv[1], create=True)
print("held" if lock else "busy", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """Returns a file that another process has locked, and the process."""
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield path, process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_lock_has_one_holder_and_ends_with_its_process(held):
    path, process = held

    assert is_locked(path) is True
    assert FileLock.take(path) is None
    process.kill()
    process.wait()

    assert is_locked(path) is False
    lock = FileLock.take(path)
    assert lock is not None
    assert is_locked(path) is True
    lock.release()
    lock.release()
    assert is_locked(path) is False


def test_a_wait_for_a_lock_ends_when_it_comes_free(held):
    path, process = held
    process.stdin.close()

    lock = FileLock.take(path, timeout=30)

    assert lock is not None
    lock.release()


def test_a_directory_can_be_locked(tmp_path):
    lock = FileLock.take(tmp_path)

    assert lock is not None
    assert FileLock.take(tmp_path) is None
    lock.release()


def test_asking_needs_no_right_to_write(held):
    path, _ = held
    path.chmod(0o400)

    assert is_locked(path) is True


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_lock_that_cannot_be_opened_is_neither_held_nor_free(tmp_path, monkeypatch, code):
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("wakelog.runtime._locks.os.open", refuse)

    assert is_locked(tmp_path / "lock") is None
    with pytest.raises(OSError, match=os.strerror(code)):
        FileLock.take(tmp_path / "lock")


def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    assert is_locked(path) is None
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        FileLock.take(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_or_a_pipe_in_the_place_of_a_lock_stops_nobody(tmp_path):
    elsewhere, link, pipe = tmp_path / "elsewhere", tmp_path / "link", tmp_path / "pipe"
    elsewhere.touch()
    link.symlink_to(elsewhere)
    os.mkfifo(pipe)

    assert is_locked(link) is None
    for foreign in (link, pipe):
        with pytest.raises(ForeignFileError, match="it is a link or not a regular file"):
            FileLock.take(foreign)
    assert is_locked(pipe) is not True


def test_no_file_is_not_locked(tmp_path):
    assert is_locked(tmp_path / "none") is False
    with pytest.raises(FileNotFoundError):
        FileLock.take(tmp_path / "none")


def test_a_forked_child_holds_none_of_its_parents_locks(tmp_path):
    path = tmp_path / "lock"
    lock = FileLock.take(path, create=True)
    assert lock is not None
    (begun, begins), (ended, ends) = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        os.close(ends)
        os.write(begins, b"!")
        os.read(ended, 1)  # lives until the parent has looked
        os._exit(0)
    os.read(begun, 1)

    assert is_locked(path) is True  # the parent's lock is not given up by the child's reset
    lock.release()
    assert is_locked(path) is False

    for descriptor in (begun, begins, ended, ends):
        os.close(descriptor)
    os.waitpid(child, 0)
