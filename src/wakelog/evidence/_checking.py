"""Checking a folder's lines against its seals, and its seals against anchors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.evidence._anchors import Anchored, Authorities
from wakelog.evidence._keys import PublicKeys
from wakelog.evidence._scan import count_lines, hashes_between, lines_between, scan
from wakelog.evidence._seal import (
    ADOPTER,
    DELETION,
    ERASURE,
    FIRST,
    MARK_BYTES,
    SEAL,
    Seal,
    is_header,
    seal_on,
)
from wakelog.evidence._seal_file import read_seals
from wakelog.evidence._sealing import Extent
from wakelog.journal import Misfit, is_owned
from wakelog.record import parse_rfc3339
from wakelog.storage import SEALS, segment_name, segments

# If a time stamp is later than the seal's own time by more than this, the seal may be backdated.
_LATEST_STAMP_SECONDS = 3600.0
_TRIES = 3


@dataclass(slots=True)
class FolderReport:
    """The result of checking one folder.

    Attributes:
        folder: The writer's folder.
        misfit: The first misfit, or None.
        seals: The valid seals, in order.
        unsealed: The number of lines after the last seal, about which nothing is proved.
        adopted: The number of lines that were sealed after their process had ended.
        deleted: Signed deletions, each as the first segment that stays and the reason.
        erased: The digests of content with a signed erasure.
        anchored: The number of the newest seal that an anchor has; 0 if none.
        stamped: When a time-stamp authority stamped the newest stamped seal.
    """

    folder: Path
    misfit: Misfit | None = None
    seals: list[Seal] = field(default_factory=list)
    unsealed: int = 0
    adopted: int = 0
    deleted: list[tuple[int, str]] = field(default_factory=list)
    erased: frozenset[str] = frozenset()
    anchored: int = 0
    stamped: datetime | None = None

    @property
    def last(self) -> Seal | None:
        """The last valid seal."""
        return self.seals[-1] if self.seals else None


def check_folder(folder: Path, keys: PublicKeys) -> FolderReport:
    """Check a folder's lines against its seals.

    Args:
        folder: The writer's folder.
        keys: The trusted public keys.

    Raises:
        JournalError: If reading fails.
    """
    for attempt in range(_TRIES):
        report = FolderReport(folder)
        try:
            broken = _check_chain(report, keys)
            report.misfit = _check_lines(report) or broken or _check_rest(report, keys)
        except JournalError as error:
            if attempt + 1 == _TRIES or not isinstance(error.__cause__, FileNotFoundError):
                raise
            continue
        # Its process may have just deleted segments and signed for that, and any process may have
        # overwritten content that is being erased.
        if report.misfit is None or (attempt and is_owned(folder) is False):
            break
    return report


def _check_chain(report: FolderReport, keys: PublicKeys) -> Misfit | None:
    """Read the seals up to the first invalid one."""
    path, offset = report.folder / SEALS, 0
    previous, unread, below, erased = FIRST, None, 0, set[str]()
    for number, line, seal in read_seals(report.folder):
        place = offset
        offset += len(line) + 1
        if seal is None:
            # After a crash this may be an incomplete line, if the next seal follows on the previous
            # one.
            unread = unread or Misfit(path, number, place, "it is not a seal")
            continue
        if (what := _not_good(report, seal, previous, keys)) is not None:
            return unread or Misfit(path, number, place, what)
        previous, unread = seal.digest, None
        report.seals.append(seal)
        if seal.kind == DELETION and int(seal.fields.get("below", 0)) > below:
            below = int(seal.fields["below"])
            report.deleted.append((below, str(seal.fields.get("reason", ""))))
        if seal.kind == ERASURE:
            erased.update(map(str, seal.fields.get("erased", ())))
        if seal.by == ADOPTER:
            report.adopted += int(seal.fields.get("lines", 0))
    report.erased = frozenset(erased)
    return unread


def _not_good(report: FolderReport, seal: Seal, previous: str, keys: PublicKeys) -> str | None:
    if (what := keys.misfit(seal.signer, seal.signature, seal.signed)) is not None:
        return what
    if seal.writer != report.folder.name:
        return f"it is a seal of the writer {seal.writer}"
    expected = len(report.seals) + 1
    if seal.number != expected:
        return f"it is the seal {seal.number}, and the seal {expected} is missing"
    if seal.previous != previous:
        return "it does not follow the seal before it"
    last = report.last
    if last is not None and last.closed and seal.kind == SEAL:
        return "it comes after the seal that closes the folder"
    place = Extent.after(last)
    follows = (seal.segment, seal.offset) == (place.segment, place.end)
    if seal.kind == SEAL and not follows and (seal.segment <= place.segment or seal.offset):
        return (
            f"it begins at byte {seal.offset} of segment {seal.segment}, not where the last ended"
        )
    return None


def _check_lines(report: FolderReport) -> Misfit | None:
    """Compare the segments with the seals."""
    below = max((below for below, _ in report.deleted), default=0)
    there = set(segments(report.folder, missing_ok=True))
    reached: dict[int, Seal] = {}
    for seal in report.seals:
        if seal.kind != SEAL:
            continue
        path = report.folder / segment_name(seal.segment)
        before = Extent.after(reached[max(reached)]) if reached else Extent()
        for index in sorted(i for i in there if before.segment <= i < seal.segment):
            begin = before.end if index == before.segment else 0
            line = before.line if index == before.segment else 0
            beyond = _first_line_from(report.folder / segment_name(index), begin)
            if beyond is not None:
                what = f"no seal covers it, and the seal {seal.number} covers lines after it"
                return Misfit(report.folder / segment_name(index), line + 1, begin, what)
        reached[seal.segment] = seal
        if seal.segment in there:
            if (found := _check_part(path, seal)) is not None:
                return found
        elif seal.segment >= below and seal.size:
            first = int(seal.fields.get("first_line", 1))
            what = f"the segment is gone, and no signed line says that it was deleted (seal {seal.number})"
            return Misfit(path, first, seal.offset, what)
    return None


def _check_part(path: Path, seal: Seal) -> Misfit | None:
    try:
        part = scan(path, seal.offset, seal.end)
        if (part.root.hex(), part.size) == (seal.fields.get("root"), seal.size):
            return None
        return _first_misfit(path, seal)
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


def _first_misfit(path: Path, seal: Seal) -> Misfit:
    """Find the first line that does not match, with the beginnings of the lines' hashes."""
    first, marks = int(seal.fields.get("first_line", 1)), seal.marks
    lines = int(seal.fields.get("lines", 0))
    covered = f"the seal {seal.number} of {seal.time} covers lines {first} to {first + lines - 1}"
    number, end = 0, seal.offset
    for begin, after, leaf in hashes_between(path, seal.offset, seal.end):
        mark = marks[number * MARK_BYTES : (number + 1) * MARK_BYTES]
        if marks and leaf[:MARK_BYTES] != mark:
            return Misfit(
                path, first + number, begin, f"it is not the line that was sealed: {covered}"
            )
        number, end = number + 1, after
    if number < lines:
        return Misfit(path, first + number, end, f"the file ends here: {covered}")
    return Misfit(
        path, first, seal.offset, f"a line from here on is not what was sealed: {covered}"
    )


def _check_rest(report: FolderReport, keys: PublicKeys) -> Misfit | None:
    """Count the lines after the last seal, which a closed folder must not have."""
    last = report.last
    place = Extent.after(last)
    first: Misfit | None = None
    for index in segments(report.folder, missing_ok=True):
        if index < place.segment:
            continue
        begin = place.end if index == place.segment else 0
        path = report.folder / segment_name(index)
        count = _count(path, begin)
        if count and first is None:
            line = place.line + 1 if index == place.segment else 1
            first = Misfit(path, line, begin, "it comes after the seal that closes the folder")
        report.unsealed += count
    if first is None:
        return None
    if last is not None and last.closed:
        return first
    if last is None and is_owned(report.folder) is False:
        if not _says_nothing(report.folder, keys):
            return first._replace(what="nothing of this writer is sealed, and its process is gone")
        report.unsealed = 0  # the lines are checkpoints with valid signatures
    return None


def _says_nothing(folder: Path, keys: PublicKeys) -> bool:
    """Tell whether a folder has only checkpoints of other folders' seals."""
    for index in segments(folder, missing_ok=True):
        for _, line in lines_between(folder / segment_name(index), 0):
            seal = seal_on(line)
            if seal is None and not is_header(line):
                return False
            if seal is not None and keys.misfit(seal.signer, seal.signature, seal.signed):
                return False
    return True


def _count(path: Path, begin: int) -> int:
    try:
        return count_lines(path, begin)
    except FileNotFoundError:
        return 0  # it has just been deleted
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


def _first_line_from(path: Path, begin: int) -> bytes | None:
    try:
        return next((line for _, line in lines_between(path, begin)), None)
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


@dataclass(frozen=True, slots=True)
class AnchorsReport:
    """The result of comparing with anchors.

    Attributes:
        misfits: Sentences about what the journal lacks, each with its folder.
        held: How many seals of anchors are in the journal.
        foreign: How many seals of anchors were signed with other keys.
        unstamped: How many time stamps are invalid, or could not be checked without certificates.
    """

    misfits: list[tuple[Path, str]]
    held: int
    foreign: int
    unstamped: int


def check_anchors(
    root: Path,
    reports: Sequence[FolderReport],
    anchored: Iterable[Anchored],
    keys: PublicKeys,
    authorities: Authorities | None = None,
) -> AnchorsReport:
    """Check that a journal still has every seal that anchors have.

    Args:
        root: The journal's directory.
        reports: The reports of its folders, in which the newest anchored seal is noted.
        anchored: The seals of anchors.
        keys: The trusted public keys.
        authorities: The trusted time-stamp authorities.
    """
    by_writer = {report.folder.name: report for report in reports}
    misfits: list[tuple[Path, str]] = []
    blamed: defaultdict[str, bool] = defaultdict(bool)
    held = foreign = unstamped = 0
    for one in anchored:
        seal = one.seal
        if keys.misfit(seal.signer, seal.signature, seal.signed) is not None:
            foreign += 1
            continue
        report = by_writer.get(seal.writer)
        what = _missing(seal, report)
        if what is None and report is not None:
            held += 1
            report.anchored = max(report.anchored, seal.number)
            if one.stamp is not None:
                stamped = authorities.time_of(one) if authorities is not None else None
                if stamped is None:
                    unstamped += 1
                else:
                    report.stamped = max(filter(None, (report.stamped, stamped)))
                    what = _late(seal, stamped)
        if what is not None and not blamed[seal.writer]:
            blamed[seal.writer] = True
            misfits.append((root / seal.writer, what))
    return AnchorsReport(misfits, held, foreign, unstamped)


def _missing(seal: Seal, report: FolderReport | None) -> str | None:
    said = f"the anchor has the seal {seal.number} of {seal.time}, up to record {seal.last_seq}"
    if report is None:
        return f"{said}, and the writer's folder is not there"
    if seal.number > len(report.seals):
        return f"{said}, and the journal ends with the seal {len(report.seals)}: what came after is gone"
    if report.seals[seal.number - 1].digest != seal.digest:
        return f"{said}, and the journal has another one with that number: it was rewritten"
    return None


def _late(seal: Seal, stamped: datetime) -> str | None:
    stated = datetime.fromtimestamp(parse_rfc3339(seal.time) / 1e9, UTC)
    seconds = (stamped - stated).total_seconds()
    if seconds <= _LATEST_STAMP_SECONDS:
        return None
    return (
        f"the seal {seal.number} says that it is of {seal.time}, and was stamped at "
        f"{stamped.isoformat()}: it may have been written later than it says"
    )


def erased_in(folder: Path) -> frozenset[str]:
    """Return the digests of erased content according to a folder's seals, without verifying these.

    Raises:
        JournalError: If reading fails.
    """
    found: set[str] = set()
    for _, _, seal in read_seals(folder):
        if seal is not None and seal.kind == ERASURE:
            found.update(map(str, seal.fields.get("erased", ())))
    return frozenset(found)
