"""Signing a journal outside the programs that record it, so that only this process has the key."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wakelog.cli._parser import add_file, number_from
from wakelog.errors import JournalError
from wakelog.evidence import (
    KEEP_SECONDS,
    FileAnchor,
    OutsideSealer,
    PublicKeys,
    Seal,
    Sealing,
    Signer,
    read_anchors,
    record_checkpoint,
)
from wakelog.journal import Journal, owner_of, signal_of
from wakelog.record import LOGS
from wakelog.runtime import Alarm, Background, is_directory


def add_sealing(parser: argparse.ArgumentParser, *, alone: bool = False) -> None:
    """Declare the arguments of signing.

    Args:
        parser: The command's parser.
        alone: Whether the command only seals: then the names have no ``seal-``, and it may seal once.
    """
    prefix, what = ("--", "sign") if alone else ("--seal-", "sign the journal")
    add_file(parser, f"{prefix}key", f"{what} with this Ed25519 key, as PEM", dest="seal_key")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        f"{prefix}interval",
        dest="seal_interval",
        type=number_from(0, including=False),
        default=60.0,
        metavar="SECONDS",
        help="the maximum time that a line stays without a seal (60)",
    )
    if alone:
        when.add_argument("--once", action="store_true", help="seal the existing lines, and end")
    parser.add_argument(
        f"{prefix}keep",
        dest="seal_keep",
        type=number_from(0),
        default=KEEP_SECONDS,
        metavar="SECONDS",
        help="sign a requested deletion only of segments sealed at least this long ago (86400)",
    )
    add_file(
        parser,
        "--checkpoints",
        "append each seal to this file, in another place, and check at the start that no seal in it is missing",
    )


def sealer_of(
    root: Path, arguments: argparse.Namespace, wanted: Callable[[Path], bool]
) -> SealingThread | None:
    """Return the sealing thread that the command line describes, or None without a key.

    Raises:
        ConfigurationError: If the key cannot be used.
    """
    return None if arguments.seal_key is None else SealingThread(root, arguments, wanted)


def outside_sealer(
    root: Path,
    arguments: argparse.Namespace,
    wanted: Callable[[Path], bool],
    record: Callable[[Path, Seal], None] | None = None,
) -> OutsideSealer:
    """Return a sealer of other processes' folders, which knows the seals in the checkpoint file.

    It therefore notices if one of these seals is missing from the journal.

    Args:
        root: The journal's directory.
        arguments: The command line, with a key.
        wanted: As for ``OutsideSealer``.
        record: As for ``OutsideSealer``.

    Raises:
        ConfigurationError: If the key cannot be used.
        JournalError: If the checkpoint file cannot be read.
    """
    file = arguments.checkpoints
    anchors = (FileAnchor(file),) if file else ()
    signer = Signer.from_file(arguments.seal_key)
    sealing = Sealing(signer, arguments.seal_interval, anchors)
    sealer = OutsideSealer(root, sealing, signer, wanted, record, arguments.seal_keep)
    if file and os.path.exists(file):
        keys = PublicKeys.of(signer.public_key)
        for seal, _ in read_anchors(Path(file)):
            folder = root / seal.writer
            good = keys.misfit(seal.signer, seal.signature, seal.signed) is None
            if good and is_directory(folder):
                sealer.remember(folder, seal)
    return sealer


class SealingThread:
    """Seals a journal's folders at an interval, and sends the seals as records.

    Args:
        root: The journal's directory.
        arguments: The command line, with a key.
        wanted: A function that tells whether to seal a folder.
    """

    def __init__(
        self, root: Path, arguments: argparse.Namespace, wanted: Callable[[Path], bool]
    ) -> None:
        self._root, self._interval = root, arguments.seal_interval
        self.listener = outside_sealer(root, arguments, wanted, self._record)
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
