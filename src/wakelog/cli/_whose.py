"""Whose records a command sends: without a choice, never those of several services or pipelines."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable
from pathlib import Path

from wakelog.errors import ConfigurationError
from wakelog.journal import Owner, folders, owner_of

_MOST_NAMED = 8


def add_whose(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that select a service and a pipeline."""
    parser.add_argument(
        "--service",
        metavar="NAME",
        help="only of this service, NAME or NAMESPACE/NAME; required if there are several",
    )
    parser.add_argument(
        "--pipeline", metavar="NAME", help="only of this pipeline; required if there are several"
    )
    parser.add_argument(
        "--all", action="store_true", help="of every service and pipeline, to one destination"
    )


class Whose:
    """Tells whether a folder's records are selected.

    Without ``--service``, ``--pipeline`` and ``--all``, the only service and pipeline in the
    journal is selected; in an empty journal, the first one that appears.

    Args:
        arguments: The arguments that ``add_whose`` declared.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._service: str | None = arguments.service
        self._pipeline: str | None = arguments.pipeline
        self._all: bool = arguments.all
        self._only: Owner | None = None
        if self._all and (self._service or self._pipeline):
            raise ConfigurationError(
                "--all selects every service: give either it, or --service and --pipeline"
            )

    def choose(self, root: Path, command: str) -> None:
        """Select the only service and pipeline that matches the command line, if there is one.

        Args:
            root: The journal's directory.
            command: The command's name, for the message.

        Raises:
            ConfigurationError: If several match, or the journal has records and none match.
            JournalError: If the directory cannot be read.
        """
        if self._all:
            return
        there = owners(folders(root))
        asked = [owner for owner in there if self._is_asked(owner)]
        if len(asked) > 1:
            raise ConfigurationError(_several(asked, root, command))
        if asked:
            self._only = asked[0]
        elif there and (self._service or self._pipeline):
            known = ", ".join(name_of(owner) for owner in there[:_MOST_NAMED])
            message = f"nothing of that service and pipeline is in {root}. There is: {known}"
            raise ConfigurationError(message)

    def is_meant(self, folder: Path) -> bool:
        """Tell whether a folder's records are selected; without an owner, only by ``--all``."""
        if self._all:
            return True
        owner = owner_of(folder)
        if owner is None or not self._is_asked(owner):
            return False
        if self._only is None:
            self._only = owner
        return owner.whose == self._only.whose

    def is_asked(self, folder: Path) -> bool:
        """Tell whether a folder's owner matches ``--service`` and ``--pipeline``."""
        owner = owner_of(folder)
        return owner is not None and self._is_asked(owner)

    def _is_asked(self, owner: Owner) -> bool:
        names = (None, owner.service.name, str(owner.service))
        return self._service in names and self._pipeline in (None, owner.pipeline)


def owners(among: Iterable[Path]) -> list[Owner]:
    """Return an owner for each service and pipeline among folders, sorted by name."""
    found: dict[tuple[object, ...], Owner] = {}
    for folder in among:
        owner = owner_of(folder)
        if owner is not None:
            found.setdefault(owner.whose, owner)
    return sorted(found.values(), key=lambda owner: owner.whose)


def whose(owner: Owner | None) -> dict[str, str | None]:
    """Return an owner in the form that ``--json`` prints; without one, all are null."""
    return {
        "service": None if owner is None else owner.service.name,
        "namespace": None if owner is None else owner.service.namespace,
        "pipeline": None if owner is None else owner.pipeline,
        "signal": None if owner is None else owner.signal,
    }


def name_of(owner: Owner) -> str:
    """Return the name of a service and a pipeline for messages."""
    return f"{owner.service}, pipeline {owner.pipeline}"


def _several(asked: list[Owner], root: Path, command: str) -> str:
    lines = []
    for owner in asked[:_MOST_NAMED]:
        whose = f"--service {shlex.quote(str(owner.service))}"
        lines.append(f"{whose} --pipeline {shlex.quote(owner.pipeline)}")
    if len(asked) > _MOST_NAMED:
        lines.append("...")
    return (
        f"records of {len(asked)} services or pipelines are in {root}, and they may belong to different "
        f"places. Name one, as in: wakelog {command}, with {'; or '.join(lines)}. --all sends all of "
        "them to one place"
    )
