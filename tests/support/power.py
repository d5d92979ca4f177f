"""What a disk may hold after the power failed: everything that the syncs so far allow.

What was synced is there. A write that was not may be missing, cut at any byte, or be there although
an earlier one is missing, with zeros in its place. A name that no sync of its directory covered may
be missing or there. What a sync that failed should have written stays in doubt for good.
"""

from __future__ import annotations

import enum
import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wakelog.runtime._filesystem import FileSystem

Image = tuple[tuple[str, bytes | None], ...]
"""A disk: paths, parents first, each with a file's content or None for a directory."""
Choose = Callable[[int], int]
"""Picks one of so many possibilities."""


class State(enum.Enum):
    """Whether a write is on the disk."""

    PENDING = enum.auto()
    DOUBTFUL = enum.auto()
    SYNCED = enum.auto()


@dataclass(eq=False, slots=True)
class Write:
    """Bytes that were written to a file, and where."""

    data: bytes
    at: int = 0
    state: State = State.PENDING

    @property
    def end(self) -> int:
        return self.at + len(self.data)


@dataclass(eq=False, slots=True)
class File:
    """A file: what was appended to it, and written over its end."""

    writes: list[Write] = field(default_factory=list)

    def sync(self, state: State = State.SYNCED) -> None:
        for write in self.writes:
            if write.state is State.PENDING:
                write.state = state

    def contents(self) -> list[bytes]:
        """Return what may be in the file: the extremes, and one cut of what is not synced."""
        unsynced = [n for n, write in enumerate(self.writes) if write.state is not State.SYNCED]
        everything = [len(write.data) for write in self.writes]
        if not unsynced:
            return [self.content(everything)]
        first = unsynced[0]
        lost = [0 if n in unsynced else size for n, size in enumerate(everything)]
        half = [everything[n] // 2 if n == first else size for n, size in enumerate(lost)]
        late = [0 if n == first else size for n, size in enumerate(everything)]
        found = [self.content(kept) for kept in (everything, lost, half, late)]
        return list(dict.fromkeys([*found, self.content(lost, whole_length=True)]))

    def cuts(self) -> Iterator[bytes]:
        """Return what is in the file when it ends at each byte that is not synced."""
        content = self.content([len(write.data) for write in self.writes])
        unsynced = [n for n, write in enumerate(self.writes) if write.state is not State.SYNCED]
        if any(write.state is State.DOUBTFUL for write in self.writes):
            return
        if any(write.at != before.end for before, write in itertools.pairwise(self.writes)):
            for n in unsynced[:1]:  # it is written over what is there
                kept = [len(write.data) if m < n else 0 for m, write in enumerate(self.writes)]
                for size in range(len(self.writes[n].data)):
                    yield self.content([*kept[:n], size, *kept[n + 1 :]])
            return
        synced = sum(len(write.data) for write in self.writes if write.state is State.SYNCED)
        yield from (content[:size] for size in range(synced, len(content)))

    def content(self, kept: list[int], *, whole_length: bool = False) -> bytes:
        """Return the content when of each write only so many bytes were kept."""
        found = bytearray()
        for write, size in zip(self.writes, kept, strict=True):
            if size:
                end = write.at + size
                found += bytes(max(0, end - len(found)))  # what is missing before it are zeros
                found[write.at : end] = write.data[:size]
        if whole_length:
            found += bytes(max((write.end for write in self.writes), default=0) - len(found))
        return bytes(found)


@dataclass(frozen=True, slots=True)
class Change:
    """A name that was given to a file or directory, and the one that it had before."""

    name: str
    node: File | Directory | None
    before: str | None = None


@dataclass(eq=False, slots=True)
class Directory:
    """A directory: the names that are on the disk, and the changes that need not be."""

    names: dict[str, File | Directory] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        self.names, self.pending = self.listing(lambda _: 1), []

    def listing(self, choose: Choose) -> dict[str, File | Directory]:
        """Return the names after some of the changes."""
        names = dict(self.names)
        for change in self.pending:
            if not choose(2):
                continue
            if change.before is not None:
                names.pop(change.before, None)
            names.pop(change.name, None)
            if change.node is not None:
                names[change.name] = change.node
        return names


class Power:
    """Performs and records what a journal asks of the file system, until the power fails.

    Args:
        base: The directory in which everything happens. What is in it now is on the disk.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.sync_errors: list[int] = []  # 0 lets a sync succeed
        self._tree = Directory()
        self._nodes: dict[int, File | Directory] = {}
        self._steps: list[Callable[[], None] | tuple[str, str]] = []
        self._find(base, self._tree)
        self.fs = FileSystem(
            open=self._open,
            write=self._write,
            fdatasync=self._fdatasync,
            fsync=self._fsync,
            mkdir=self._mkdir,
            rename=self._rename,
            unlink=self._unlink,
            rmdir=self._unlink,
        )

    def say(self, word: str, record_id: str) -> None:
        """Note what the program was told, between two operations."""
        self._steps.append((word, record_id))

    def failures(self, seed: int, limit: int) -> Iterator[tuple[dict[str, list[str]], Image]]:
        """Fail the power after each operation.

        Args:
            seed: Decides which disks are taken where there are more than the limit.
            limit: The most disks for each operation.

        Yields:
            What had been said, by word, and a disk. No pair comes twice.
        """
        chance = random.Random(seed)
        said: dict[str, list[str]] = {"tried": [], "fsync": [], "buffered": [], "sent": []}
        seen: set[Image] = set()
        for step, following in itertools.pairwise([*self._steps, lambda: None]):
            if isinstance(step, tuple):
                said[step[0]].append(step[1])
                if step[0] in ("fsync", "sent"):
                    seen.clear()
            else:
                step()
            if isinstance(following, tuple):
                continue
            disks = list(dict.fromkeys(self._disks(chance, limit)))
            for disk in chance.sample(disks, limit) if len(disks) > limit else disks:
                if disk not in seen:
                    seen.add(disk)
                    yield {word: list(ids) for word, ids in said.items()}, disk

    def states(self, path: Path) -> list[State]:
        """Play everything back, and tell which writes to a file are on the disk."""
        for step in self._steps:
            if not isinstance(step, tuple):
                step()
        node = self._nodes[path.stat().st_ino]
        assert isinstance(node, File)
        return [write.state for write in node.writes]

    def _disks(self, chance: random.Random, limit: int) -> Iterator[Image]:
        systematic = list(itertools.islice(_every(self._tree), 8 * limit + 1))
        if len(systematic) <= 8 * limit:
            yield from systematic
        else:
            yield from (_image(self._tree, chance.randrange) for _ in range(limit))
        yield from _every_cut(self._tree)

    def _find(self, path: Path, node: Directory) -> None:
        self._nodes[path.stat().st_ino] = node
        for entry in path.iterdir():
            if entry.is_dir():
                child = node.names[entry.name] = Directory()
                self._find(entry, child)
            else:
                file = node.names[entry.name] = File([Write(entry.read_bytes(), 0, State.SYNCED)])
                self._nodes[entry.stat().st_ino] = file

    def _directory(self, path: Path) -> Directory:
        """Return a directory, which may have been made without our knowing."""
        node = self._nodes.get(path.stat().st_ino)
        if not isinstance(node, Directory):  # a number may have been a file's
            node = Directory()
            self._named(path, node)
        assert isinstance(node, Directory)
        return node

    def _file(self, fd: int) -> File:
        node = self._nodes[os.fstat(fd).st_ino]
        assert isinstance(node, File)
        return node

    def _named(self, path: Path, node: File | Directory) -> None:
        parent = self._directory(path.parent)
        self._nodes[path.stat().st_ino] = node
        self._steps.append(lambda: parent.pending.append(Change(path.name, node)))

    def _open(self, path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        new = not os.path.lexists(path)
        fd = os.open(path, flags, mode)
        if new:
            self._named(Path(path), File())
        elif flags & os.O_TRUNC:
            self._steps.append(self._file(fd).writes.clear)
        return fd

    def _write(self, fd: int, data: bytes) -> int:
        file = self._file(fd)
        written = os.write(fd, data)
        at = os.lseek(fd, 0, os.SEEK_CUR) - written
        self._steps.append(lambda: file.writes.append(Write(data[:written], at)))
        return written

    def _fdatasync(self, fd: int) -> None:
        file = self._file(fd)
        code = self.sync_errors.pop(0) if self.sync_errors else 0
        if code:
            self._steps.append(lambda: file.sync(State.DOUBTFUL))
            raise OSError(code, os.strerror(code))
        os.fsync(fd)
        self._steps.append(file.sync)

    def _fsync(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        node = self._nodes.get(os.fstat(fd).st_ino)
        if path.is_dir() and path.is_relative_to(self.base):
            node = self._directory(path)
            for entry in path.iterdir():  # what was made without our knowing
                if entry.is_dir():
                    self._directory(entry)
        if node is not None:  # else it is above the base
            os.fsync(fd)
            self._steps.append(node.sync)

    def _mkdir(self, path: str | os.PathLike[str], mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        self._named(Path(path), Directory())

    def _rename(self, before: str | os.PathLike[str], after: str | os.PathLike[str]) -> None:
        old, new = Path(before), Path(after)
        assert old.parent == new.parent
        os.rename(old, new)
        parent, node = self._directory(new.parent), self._nodes[new.stat().st_ino]
        self._steps.append(lambda: parent.pending.append(Change(new.name, node, old.name)))

    def _unlink(self, path: str | os.PathLike[str]) -> None:
        gone = Path(path)
        (os.rmdir if gone.is_dir() else os.unlink)(gone)
        parent = self._directory(gone.parent)
        self._steps.append(lambda: parent.pending.append(Change(gone.name, None)))


def put(disk: Image, where: Path) -> Path:
    """Make a new directory that holds what a disk holds."""
    where.mkdir(mode=0o700)
    for name, content in disk:
        if content is None:
            (where / name).mkdir(mode=0o700)
        else:
            (where / name).write_bytes(content)
    return where


def _image(tree: Directory, choose: Choose, *, whole: bool = False) -> Image:
    def walk(directory: Directory, prefix: str) -> Iterator[tuple[str, bytes | None]]:
        for name, node in directory.listing(choose).items():
            if isinstance(node, Directory):
                yield prefix + name, None
                yield from walk(node, f"{prefix}{name}/")
            else:
                contents = node.contents()  # the first is everything
                several = len(contents) > 1 and not whole
                yield prefix + name, contents[choose(len(contents)) if several else 0]

    return tuple(walk(tree, ""))


def _every(tree: Directory) -> Iterator[Image]:
    """Build a disk for every combination of choices, as an odometer counts."""
    beginning: list[int] = []
    while True:
        taken: list[tuple[int, int]] = []

        def choose(
            count: int, taken: list[tuple[int, int]] = taken, given: list[int] = beginning
        ) -> int:
            choice = given[len(taken)] if len(taken) < len(given) else 0
            taken.append((choice, count))
            return choice

        yield _image(tree, choose)
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return
        beginning = [choice for choice, _ in taken]
        beginning[-1] += 1


def _every_cut(tree: Directory) -> Iterator[Image]:
    """Cut each file at each byte that is not synced, all names and other writes being there."""

    def files(directory: Directory, prefix: str) -> Iterator[tuple[str, File]]:
        for name, node in directory.listing(lambda _: 1).items():
            if isinstance(node, File):
                yield prefix + name, node
            else:
                yield from files(node, f"{prefix}{name}/")

    whole = _image(tree, lambda _: 1, whole=True)
    for name, file in files(tree, ""):
        for content in file.cuts():
            yield tuple((path, content if path == name else kept) for path, kept in whole)
