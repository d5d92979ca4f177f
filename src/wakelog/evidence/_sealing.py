"""Sealing a folder: new lines since its last seal, and deletions on purpose."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakelog.errors import JournalError
from wakelog.evidence._keys import PublicKeys, Signer
from wakelog.evidence._scan import Part, has_news, scan
from wakelog.evidence._seal import DELETION, FIRST, SEAL, Seal
from wakelog.evidence._seal_file import SealFile, read_seals
from wakelog.journal import wanted_deletion
from wakelog.record import parse_rfc3339
from wakelog.runtime import SYSTEM, FileSystem, open_file, regular_file
from wakelog.storage import SEALS, segment_name, segments


@dataclass(frozen=True, slots=True)
class Extent:
    """The position up to which a folder is sealed.

    Attributes:
        segment: The segment of the last seal; 0 if there is none.
        end: The offset after the last byte that it covers.
        line: The number of sealed lines in that segment.
        seq: The greatest number of a sealed record.
    """

    segment: int = 0
    end: int = 0
    line: int = 0
    seq: int = 0

    @classmethod
    def after(cls, seal: Seal | None) -> Extent:
        """Return the position after a seal, or the beginning."""
        if seal is None:
            return cls()
        lines = int(seal.fields.get("first_line", 1)) - 1 + int(seal.fields.get("lines", 0))
        return cls(seal.segment, seal.end, lines, seal.last_seq)

    def fields(self) -> dict[str, Any]:
        """Return the position as the fields of a line of another kind."""
        return {
            "segment": self.segment,
            "offset": self.end,
            "size": 0,
            "first_line": self.line + 1,
            "lines": 0,
            "last_seq": self.seq,
        }


def seal_folder(
    folder: Path,
    signer: Signer,
    by: str,
    *,
    closing: bool = False,
    known: Seal | None = None,
    fs: FileSystem = SYSTEM,
) -> Seal | None:
    """Seal the complete lines that were written since the last seal.

    The lines are synced before their seal, so that no seal covers lines that a power failure
    removes.

    Args:
        folder: The writer's folder.
        signer: Signs the seal.
        by: The signer's role: ``process``, ``shipper`` or ``adopter``.
        closing: Whether the writer has ended, so that no line may follow.
        known: The last seal that the caller knows, which must not get lost.
        fs: The system calls.

    Returns:
        The last new seal; None if there was nothing to seal.

    Raises:
        JournalError: If reading, writing or signing fails. Unsealed lines are sealed the next time.
    """
    found = segments(folder, missing_ok=True)
    missing = known is None and regular_file(folder / SEALS) is None
    if missing and not _is_worth_a_seal(folder, found):
        return None
    with SealFile.hold(folder, fs, known=known) as file:
        if file.last is not None and file.last.closed:
            return None
        return _seal_rest(file, found, signer, by, closing=closing, fs=fs)


def _is_worth_a_seal(folder: Path, found: Sequence[int]) -> bool:
    """Tell whether a folder without seals has any lines but headers and checkpoints."""
    return any(_has_news(folder / segment_name(index)) for index in found)


def _has_news(path: Path) -> bool:
    try:
        return has_news(path)
    except FileNotFoundError:
        return False  # it has just been deleted
    except OSError as error:
        raise JournalError("seal", path, error.strerror or error) from error


def _seal_rest(
    file: SealFile,
    found: Sequence[int],
    signer: Signer,
    by: str,
    *,
    closing: bool = False,
    deleting: bool = False,
    fs: FileSystem,
) -> Seal | None:
    place = Extent.after(file.last)
    new: Seal | None = None
    parts: list[tuple[int, Part]] = []
    for index in found:
        if index >= place.segment:
            begin = place.end if index == place.segment else 0
            parts.append((index, _read(file.folder / segment_name(index), begin, fs)))
    # Checkpoints alone need no seal of their own until other lines follow them.
    news = any(part.lines and not part.only_checkpoints for _, part in parts)
    if not news and (file.last is None or not (closing or deleting)):
        return None
    for index, part in parts:
        last = index == found[-1]
        if not part.lines and not (closing and last):
            continue
        fields = {
            "segment": index,
            "offset": part.offset,
            "size": part.size,
            "first_line": place.line + 1 if index == place.segment else 1,
            "lines": part.lines,
            "first_seq": part.first_seq,
            "last_seq": max(place.seq, part.last_seq),
            "root": part.root.hex(),
            **({"closed": True} if closing and last else {}),
        }
        new = file.append(SEAL, fields, signer, by, part.marks)
        place = Extent.after(new)
    return new


def declare_deletion(
    folder: Path,
    below: int,
    reason: str,
    signer: Signer,
    by: str,
    *,
    known: Seal | None = None,
    fs: FileSystem = SYSTEM,
) -> Seal | None:
    """Seal the unsealed lines of segments that are about to be deleted, and sign for the deletion.

    Args:
        folder: The writer's folder.
        below: The index of the first segment that stays.
        reason: The reason.
        signer: Signs the seal and the deletion.
        by: The signer's role.
        known: The last seal that the caller knows, which must not get lost.
        fs: The system calls.

    Returns:
        The tombstone; None if there is nothing to delete, or only checkpoints.

    Raises:
        JournalError: If reading, writing or signing fails. Then nothing may be deleted.
    """
    doomed = [index for index in segments(folder, missing_ok=True) if index < below]
    missing = known is None and regular_file(folder / SEALS) is None
    if missing and not _is_worth_a_seal(folder, doomed):
        return None
    with SealFile.hold(folder, fs, known=known) as file:
        closed = file.last is not None and file.last.closed
        if not doomed:
            return None
        if not closed:
            _seal_rest(file, doomed, signer, by, deleting=True, fs=fs)
        fields = {**Extent.after(file.last).fields(), "below": below, "reason": reason}
        if closed:
            fields["closed"] = True
        return file.append(DELETION, fields, signer, by)


def grant_deletion(
    folder: Path, signer: Signer, by: str, keep: float, *, known: Seal | None = None
) -> Seal | None:
    """Sign for a deletion that the folder's owner requests, if it was sealed long enough ago.

    Any process that can write to the folder can request it. Therefore segments stay if they were
    sealed less than ``keep`` seconds ago, by the clock of their signer, or if this signer's seals
    do not cover them; and the reason says that the process requested it.

    Args:
        folder: The writer's folder.
        signer: Signs the deletion.
        by: The signer's role.
        keep: The minimum time since a segment was sealed to its end, in seconds.
        known: The last seal that the caller knows, which must not get lost.

    Returns:
        The tombstone; None if nothing was requested, or nothing may be deleted yet.

    Raises:
        JournalError: If reading, writing or signing fails.
    """
    if (wanted := wanted_deletion(folder)) is None:
        return None
    ends: dict[int, Seal] = {}
    below = granted = 0
    for seal in _vouched_for(folder, signer):
        if seal.kind == DELETION:
            below = max(below, int(seal.fields.get("below", 0)))
        elif seal.kind == SEAL:
            ends[seal.segment] = seal
    for index in segments(folder, missing_ok=True):
        last = ends.get(index)
        if index >= wanted.below or last is None:
            break
        age = time.time() - parse_rfc3339(last.time) / 1e9
        if age < keep or _read(folder / segment_name(index), last.end, None).lines:
            break
        granted = index + 1
    if granted <= below:
        return None
    reason = f"{wanted.reason}, asked for by the process"
    return declare_deletion(folder, granted, reason, signer, by, known=known)


def _vouched_for(folder: Path, signer: Signer) -> list[Seal]:
    """Return the seals up to a signer's last one, while each has the digest of the one before."""
    keys = PublicKeys.of(signer.public_key)
    chain: list[Seal] = []
    found: list[Seal] = []
    for _, _, seal in read_seals(folder):
        if seal is None:
            continue
        if seal.previous != (chain[-1].digest if chain else FIRST):
            break
        chain.append(seal)
        if keys.misfit(seal.signer, seal.signature, seal.signed) is None:
            found = [*chain]
    return found


def _read(path: Path, begin: int, fs: FileSystem | None) -> Part:
    """Read the lines to be sealed, and sync them if a file system is given."""
    try:
        part = scan(path, begin)
        if part.lines and fs is not None:
            descriptor = open_file(path, os.O_RDONLY)
            try:
                fs.fdatasync(descriptor)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        return Part(begin)  # it has just been deleted
    except OSError as error:
        raise JournalError("seal", path, error.strerror or error) from error
    return part
