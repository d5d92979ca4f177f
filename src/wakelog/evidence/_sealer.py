"""What seals a journal in the background: by interval, when a segment ends, and at the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from wakelog.errors import WakelogError
from wakelog.evidence._checkpoint import record_checkpoint
from wakelog.evidence._keys import Signer
from wakelog.evidence._seal import ADOPTER, PROCESS, SHIPPER, Seal
from wakelog.evidence._seal_file import last_seal
from wakelog.evidence._sealing import declare_deletion, grant_deletion, seal_folder
from wakelog.evidence._settings import Sealing
from wakelog.journal import Journal, folders, is_owned, owner_of
from wakelog.runtime import Alarm, Background, Burst, ForkOrder, notice_fork, reset_in_child

_log = logging.getLogger("wakelog")
KEEP_SECONDS = 86_400.0
"""How long what was sealed is kept, where nothing else is said."""
# Soon after the first record, so that what a process before has left unsigned does not wait long.
_FIRST_SECONDS = 1.0


class Signing:
    """Signs what happens in folders, and hands new seals on.

    What fails is counted in ``failed`` and said once a minute; it is tried again at the next interval.

    Args:
        sealing: The settings.
        signer: What signs.
        by: Who that is.
    """

    def __init__(self, sealing: Sealing, signer: Signer, by: str) -> None:
        self.settings, self.signer, self.by = sealing, signer, by
        self.failed = 0
        """How many times a seal, a checkpoint or an anchor has failed."""
        self._burst = Burst()
        # The last seal of each folder that this process knows of, so that nobody can take it away
        # and have other lines sealed in its place.
        self._known: dict[Path, Seal] = {}

    def remember(self, folder: Path, seal: Seal) -> None:
        """Learn of a seal that a folder has, from whoever holds it elsewhere."""
        if (known := self._known.get(folder)) is None or known.number < seal.number:
            self._known[folder] = seal

    def seal(self, folder: Path, by: str, *, closing: bool = False) -> Seal | None:
        """Seal a folder, and give anchors the new seal; return it, None when there is none."""
        try:
            known = self._known.get(folder)
            seal = seal_folder(folder, self.signer, by, closing=closing, known=known)
        except WakelogError as error:
            self.note(f"{folder.name} was not sealed", error)
            return None
        if seal is not None:
            self.remember(folder, seal)
        for anchor in self.settings.anchors if seal is not None else ():
            try:
                anchor(seal.text)  # type: ignore[union-attr] # there is one in this loop
            except Exception as error:  # noqa: BLE001 - anybody's code; the next seal stands for this one
                self.note("an anchor did not take a seal", error)
        return seal

    def note(self, what: str, error: Exception) -> None:
        """Count what failed, and say it once a minute."""
        self.failed += 1
        if self._burst.is_due():
            _log.warning("%s: %s. It is tried again", what, error)

    # As a listener of the journal.

    def segment_begun(self) -> None:
        """Do nothing: somebody else says when to seal."""

    def writer_ended(self, folder: Path) -> None:
        """Seal what a writer has written last."""
        self.seal(folder, self.by, closing=True)

    def before_deletion(self, folder: Path, below: int, reason: str) -> int:
        """Sign that segments are deleted on purpose.

        Raises:
            JournalError: When that cannot be signed. Nothing is deleted then.
        """
        known = self._known.get(folder)
        seal = declare_deletion(folder, below, reason, self.signer, self.by, known=known)
        if seal is not None:
            self.remember(folder, seal)
        return below


class Sealer(Signing):
    """Seals the writers of this process, and what processes that are gone have left unsigned.

    Nothing of it happens in the thread that records, except that a new segment wakes this one.

    Args:
        sealing: The settings.
        signer: What signs.
        export: Whether seals leave as records.
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
        """Learn which journal it is."""
        self._journal = journal

    def segment_begun(self) -> None:
        """Wake the thread, which seals the segment before."""
        self._stopping = False
        if self._thread.running:
            self._alarm.ring()
        else:
            self._thread.start()

    def seal_all(self) -> None:
        """Seal what is there now of this process's writers."""
        journal = self._journal
        if journal is None:
            return
        with self._sealing_lock:
            for writer in journal.open_writers:
                if (seal := self.seal(writer.folder.path, PROCESS)) is not None:
                    self._tell(journal, writer.folder.path, seal)

    def adopt(self) -> None:
        """Attest what processes of the same services and pipeline have left without a seal."""
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
        """Stop, after sealing what is there, so that its checkpoint can still leave."""
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
    """Seals folders of other processes: the shipping process is the signer then.

    What a process that is gone has left unsigned is attested as the adopter's.

    Args:
        root: The journal's directory.
        sealing: The settings.
        signer: What signs.
        wanted: Says which folders.
        record: Has a seal leave as a record; None when none does.
        keep: How long ago a segment was sealed, at least, before its deletion is signed for where a
            process without a key asks for that, in seconds.
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
        """Seal what is there now.

        Raises:
            JournalError: When the directory cannot be listed.
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
        """Sign for what the owner of a folder, who has no key, would delete."""
        known = self._known.get(folder)
        try:
            seal = grant_deletion(folder, self.signer, self.by, self._keep, known=known)
        except WakelogError as error:
            self.note(f"a deletion in {folder.name} was not signed for", error)
            return
        if seal is not None:
            self.remember(folder, seal)
