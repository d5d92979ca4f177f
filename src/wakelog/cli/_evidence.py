"""What the seals of a journal prove, and against which attackers, for ``wakelog verify``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wakelog.cli._parser import add_file
from wakelog.cli._words import counted
from wakelog.errors import ConfigurationError
from wakelog.evidence import (
    Anchored,
    AnchorsReport,
    Authorities,
    FolderReport,
    PublicKeys,
    check_anchors,
    check_folder,
    read_anchors,
)

_WITHOUT_ANCHORS: Final = (
    "Not proved: that the newest seals were not removed with their lines, that no earlier copy was "
    "restored, that no folder was deleted, and that a person with the key has not rewritten the journal. "
    "To check this, give --anchors the seals that a next hop, another machine or a time-stamp authority has."
)


def add_evidence(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments with which seals are checked."""
    add_file(
        parser,
        "--keys",
        "check the seals with these Ed25519 public keys: a PEM file, or a directory of them",
        metavar="PATH",
    )
    add_file(
        parser,
        "--anchors",
        "compare with anchored seals: a file of checkpoints or time stamps, or OTLP-JSON",
        action="append",
        default=[],
    )
    add_file(parser, "--tsa", "root certificates of time-stamp authorities, as PEM")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The result of checking seals.

    Attributes:
        keys: The public keys that were given.
        reports: A report for each writer's folder.
        anchors: The result of comparing with anchors; None if none were given.
    """

    keys: PublicKeys
    reports: list[FolderReport]
    anchors: AnchorsReport | None

    @property
    def misfits(self) -> list[dict[str, Any]]:
        """The first misfit of each writer, in the form that ``--json`` prints."""
        found: dict[str, dict[str, Any]] = {}
        for report in self.reports:
            if report.misfit is not None:
                named = {**report.misfit._asdict(), "file": str(report.misfit.file)}
                found[report.folder.name] = {"writer": report.folder.name, **named}
        for folder, what in self.anchors.misfits if self.anchors is not None else ():
            place = {"file": str(folder / "seals.jsonl"), "line": 0, "offset": 0, "what": what}
            found.setdefault(folder.name, {"writer": folder.name, **place})
        return list(found.values())

    @property
    def shows(self) -> list[str]:
        """Sentences about what is proved, and against which attackers."""
        seals = sum(len(report.seals) for report in self.reports)
        signers = {seal.signer for report in self.reports for seal in report.seals}
        if self.misfits:
            return ["The mismatches are listed above; nothing else is proved about these writers."]
        if not signers:
            return ["Nothing is sealed, so nothing is proved."]
        named = " or ".join(sorted(signers))
        first = (
            f"{counted(seals, 'seal is', 'seals are')} valid. Nobody without the key {named} has edited, inserted, reordered "
            "or deleted a sealed line."
        )
        sentences = [first, *self._of_anchors()]
        if adopted := sum(report.adopted for report in self.reports):
            whose = "its" if adopted == 1 else "their"
            sentences.append(
                f"{counted(adopted, 'line was', 'lines were')} sealed after {whose} process had ended: nothing is proved about the "
                "time before that."
            )
        if unsealed := sum(report.unsealed for report in self.reports):
            lines = counted(unsealed, "line is", "lines are")
            sentences.append(f"{lines} not sealed: nothing is proved about them.")
        deleted = [one for report in self.reports for one in report.deleted]
        if deleted:
            reasons = ", ".join(sorted({reason for _, reason in deleted}))
            sentences.append(
                f"{counted(len(deleted), 'deletion is', 'deletions are')} signed ({reasons})."
            )
        if erased := sum(len(report.erased) for report in self.reports):
            sentences.append(
                f"{counted(erased, 'erased value has', 'erased values have')} a signed erasure."
            )
        return sentences

    def _of_anchors(self) -> list[str]:
        anchors = self.anchors
        if anchors is None or not anchors.held:
            return [_WITHOUT_ANCHORS]
        held = sum(1 for report in self.reports if report.anchored)
        first = (
            f"{counted(anchors.held, 'anchored seal is', 'anchored seals are')} in the journal: up to the anchored seals of "
            f"{counted(held, 'writer')}, even "
            "a person with the key has changed and removed nothing, unless they can change the anchors."
        )
        sentences = [first]
        if stamps := [report.stamped for report in self.reports if report.stamped is not None]:
            sentences.append(
                f"A time-stamp authority had seals of {counted(len(stamps), 'writer')} by "
                f"{max(stamps).isoformat()}, no matter who can change the anchors."
            )
        if anchors.unstamped:
            sentences.append(
                f"{counted(anchors.unstamped, 'time stamp is', 'time stamps are')} invalid, or --tsa was not given."
            )
        if anchors.foreign:
            sentences.append(
                f"{counted(anchors.foreign, 'anchored seal is', 'anchored seals are')} signed with other keys."
            )
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """Return the result in the form that ``--json`` prints."""
        return {
            "keys": self.keys.ids,
            "shows": self.shows,
            "anchored": self.anchors.held if self.anchors is not None else None,
            "writers": [
                {
                    "writer": report.folder.name,
                    "seals": len(report.seals),
                    "last_seq": report.last.last_seq if report.last is not None else 0,
                    "closed": report.last.closed if report.last is not None else False,
                    "unsealed": report.unsealed,
                    "adopted": report.adopted,
                    "anchored": report.anchored,
                    "stamped": report.stamped.isoformat() if report.stamped is not None else None,
                    "deleted": [
                        {"below": below, "reason": reason} for below, reason in report.deleted
                    ],
                    "erased": len(report.erased),
                }
                for report in self.reports
            ],
        }


def evidence_of(
    root: Path, writer: str | None, folders: Sequence[Path], arguments: argparse.Namespace
) -> Evidence | None:
    """Return the result of checking the seals of folders, or None without ``--keys``.

    Args:
        root: The journal's directory.
        writer: The only writer to check; None for all.
        folders: The writers' folders.
        arguments: The command line.

    Raises:
        ConfigurationError: If keys or certificates cannot be used.
        JournalError: If reading fails.
    """
    if arguments.keys is None:
        if arguments.anchors or arguments.tsa:
            raise ConfigurationError(
                "--anchors and --tsa need --keys, which the seals are checked with"
            )
        return None
    keys = PublicKeys.from_path(arguments.keys)
    authorities = Authorities(arguments.tsa) if arguments.tsa else None
    reports = [check_folder(folder, keys) for folder in folders]
    anchors = None
    if arguments.anchors:
        held = [one for path in arguments.anchors for one in _anchored(path, keys)]
        meant = {folder.name for folder in folders}
        if writer is not None:  # else a missing folder was removed
            held = [one for one in held if one.seal.writer in meant]
        anchors = check_anchors(root, reports, held, keys, authorities)
    return Evidence(keys, reports, anchors)


def _anchored(path: str, keys: PublicKeys) -> list[Anchored]:
    """Return the seals in an anchor's file.

    Raises:
        ConfigurationError: If it has no seal that was signed with one of the keys.
        JournalError: If it cannot be read.
    """
    held = list(read_anchors(Path(path)))
    if not held:
        raise ConfigurationError(
            f"{path} holds no seals: give --anchors a file of checkpoints or time stamps, or a "
            "backend's export as OTLP-JSON, one request per line"
        )
    seals = [one.seal for one in held]
    if all(keys.misfit(seal.signer, seal.signature, seal.signed) for seal in seals):
        others = " and ".join(sorted({seal.signer for seal in seals})[:3])
        raise ConfigurationError(
            f"all seals in {path} are signed with keys that were not given: {others}"
        )
    return held
