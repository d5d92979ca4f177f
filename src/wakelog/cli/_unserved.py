"""Records that wait for an OTLP endpoint that the next hop does not offer, by its response."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wakelog.cli._whose import name_of, whose
from wakelog.cli._words import counted
from wakelog.journal import Owner, owner_of, unserved_answer
from wakelog.record import SPANS

_WHAT: Final = {False: ("log record", "logs"), True: ("span", "traces")}


@dataclass(slots=True)
class Unserved:
    """Records of one service, pipeline and signal that wait for an endpoint.

    Attributes:
        owner: The service, pipeline and signal.
        pending: How many records wait.
        answer: The next hop's response.
    """

    owner: Owner
    pending: int = 0
    answer: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in the form that ``--json`` prints."""
        return {**whose(self.owner), "pending": self.pending, "answer": self.answer}

    @property
    def line(self) -> str:
        """A sentence about these records, with the remedies."""
        record, endpoint = _WHAT[self.owner.signal == SPANS]
        variable = endpoint.upper()
        return (
            f"{counted(self.pending, record)} of {name_of(self.owner)} "
            f"{'is' if self.pending == 1 else 'are'} waiting for a {endpoint} endpoint: "
            f"{self.answer.partition('; ')[0]}. OTEL_EXPORTER_OTLP_{variable}_ENDPOINT names one, "
            f"OTEL_{variable}_EXPORTER=none keeps them here"
        )


def unserved_of(pending: Iterable[tuple[Path, int]]) -> list[Unserved]:
    """Return the records that wait for an endpoint, for each owner.

    Args:
        pending: Writers' folders, each with the number of its pending records.
    """
    found: dict[object, Unserved] = {}
    for folder, count in pending:
        owner = owner_of(folder)
        if owner is None:
            continue
        one = found.setdefault(owner.key, Unserved(owner))
        one.pending += count
        one.answer = unserved_answer(folder) or one.answer
    return [one for one in found.values() if one.answer and one.pending]
