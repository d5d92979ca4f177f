"""Wakelog's own metrics: the form of their tables, and samples until the next collection.

The instruments are in ``wakelog.telemetry.instruments``, which imports OpenTelemetry's API; this
module does not.
"""

from wakelog.telemetry._metric import (
    ADOPTED,
    KIND,
    ORIGIN,
    OTHER,
    OWN,
    POLICY,
    REASON,
    Attributes,
    Metric,
    reason_of,
)
from wakelog.telemetry._samples import MOST_SAMPLES, samples

__all__ = [
    "ADOPTED",
    "KIND",
    "MOST_SAMPLES",
    "ORIGIN",
    "OTHER",
    "OWN",
    "POLICY",
    "REASON",
    "Attributes",
    "Metric",
    "reason_of",
    "samples",
]
