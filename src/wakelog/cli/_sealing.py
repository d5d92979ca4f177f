"""Signing from outside the programs that record: the key is with this process alone."""

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
"""The longest that a line stays without a seal, where nothing else is said."""


def add_sealing(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say what is signed with, and how often."""
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
    """Return what signs as the command line says, None where nothing is signed.

    Raises:
        ConfigurationError: When the key cannot be used.
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
    """Make what seals folders of other processes, and have it miss seals that its files of checkpoints hold.

    Args:
        root: The journal's directory.
        sealing: The settings, with a key.
        wanted: As for ``OutsideSealer``.
        keep: As for ``OutsideSealer``.
        record: As for ``OutsideSealer``.

    Raises:
        ConfigurationError: When the key cannot be used.
        JournalError: When a file of checkpoints cannot be read.
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
    """Seals a journal's folders by interval, and has the seals leave as records.

    Args:
        root: The journal's directory.
        sealing: The settings, with a key.
        wanted: Says which folders.
        keep: How long ago a segment was sealed, at least, before its deletion is signed for where a
            program asks for that, in seconds.
    """

    def __init__(
        self, root: Path, sealing: Sealing, wanted: Callable[[Path], bool], keep: float
    ) -> None:
        self._root, self._interval = root, sealing.interval
        self.listener = outside_sealer(root, sealing, wanted, keep, self._record)
        """Signs for what is deleted."""
        # One for each service and pipeline, in which seals stand as records until they are delivered.
        self._journals: dict[Any, Journal] = {}
        self._alarm, self._stopping = Alarm(), False
        self._thread = Background(self._run, "wakelog-sealing", self._alarm)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Seal once, then by interval until the block ends, and once more."""
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
