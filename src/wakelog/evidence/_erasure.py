"""Erasing content: it is deleted from its files, the lines stay, and the erasure is signed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from wakelog.journal import DeliveryLock, folders, load_ledger, owner_of
from wakelog.record import MARK, attributes_on, read_fields, references, seal_fields
from wakelog.runtime import (
    SYSTEM,
    ForeignFileError,
    is_directory,
    list_regular,
    open_to_read,
    regular_file,
)
from wakelog.storage import (
    INDEX,
    LONGEST_BLOCK,
    Apart,
    blob_folder,
    erase_apart,
    lines,
    segment_name,
    segments,
)

Matches = Callable[[dict[str, Any]], bool]
"""Tells from a record's attributes whether to erase its content."""
_DEAD_LETTERS = "dead_letters.jsonl"
_DAMAGED_SUFFIXES = (".torn", ".damaged")
ERASED = "wakelog.erased"
"""The attribute of a dead letter whose content was erased."""


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
class _Found:
    """A folder's matches: the records, and the blobs' references by segment and digest."""

    digests: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    records: list[ErasedRecord] = field(default_factory=list)
    inline: list[ErasedRecord] = field(default_factory=list)


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

    The signature comes first. After a crash, a second run deletes the remaining values, and no
    value is missing without a signed reason.

    Args:
        root: The journal's directory.
        matches: Selects the records.
        words: Texts that identify the person. Damaged lines that contain one of them are deleted.
        signer: Signs the erasure.
        reason: The reason, for the signed line.
        apply: Whether to erase, and not only to return what would be erased.

    Raises:
        JournalError: If reading, writing or signing fails.
    """
    result = Erasure()
    for folder in folders(root):
        found = _find(folder, matches)
        result.records += found.records
        result.inline += found.inline
        result.values += sum(map(len, found.digests.values()))
        if apply and found.digests:
            _sign(folder, found, signer, reason)
            _delete(folder, found)
        _erase_dead_letters(folder, matches, result, apply=apply)
        _erase_damaged(folder, words, result, apply=apply)
    if apply and (result.records or result.dead_letters):
        _forget_index(root)
    return result


def _find(folder: Path, matches: Matches) -> _Found:
    found = _Found()
    owner = owner_of(folder)
    destination = owner.destination if owner is not None else None
    delivered = load_ledger(folder, folder.name).seq
    for index in segments(folder, missing_ok=True):
        path = folder / segment_name(index)
        place, apart = blob_folder(path), Apart(blob_folder(path))
        mine: list[tuple[ErasedRecord, dict[str, dict[str, Any]]]] = []
        others: set[str] = set()
        for line in _lines(path):
            data = _record(line)
            if data is None:
                continue
            shared = (
                {str(one.get("sha256")): one for one in references(data)} if MARK in line else {}
            )
            if not matches(attributes_on(data)):
                others |= shared.keys()
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
            if there := {d: one for d, one in shared.items() if _is_there(place, one, apart)}:
                mine.append((record, there))
            if _has_content(data):
                found.inline.append(record)
        for record, digests in mine:
            if going := {d: one for d, one in digests.items() if d not in others}:
                found.records.append(record)
                found.digests.setdefault(index, {}).update(going)
            else:
                found.inline.append(record)
    return found


def _has_content(data: dict[str, Any]) -> bool:
    """Tell whether a line itself contains content, which cannot be removed from it."""
    attributes = attributes_on(data)
    held = [form for name, form in attributes.items() if name in s.CONTENT]
    held += [data[name] for name in ("body", "event") if data.get(name) is not None]
    return any(not (isinstance(form, dict) and "sha256" in form) for form in held)


def _sign(folder: Path, found: _Found, signer: Signer, reason: str) -> None:
    with SealFile.hold(folder) as file:
        last = file.last
        fields = {
            **Extent.after(last).fields(),
            "reason": reason,
            "records": len(found.records),
            "exported": sum(one.exported for one in found.records),
            "erased": sorted(set().union(*found.digests.values())),
            **({"closed": True} if last is not None and last.closed else {}),
        }
        file.append(ERASURE, fields, signer, "eraser")


def _is_there(place: Path, reference: dict[str, Any], apart: Apart) -> bool:
    """Tell whether anything is left of a value; what is damaged has to be deleted, too."""
    digest, size, offset = (reference.get(name) for name in ("sha256", "bytes", "at"))
    if not isinstance(digest, str) or not isinstance(size, int):
        return False
    if isinstance(offset, int):
        return apart.place(digest, size, offset) is not None
    return "/" not in digest and regular_file(place / digest) is not None


def _delete(folder: Path, found: _Found) -> None:
    for index, digests in found.digests.items():
        path = folder / segment_name(index)
        place, apart = blob_folder(path), Apart(blob_folder(path))
        try:
            overwritten = []
            for digest, reference in sorted(digests.items()):
                if (offset := reference.get("at")) is None:
                    with suppress(FileNotFoundError):
                        SYSTEM.unlink(place / digest)
                elif (there := apart.place(digest, int(reference["bytes"]), offset)) is not None:
                    overwritten.append(there)
            if overwritten:
                erase_apart(place, overwritten)
            SYSTEM.sync_directory(place)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise JournalError("erase in", place, error.strerror or error) from error


def _erase_dead_letters(folder: Path, matches: Matches, result: Erasure, *, apply: bool) -> None:
    """Remove content from dead letters, which contain complete records and are not sealed."""
    path = folder / _DEAD_LETTERS
    if regular_file(path) is None:
        return
    out, changed = [], 0
    for line in _lines(path):
        without = _without_content(line, matches)
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


def _without_content(line: bytes, matches: Matches) -> bytes | None:
    """Return a dead letter without its content; None if it does not match or has none."""
    try:
        letter = read_fields(line)
        data = orjson.loads(letter["line"])
        attributes = attributes_on(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not matches(attributes) or ERASED in attributes or not _has_content(data):
        return None
    for name in s.CONTENT & attributes.keys():
        del attributes[name]
    attributes[ERASED] = True
    data.pop("body", None)
    data.pop("event", None)
    return seal_fields({**letter, "line": orjson.dumps(data).decode()})[0].removesuffix(b"\n")


def _erase_damaged(folder: Path, words: tuple[str, ...], result: Erasure, *, apply: bool) -> None:
    """Delete damaged and torn lines that name the person, because nothing depends on them."""
    wanted = [orjson.dumps(word)[1:-1] for word in words if word]
    for name in sorted(list_regular(folder)):
        if not name.endswith(_DAMAGED_SUFFIXES):
            continue
        path = folder / name
        found = list(_lines(path, whole=False))
        kept = [line for line in found if not any(word in line for word in wanted)]
        result.damaged += len(found) - len(kept)
        if apply and len(kept) < len(found):
            try:
                SYSTEM.write_whole(path, b"".join(line + b"\n" for line in kept), synced=True)
            except OSError as error:
                raise JournalError("erase in", path, error.strerror or error) from error


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


def _lines(path: Path, *, whole: bool = True) -> Iterator[bytes]:
    """Yield a file's lines without their newlines; unless `whole`, also an incomplete one."""
    try:
        if whole and path.name != _DEAD_LETTERS:
            yield from (line for _, line in lines_between(path, 0))
            return
        with open_to_read(path) as file:
            for _, line, _ in lines(file, longest=2 * LONGEST_BLOCK):
                if line.endswith(b"\n") or not whole:
                    yield line.removesuffix(b"\n")
    except (FileNotFoundError, ForeignFileError):
        return
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
