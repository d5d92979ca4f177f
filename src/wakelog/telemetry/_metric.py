"""The entries of a table of metrics, and the attributes that several tables use."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]

Attributes = dict[str, tuple[str, ...] | str]


class Metric(NamedTuple):
    """A metric, with its meaning and advice.

    Attributes:
        name: The OpenTelemetry name.
        kind: The kind of instrument. All but histograms are observed at collection.
        unit: The unit, by UCUM.
        description: What the metric counts or measures.
        advice: What to do when the value changes.
        attributes: The attributes, each with all its possible values or a description of them.
        buckets: The bucket boundaries of a histogram.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    advice: str
    attributes: Attributes = {}  # noqa: RUF012 - never changed
    buckets: tuple[float, ...] = ()


REASON, POLICY, KIND, ORIGIN = "reason", "policy", "kind", "wakelog.origin"
OWN, ADOPTED = "own", "adopted"
OTHER: Final = "other"


def reason_of(error: BaseException, known: Container[str]) -> str:
    """Return the reason of an error, ``other`` if it is not among the known values."""
    reason = getattr(error, "reason", OTHER)
    return reason if isinstance(reason, str) and reason in known else OTHER
