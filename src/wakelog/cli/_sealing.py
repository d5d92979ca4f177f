"""Signing from outside the programs that record: the key is with this process alone."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakelog.cli._parser import number_from
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


def add_sealing(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say what is signed with, and how often."""
    parser.add_argument(
        "--seal-key", metavar="FILE", help="sign what is there with this Ed25519 key, as PEM"
    )
    parser.add_argument(
        "--seal-interval",
        type=number_from(0, including=False),
        default=60.0,
        metavar="SECONDS",
        help="the longest that a line stays without a seal (60)",
    )
    parser.add_argument(
        "--seal-keep",
        type=number_from(0),
        default=KEEP_SECONDS,
        metavar="SECONDS",
        help="sign for no deletion, where a program asks for one, of what was sealed less long ago (86400)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="FILE",
        help="append each seal to this file, elsewhere, and see at the start that none of them is lost",
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
        signer = sealing.signer()
        assert signer is not None  # noqa: S101 - the settings have a key
        self._root, self._interval = root, sealing.interval
        self.listener = OutsideSealer(root, sealing, signer, wanted, self._record, keep)
        """Signs for what is deleted."""
        self._remember(sealing, PublicKeys.of(signer.public_key))
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

    def _remember(self, sealing: Sealing, keys: PublicKeys) -> None:
        """Have seals missed that the files of checkpoints hold, from before this process."""
        for anchor in sealing.anchors:
            if not isinstance(anchor, FileAnchor) or not os.path.exists(anchor.path):
                continue
            for seal, _ in read_anchors(Path(anchor.path)):
                folder = self._root / seal.writer
                good = keys.misfit(seal.signer, seal.signature, seal.signed) is None
                if good and is_directory(folder):
                    self.listener.remember(folder, seal)

    def _run(self) -> None:
        while not self._stopping:
            self._alarm.wait(self._interval)
            if not self._stopping:
                self.listener.seal_all()

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
