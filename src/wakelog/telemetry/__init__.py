"""Wakelog's own metrics: the form of their tables, and samples until the next collection.

The instruments are in ``wakelog.telemetry.instruments``, which imports OpenTelemetry's API; this
module does not.
"""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
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

# Without a MeterProvider, nothing is counted.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.telemetry._metric": [
            "ADOPTED",
            "KIND",
            "ORIGIN",
            "OTHER",
            "OWN",
            "POLICY",
            "REASON",
            "Attributes",
            "Metric",
            "reason_of",
        ],
        "wakelog.telemetry._samples": ["MOST_SAMPLES", "samples"],
    },
)
