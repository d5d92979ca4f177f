"""Figures of recording processes, from Prometheus: circuit states and sync durations."""

from __future__ import annotations

import json
import math
import time
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

_SYNC: Final = (
    "histogram_quantile({}, sum by (job, le) "
    "(rate(wakelog_journal_fsync_duration_seconds_bucket[5m])))"
)
QUERIES: Final = {
    "circuit": "max by (job) (wakelog_delivery_circuit_state)",
    "sync_median": _SYNC.format(0.5),
    "sync_slow": _SYNC.format(0.99),
}
"""The queries. Each returns one figure for each job."""
_SECONDS: Final = 2.0
_KEPT_SECONDS: Final = 5.0


class PrometheusClient:
    """The figures of recording processes, queried at most every few seconds.

    Args:
        address: The URL of Prometheus, such as ``http://localhost:9090``.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._kept: dict[str, Any] = {}
        self._until = -math.inf

    def now(self) -> dict[str, Any]:
        """Return ``jobs`` with their figures, and ``problem``, which is empty on success."""
        if time.monotonic() >= self._until:
            self._kept = self._asked()
            self._until = time.monotonic() + _KEPT_SECONDS
        return self._kept

    def _asked(self) -> dict[str, Any]:
        jobs: dict[str, dict[str, Any]] = {}
        try:
            for name, query in QUERIES.items():
                for job, value in self._answers(query):
                    jobs.setdefault(job, {"job": job, **dict.fromkeys(QUERIES)})[name] = value
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            return {"jobs": [], "problem": f"{self._address} does not answer: {reason}"}
        return {"jobs": sorted(jobs.values(), key=lambda one: str(one["job"])), "problem": ""}

    def _answers(self, query: str) -> list[tuple[str, float]]:
        url = f"{self._address}/api/v1/query?{urlencode({'query': query})}"
        with urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - the command line has checked it
            found = json.load(answer)["data"]["result"]
        figures = [(str(one["metric"].get("job", "")), float(one["value"][1])) for one in found]
        return [(job, value) for job, value in figures if math.isfinite(value)]
