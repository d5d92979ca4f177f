"""What a table of metrics is made of, and the attributes that several tables have."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]

Attributes = dict[str, tuple[str, ...] | str]


class Metric(NamedTuple):
    """A metric, and what its figures mean.

    Attributes:
        name: Its OpenTelemetry name.
        kind: Its instrument; all but histograms are observed when they are collected.
        unit: Its unit, by UCUM.
        description: What it counts or measures.
        advice: What to do when it moves.
        attributes: Its attributes, each with all values that it can have, or with words for them.
        buckets: The upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    advice: str
    attributes: Attributes = {}  # noqa: RUF012 - nobody changes it
    buckets: tuple[float, ...] = ()


REASON, POLICY, KIND, ORIGIN = "reason", "policy", "kind", "wakelog.origin"
OWN, ADOPTED = "own", "adopted"
OTHER: Final = "other"


def reason_of(error: BaseException, known: Container[str]) -> str:
    """Return why an event was refused, as one of the values that an attribute can have."""
    reason = getattr(error, "reason", OTHER)
    return reason if isinstance(reason, str) and reason in known else OTHER
