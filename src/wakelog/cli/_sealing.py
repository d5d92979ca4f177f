"""Signing a journal outside the programs that record it, so that only this process has the key."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakelog.cli._parser import number_from
from wakelog.errors import JournalError
from wakelog.evidence import (
    KEEP_SECONDS,
    FileAnchor,
    OutsideSealer,
    PublicKeys,
    Seal,
    Sealing,
    read_anchors,
    record_checkpoint,
)
from wakelog.journal import Journal, owner_of, signal_of
from wakelog.record import LOGS
from wakelog.runtime import Alarm, Background, is_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator


INTERVAL_SECONDS = 60.0
"""The default of the longest time for which a line has no seal, in seconds."""


def add_sealing(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of signing."""
    parser.add_argument(
        "--seal-key", metavar="FILE", help="sign the journal with this Ed25519 key, as PEM"
    )
    parser.add_argument(
        "--seal-interval",
        type=number_from(0, including=False),
        default=INTERVAL_SECONDS,
        metavar="SECONDS",
        help="the maximum time that a line stays without a seal (60)",
    )
    parser.add_argument(
        "--seal-keep",
        type=number_from(0),
        default=KEEP_SECONDS,
        metavar="SECONDS",
        help="sign a requested deletion only of segments sealed at least this long ago (86400)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="FILE",
        help="append each seal to this file, in another place, and check at the start that no seal in it is missing",
    )


def sealer_of(
    root: Path, arguments: argparse.Namespace, wanted: Callable[[Path], bool]
) -> SealingThread | None:
    """Return the sealing thread that the command line describes, or None without a key.

    Raises:
        ConfigurationError: If the key cannot be used.
    """
    if arguments.seal_key is None:
        return None
    anchors = (FileAnchor(arguments.checkpoints),) if arguments.checkpoints else ()
    sealing = Sealing(arguments.seal_key, arguments.seal_interval, anchors)
    return SealingThread(root, sealing, wanted, arguments.seal_keep)


def outside_sealer(
    root: Path,
    sealing: Sealing,
    wanted: Callable[[Path], bool],
    keep: float,
    record: Callable[[Path, Seal], None] | None = None,
) -> OutsideSealer:
    """Return a sealer of other processes' folders, which knows the seals in the checkpoint files.

    It therefore notices if one of these seals is missing from the journal.

    Args:
        root: The journal's directory.
        sealing: The settings, with a key.
        wanted: As for ``OutsideSealer``.
        keep: As for ``OutsideSealer``.
        record: As for ``OutsideSealer``.

    Raises:
        ConfigurationError: If the key cannot be used.
        JournalError: If a checkpoint file cannot be read.
    """
    signer = sealing.signer()
    assert signer is not None  # noqa: S101 - the settings have a key
    sealer = OutsideSealer(root, sealing, signer, wanted, record, keep)
    keys = PublicKeys.of(signer.public_key)
    for anchor in sealing.anchors:
        if not isinstance(anchor, FileAnchor) or not os.path.exists(anchor.path):
            continue
        for seal, _ in read_anchors(Path(anchor.path)):
            folder = root / seal.writer
            good = keys.misfit(seal.signer, seal.signature, seal.signed) is None
            if good and is_directory(folder):
                sealer.remember(folder, seal)
    return sealer


class SealingThread:
    """Seals a journal's folders at an interval, and sends the seals as records.

    Args:
        root: The journal's directory.
        sealing: The settings, with a key.
        wanted: A function that tells whether to seal a folder.
        keep: How long after a segment was sealed a program's request to delete it is signed at the
            earliest, in seconds.
    """

    def __init__(
        self, root: Path, sealing: Sealing, wanted: Callable[[Path], bool], keep: float
    ) -> None:
        self._root, self._interval = root, sealing.interval
        self.listener = outside_sealer(root, sealing, wanted, keep, self._record)
        """The sealer, which also signs for deletions."""
        # A journal for each service and pipeline, which holds the seals as records until delivery.
        self._journals: dict[Any, Journal] = {}
        self._alarm, self._stopping = Alarm(), False
        self._thread = Background(self._run, "wakelog-sealing", self._alarm)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Seal at the start, at each interval, and when the block ends."""
        self.listener.seal_all()
        self._thread.start()
        try:
            yield
        finally:
            self._stopping = True
            self._alarm.ring()
            self._thread.join()
            self.listener.seal_all()
            for journal in self._journals.values():
                journal.close()

    def _run(self) -> None:
        while not self._stopping:
            self._alarm.wait(self._interval)
            if not self._stopping:
                try:
                    self.listener.seal_all()
                except JournalError as error:
                    self.listener.note("the journal was not sealed", error)

    def _record(self, folder: Path, seal: Seal) -> None:
        owner = owner_of(folder)
        if owner is None or signal_of(folder) != LOGS:
            return
        journal = self._journals.get(owner.whose)
        if journal is None:
            journal = self._journals[owner.whose] = Journal(
                self._root, pipeline=owner.pipeline, service=owner.service
            )
        record_checkpoint(journal, folder, seal)
