"""Erasing content: it is overwritten on its lines, which stay valid, and the erasure is signed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from wakelog.errors import JournalError
from wakelog.events import semconv as s
from wakelog.evidence._keys import Signer
from wakelog.evidence._scan import lines_between
from wakelog.evidence._seal import ERASURE
from wakelog.evidence._seal_file import SealFile
from wakelog.evidence._sealing import Extent
from wakelog.evidence._selection import Matches, SelectedLines
from wakelog.journal import DeliveryLock, folders, is_owned, load_ledger, owner_of
from wakelog.record import (
    ERASED,
    SALTED,
    SMALLEST_PART,
    SPANS,
    attributes_on,
    digest_of,
    erased_digest,
    erased_part,
    is_cut_in_content,
    put_content_back,
    read_fields,
    references,
    salted_part,
    seal_fields,
)
from wakelog.runtime import (
    SYSTEM,
    ForeignFileError,
    is_directory,
    list_regular,
    open_file,
    open_to_read,
    regular_file,
)
from wakelog.storage import (
    ERASING,
    INDEX,
    LONGEST_BLOCK,
    Overwriting,
    blob_folder,
    end_of_lines,
    finish,
    lines,
    overwrite,
    read_again,
    segment_name,
    segments,
    write_whole_lines,
)

_DEAD_LETTERS = "dead_letters.jsonl"
_DAMAGED_SUFFIXES = (".torn", ".damaged")


@dataclass(frozen=True, slots=True)
class ErasedRecord:
    """A record whose content was or would be erased.

    Attributes:
        writer: The name of its folder.
        id: The record's id.
        seq: The record's number.
        time: The record's time, as on the line.
        exported: Whether the next hop has accepted it, and may therefore have the content.
        destination: The name of the destination, or None if unknown.
    """

    writer: str
    id: str
    seq: int
    time: str | None
    exported: bool
    destination: str | None


@dataclass(slots=True)
class Erasure:
    """The result of an erasure, or of a dry run.

    Attributes:
        records: The records whose content was erased.
        values: The number of erased values.
        dead_letters: The number of dead letters whose content was erased.
        damaged: The number of deleted lines that were damaged or torn and name the person.
        inline: Records whose content stays, because it was recorded without ``erasable`` and is on
            their line or in a file with other records.
        busy: Folders whose dead letters stay, because a running process is delivering them.
    """

    records: list[ErasedRecord] = field(default_factory=list)
    values: int = 0
    dead_letters: int = 0
    damaged: int = 0
    inline: list[ErasedRecord] = field(default_factory=list)
    busy: list[Path] = field(default_factory=list)


@dataclass(slots=True)
class _Place:
    """What to erase of one segment: the salted parts by offset and size, and the blobs' names."""

    parts: list[tuple[int, int]] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Found:
    """A folder's matches: the records, the places by segment, and the digests of the content."""

    places: dict[int, _Place] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    records: list[ErasedRecord] = field(default_factory=list)
    inline: list[ErasedRecord] = field(default_factory=list)
    damaged: int = 0


def erase(
    root: Path,
    matches: Matches,
    words: tuple[str, ...],
    signer: Signer,
    reason: str,
    *,
    apply: bool,
) -> Erasure:
    """Delete the content of records, and sign for each folder that it was deleted on purpose.

    The signature comes first. After a crash, a second run deletes the remaining content, and none
    is missing without a signed reason.

    Args:
        root: The journal's directory.
        matches: Selects the records by their attributes.
        words: Texts that identify the person. Damaged lines that contain one of them are deleted.
        signer: Signs the erasure.
        reason: The reason, for the signed line.
        apply: Whether to erase, and not only to return what would be erased.

    Raises:
        JournalError: If reading, writing or signing fails.
    """
    result = Erasure()
    wanted = [orjson.dumps(word)[1:-1] for word in words if word]
    selection = _selection(root, matches)
    for folder in folders(root):
        found = _find(folder, selection, wanted)
        result.records += found.records
        result.inline += found.inline
        result.values += len(found.digests)
        result.damaged += found.damaged
        if apply and (found.digests or regular_file(folder / ERASING) is not None):
            _delete(folder, found, signer, reason)
        _erase_dead_letters(folder, selection, result, apply=apply)
        _erase_damaged(folder, wanted, result, apply=apply)
    if apply and (result.records or result.dead_letters):
        _forget_index(root)
    return result


def _selection(root: Path, matches: Matches) -> SelectedLines:
    """Select by attributes, and first find the spans, whose lines may be in several folders."""
    selection = SelectedLines(matches)
    for folder in folders(root):
        owner = owner_of(folder)
        if owner is not None and owner.signal != SPANS:
            continue
        for index in segments(folder, missing_ok=True):
            path = folder / segment_name(index)
            for _, line in _lines_of(path):
                if (data := _record(line)) is not None:
                    if SALTED in data:
                        put_content_back(data)
                    selection.note_span(data, path)
    return selection


def _find(folder: Path, selection: SelectedLines, wanted: Sequence[bytes]) -> _Found:
    found = _Found()
    owner = owner_of(folder)
    destination = owner.destination if owner is not None else None
    delivered = load_ledger(folder, folder.name).seq
    for index in segments(folder, missing_ok=True):
        path = folder / segment_name(index)
        place = _Place()
        mine: list[tuple[ErasedRecord, str, set[str]]] = []
        others: set[str] = set()
        for offset, line in _lines_of(path):
            part = _part_with_content(line)
            data = _record(line)
            if data is None:
                # Damage has made it unreadable, but not necessarily moved the part.
                if part is not None and any(word in line for word in wanted):
                    found.damaged += 1
                    found.digests.add(digest_of(line[part]))
                    place.parts.append((offset + part.start, part.stop - part.start))
                continue
            stays = _has_content(data)
            if SALTED in data:
                put_content_back(data)
            blobs = {str(one.get("sha256")) for one in references(data)}
            if not selection.includes(data, path):
                others |= blobs
                continue
            seq = int(data.get("seq", 0))
            record = ErasedRecord(
                folder.name,
                str(data["id"]),
                seq,
                data.get("timestamp"),
                seq <= delivered,
                destination,
            )
            there = {digest for digest in blobs if _is_there(blob_folder(path), digest)}
            if part is not None:
                place.parts.append((offset + part.start, part.stop - part.start))
            if part is not None or there:
                mine.append((record, "" if part is None else digest_of(line[part]), there))
            if stays:
                found.inline.append(record)
        for record, digest, there in mine:
            going = there - others
            place.blobs |= going
            found.digests |= going | ({digest} if digest else set())
            (found.records if digest or going else found.inline).append(record)
        if place.parts or place.blobs:
            found.places[index] = place
    return found


def _part_with_content(line: bytes) -> slice | None:
    """Return the place of a line's salted part, if it has one with content."""
    part = salted_part(line)
    if part is None or part.stop - part.start < SMALLEST_PART:
        return None
    return part if erased_digest(line[part]) is None else None


def _has_content(data: dict[str, Any]) -> bool:
    """Tell whether a line has content outside its salted part, which cannot be removed from it."""
    attributes = attributes_on(data)
    held = [form for name, form in attributes.items() if name in s.CONTENT]
    held += [data[name] for name in ("body", "event") if data.get(name) is not None]
    return any(not (isinstance(form, dict) and "sha256" in form) for form in held)


def _is_there(place: Path, digest: str) -> bool:
    return "/" not in digest and regular_file(place / digest) is not None


def _delete(folder: Path, found: _Found, signer: Signer, reason: str) -> None:
    """Sign, and delete the content. Meanwhile, nobody seals the folder."""
    with SealFile.hold(folder) as file:
        try:
            finish(folder)
            if found.digests:
                _sign(file, found, signer, reason)
            for index, place in found.places.items():
                with suppress(FileNotFoundError):  # the segment has just been deleted
                    _delete_in(folder / segment_name(index), place)
        except OSError as error:
            raise JournalError("erase in", folder, error.strerror or error) from error


def _sign(file: SealFile, found: _Found, signer: Signer, reason: str) -> None:
    last = file.last
    fields = {
        **Extent.after(last).fields(),
        "reason": reason,
        "records": len(found.records),
        "exported": sum(one.exported for one in found.records),
        "erased": sorted(found.digests),
        **({"closed": True} if last is not None and last.closed else {}),
    }
    file.append(ERASURE, fields, signer, "eraser")


def _delete_in(path: Path, place: _Place) -> None:
    # The blobs first, because only the parts refer to them.
    if place.blobs:
        for digest in sorted(place.blobs):
            with suppress(FileNotFoundError):
                SYSTEM.unlink(blob_folder(path) / digest)
        SYSTEM.sync_directory(blob_folder(path))
    if not place.parts:
        return
    fd = open_file(path, os.O_RDONLY)
    try:
        overwrite(
            path,
            [
                Overwriting(offset, erased_part(read_again(path, fd, offset, size)))
                for offset, size in place.parts
            ],
        )
    finally:
        os.close(fd)


def _erase_dead_letters(
    folder: Path, selection: SelectedLines, result: Erasure, *, apply: bool
) -> None:
    """Remove content from dead letters, which contain complete records and are not sealed."""
    path = folder / _DEAD_LETTERS
    if regular_file(path) is None:
        return
    out, changed = [], 0
    for line in _lines(path):
        without = _without_content(line, selection)
        changed += without is not None
        out.append((without or line) + b"\n")
    if not changed:
        return
    if apply:
        if (lock := DeliveryLock.take(folder)) is None:
            result.busy.append(folder)
            return
        try:
            SYSTEM.write_whole(path, b"".join(out), synced=True)
        except OSError as error:
            raise JournalError("erase in", path, error.strerror or error) from error
        finally:
            lock.release()
    result.dead_letters += changed


def _without_content(line: bytes, selection: SelectedLines) -> bytes | None:
    """Return a dead letter without its content; None if it does not match or has none."""
    try:
        letter = read_fields(line)
        data = orjson.loads(letter["line"])
        if SALTED in data:
            put_content_back(data)
        attributes, is_selected = attributes_on(data), selection.includes(data, None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not is_selected or ERASED in attributes or not _has_content(data):
        return None
    for name in s.CONTENT & attributes.keys():
        del attributes[name]
    attributes[ERASED] = True
    data.pop("body", None)
    data.pop("event", None)
    return seal_fields({**letter, "line": orjson.dumps(data).decode()})[0].removesuffix(b"\n")


def _erase_damaged(folder: Path, wanted: Sequence[bytes], result: Erasure, *, apply: bool) -> None:
    """Delete damaged and torn lines that name the person, because nothing depends on them.

    A torn line that ends inside its content is deleted, too: its person is not known.
    """
    for name in sorted(list_regular(folder)):
        if not name.endswith(_DAMAGED_SUFFIXES):
            continue
        path = folder / name
        found = list(_lines(path))
        kept = [line for line in found if not _may_name(line, wanted)]
        result.damaged += len(found) - len(kept)
        if apply and len(kept) < len(found):
            try:
                SYSTEM.write_whole(path, b"".join(line + b"\n" for line in kept), synced=True)
            except OSError as error:
                raise JournalError("erase in", path, error.strerror or error) from error
    found_segments = segments(folder, missing_ok=True)
    # The end of the last segment may be a line that its process is writing.
    is_open = is_owned(folder) is not False
    for index in found_segments[:-1] if is_open else found_segments:
        result.damaged += _erase_torn_end(folder / segment_name(index), wanted, apply=apply)


def _may_name(line: bytes, wanted: Sequence[bytes]) -> bool:
    return any(word in line for word in wanted) or is_cut_in_content(line)


def _erase_torn_end(path: Path, wanted: Sequence[bytes], *, apply: bool) -> bool:
    """Overwrite the torn line at the end of a segment with spaces, if it may name the person."""
    try:
        with open_to_read(path) as file:
            end = end_of_lines(file.fileno())
            file.seek(end)
            torn = file.read(LONGEST_BLOCK)
        if not torn or not _may_name(torn, wanted):
            return False
        if apply:
            fd = SYSTEM.open(path, os.O_WRONLY)
            try:
                os.lseek(fd, end, os.SEEK_SET)
                write_whole_lines(SYSTEM, fd, b" " * len(torn))
                SYSTEM.fdatasync(fd)
            finally:
                os.close(fd)
    except (FileNotFoundError, ForeignFileError):
        return False
    except OSError as error:
        raise JournalError("erase in", path, error.strerror or error) from error
    return True


def _forget_index(root: Path) -> None:
    """Delete the index, which contains names from events, and which the next reader rebuilds."""
    place = root / INDEX
    if not is_directory(place):
        return
    try:
        for name in list_regular(place):
            with suppress(FileNotFoundError):
                SYSTEM.unlink(place / name)
    except OSError as error:
        raise JournalError("erase in", place, error.strerror or error) from error


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b'{"id":'):
        return None
    try:
        data = orjson.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) and "id" in data else None


def _lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines of a segment with their offsets, without their newlines."""
    try:
        yield from lines_between(path, 0)
    except (FileNotFoundError, ForeignFileError):
        return
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of another file without their newlines; of dead letters, the complete ones."""
    try:
        with open_to_read(path) as file:
            for _, line, _ in lines(file, longest=2 * LONGEST_BLOCK):
                if line.endswith(b"\n") or path.name != _DEAD_LETTERS:
                    yield line.removesuffix(b"\n")
    except (FileNotFoundError, ForeignFileError):
        return
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
