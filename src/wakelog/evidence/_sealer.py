"""Sealing a journal in the background: at an interval, when a segment ends, and at the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from wakelog.errors import WakelogError
from wakelog.evidence._checkpoint import record_checkpoint
from wakelog.evidence._keys import Signer
from wakelog.evidence._seal import ADOPTER, PROCESS, SHIPPER, Seal
from wakelog.evidence._seal_file import last_seal
from wakelog.evidence._sealing import declare_deletion, grant_deletion, seal_folder
from wakelog.evidence._settings import Sealing
from wakelog.journal import Journal, folders, is_owned, owner_of
from wakelog.runtime import (
    Alarm,
    Background,
    Burst,
    ForkOrder,
    contained,
    notice_fork,
    reset_in_child,
)

_log = logging.getLogger("wakelog")
KEEP_SECONDS = 86_400.0
"""The default of how long a sealed segment is kept, in seconds."""
# Soon after the first record, so that what an earlier process left unsealed does not wait long.
_FIRST_SECONDS = 1.0


class Signing:
    """Seals folders, signs for deletions, and passes new seals to anchors.

    Failures are counted in ``failed`` and logged once a minute; they are retried at the next
    interval.

    Args:
        sealing: The settings.
        signer: Signs the seals.
        by: The signer's role, for the ``by`` field.
    """

    def __init__(self, sealing: Sealing, signer: Signer, by: str) -> None:
        self.settings, self.signer, self.by = sealing, signer, by
        self.failed = 0
        """The number of failures of seals, checkpoints and anchors."""
        self._burst = Burst()
        # The last known seal of each folder. It detects that an attacker has removed the seal to
        # have other lines sealed in place of sealed ones.
        self._known: dict[Path, Seal] = {}

    def remember(self, folder: Path, seal: Seal) -> None:
        """Note a seal of a folder, for example from a checkpoint file."""
        if (known := self._known.get(folder)) is None or known.number < seal.number:
            self._known[folder] = seal

    def seal(self, folder: Path, by: str, *, closing: bool = False) -> Seal | None:
        """Seal a folder, and pass the new seal to anchors; return it, or None if there is none."""
        try:
            known = self._known.get(folder)
            seal = seal_folder(folder, self.signer, by, closing=closing, known=known)
        except WakelogError as error:
            self.note(f"{folder.name} was not sealed", error)
            return None
        if seal is not None:
            self.remember(folder, seal)
        for anchor in self.settings.anchors if seal is not None else ():
            raised = contained(partial(anchor, seal.text))  # type: ignore[union-attr] # the loop is empty without a seal
            if isinstance(raised, BaseException):  # the next seal covers this one
                self.note("an anchor did not store a seal", raised)
        return seal

    def note(self, what: str, error: BaseException) -> None:
        """Count a failure, and log failures once a minute."""
        self.failed += 1
        if self._burst.is_due():
            _log.warning("%s: %s. It is tried again", what, error)

    # The listener of the journal.

    def segment_begun(self) -> None:
        """Do nothing, because the caller decides when to seal."""

    def writer_ended(self, folder: Path) -> None:
        """Seal the last lines of a writer."""
        self.seal(folder, self.by, closing=True)

    def before_deletion(self, folder: Path, below: int, reason: str) -> int:
        """Sign that segments are deleted on purpose.

        Raises:
            JournalError: If signing fails. Then nothing is deleted.
        """
        known = self._known.get(folder)
        seal = declare_deletion(folder, below, reason, self.signer, self.by, known=known)
        if seal is not None:
            self.remember(folder, seal)
        return below


class Sealer(Signing):
    """Seals the writers of this process, and what dead processes left unsealed.

    The recording thread does nothing for it, except that a new segment wakes the sealing thread.

    Args:
        sealing: The settings.
        signer: Signs the seals.
        export: Whether to record seals as checkpoints.
    """

    def __init__(self, sealing: Sealing, signer: Signer, *, export: bool) -> None:
        super().__init__(sealing, signer, PROCESS)
        self._export = export
        self._journal: Journal | None = None
        self._done: set[Path] = set()
        self._reset()
        reset_in_child(self._reset, ForkOrder.THREADS)

    def _reset(self) -> None:
        self._alarm = Alarm()
        self._stopping = False
        self._thread = Background(self._run, "wakelog-sealing", self._alarm)
        self._sealing_lock = threading.RLock()

    def watch(self, journal: Journal) -> None:
        """Set the journal to seal."""
        self._journal = journal

    def segment_begun(self) -> None:
        """Wake the thread, which seals the previous segment."""
        self._stopping = False
        if self._thread.running:
            self._alarm.ring()
        else:
            self._thread.start()

    def seal_all(self) -> None:
        """Seal the present lines of this process's writers."""
        journal = self._journal
        if journal is None:
            return
        with self._sealing_lock:
            for writer in journal.open_writers:
                if (seal := self.seal(writer.folder.path, PROCESS)) is not None:
                    self._tell(journal, writer.folder.path, seal)

    def adopt(self) -> None:
        """Seal what dead processes of the same services and pipeline left unsealed."""
        journal = self._journal
        if journal is None:
            return
        with self._sealing_lock:
            try:
                gone = list(self._gone(journal))
            except WakelogError as error:
                self.note("what others have left was not sealed", error)
                return
            for folder in gone:
                if (seal := self.seal(folder, ADOPTER, closing=True)) is not None:
                    self._tell(journal, folder, seal)

    def finish(self) -> None:
        """Stop after sealing the present lines, so that their checkpoint can still be delivered."""
        notice_fork()
        self._stopping = True
        self._alarm.ring()
        self.seal_all()

    def _gone(self, journal: Journal) -> Iterator[Path]:
        for folder in folders(journal.root):
            if folder in self._done or is_owned(folder) is not False:
                continue
            owner = owner_of(folder)
            if owner is None or owner.service not in journal.services:
                continue
            if (owner.pipeline, owner.signal) != (journal.pipeline, journal.signal):
                continue
            seal = last_seal(folder)
            if seal is not None and seal.closed:
                self._done.add(folder)
            else:
                yield folder

    def _tell(self, journal: Journal, folder: Path, seal: Seal) -> None:
        if not self._export:
            return
        try:
            record_checkpoint(journal, folder, seal)
        except WakelogError as error:
            self.note("a checkpoint was not recorded", error)

    def _run(self) -> None:
        interval = self.settings.interval
        self._alarm.wait(min(_FIRST_SECONDS, interval))
        while not self._stopping:
            self.seal_all()
            self.adopt()
            self._alarm.wait(interval)


class OutsideSealer(Signing):
    """Seals folders of other processes, in a process that delivers or only seals.

    What dead processes left unsealed is marked as sealed by an adopter.

    Args:
        root: The journal's directory.
        sealing: The settings.
        signer: Signs the seals.
        wanted: Tells whether to seal a folder.
        record: Records a seal as a checkpoint; None to not record it.
        keep: How long after a segment was sealed a deletion is signed at the earliest, if a process
            without a key requests it, in seconds.
    """

    def __init__(
        self,
        root: Path,
        sealing: Sealing,
        signer: Signer,
        wanted: Callable[[Path], bool],
        record: Callable[[Path, Seal], None] | None = None,
        keep: float = KEEP_SECONDS,
    ) -> None:
        super().__init__(sealing, signer, SHIPPER)
        self._keep = keep
        self._root, self._wanted, self._record = root, wanted, record
        self._done: set[Path] = set()

    def seal_all(self) -> None:
        """Seal the present lines.

        Raises:
            JournalError: If the directory cannot be listed.
        """
        for folder in folders(self._root):
            if not self._wanted(folder):
                continue
            if folder in self._done:
                self._grant(folder)
                continue
            gone = is_owned(folder) is False
            seal = self.seal(folder, ADOPTER if gone else SHIPPER, closing=gone)
            if gone and (last := last_seal(folder)) is not None and last.closed:
                self._done.add(folder)
            if seal is not None and self._record is not None:
                try:
                    self._record(folder, seal)
                except WakelogError as error:
                    self.note("a checkpoint was not recorded", error)
            self._grant(folder)

    def _grant(self, folder: Path) -> None:
        """Sign for deletions that the owner of a folder requests, because it has no key."""
        known = self._known.get(folder)
        try:
            seal = grant_deletion(folder, self.signer, self.by, self._keep, known=known)
        except WakelogError as error:
            self.note(f"a deletion in {folder.name} was not signed for", error)
            return
        if seal is not None:
            self.remember(folder, seal)
