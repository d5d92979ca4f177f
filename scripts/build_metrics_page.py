"""Writes `docs/metrics.md` from the tables of metrics.

`python -m scripts.build_metrics_page` writes the page; a test fails when it differs from the code.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from wakelog.audit import _metric_table as audit
from wakelog.gateway import _metric_table as gateway
from wakelog.otel import _metric_table as otel
from wakelog.otel import _span_metrics as spans
from wakelog.streams import _metric_table as streams

TABLE = (*otel.TABLE, *spans.TABLE, *gateway.TABLE, *audit.TABLE, *streams.TABLE)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
ABOUT = """\
# Metrics

<!-- Made by `python -m scripts.build_metrics_page` from the tables below `src/wakelog`. -->

Wakelog reports metrics about itself under the meter `wakelog`. With an endpoint there is nothing to set up:

<!-- not run: test_prometheus.py does, with a Collector of its own -->
```sh
export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317
```

`wakelog.configure()` then creates a `MeterProvider` with the same resource as events and spans, and makes it the
global one. It sends metrics every `OTEL_METRIC_EXPORT_INTERVAL` milliseconds (60,000), when `wakelog.shutdown()` is
called, and at the end of the program after the delivery of events, so that the last books include that delivery.
`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` and the other `OTEL_*` variables of the official exporter apply;
`OTEL_METRICS_EXPORTER` may be `otlp`, `console` or `none`. If the next hop accepts no metrics, this is logged once, and
events are not affected. The exit does not wait for it ([Delivery](delivery.md#at-exit)).

A `MeterProvider` of the program is used if there is one, and not changed: the argument of
`configure(meter_provider=...)` or `DurableLogRecordProcessor(meter_provider=...)`, else the global one, if it was set
before. With `configure(logger_provider=...)`, and in zero code, the program or the SDK creates it. Without a
`MeterProvider`, no metrics are recorded, at no cost.

<!-- not run: it needs a Collector -->
```python
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

import wakelog

metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
log = wakelog.configure("clerk")
```

- **The books.** In every collection, within one process:
  `accepted = delivered + pending + dead_lettered + evicted + corrupt`. All figures of a collection belong to the same
  moment. They count from the start of the process; `wakelog status` and `wakelog verify` compute the totals over
  restarts from the files. Records that were pending when a process ended are counted by the process that adopts them,
  as accepted with `wakelog.origin` = `adopted`.
- **The gateway's books.** In every collection:
  `wakelog.gateway.events.accepted = forwarded + pending + rejected + dead_lettered + corrupt + dropped`. Events that a
  killed process left count as accepted, and pending, once another process in the same directory has found them. An
  event that may have been sent just before a kill is sent again, and counts again. `EventSessionLogger` takes
  `meter_provider=`, too; all gateways of a process are summed.
- **Forked children** count their own figures from 0, and the SDK gives each a `service.instance.id` of its own. On a
  `MeterProvider` that Wakelog created, this holds for all metrics, and the counts of a child arrive when it ends
  normally or calls `wakelog.shutdown()`. On any other, the SDK lets a child continue the histograms of its parent.
- **A sidecar**, `wakelog ship --follow`, sends its own books to the endpoint to which it delivers. Records of others
  count there as accepted with `wakelog.origin` = `adopted`; the recording program counts the same records as its own.
- **Cost.** Counts are read, and measurements fetched, at collection time. A thread that emits takes none of the SDK's
  locks; see [Performance](performance.md). Of each kind of measurement, the newest 8192 between two collections are
  kept.
- **Attributes** take their values from the fixed sets below, so the number of time series is bounded.
- **In Prometheus**, dots become underscores, a unit is appended (`_seconds`, `_bytes`), and counters end in
  `_total`: `wakelog.events.accepted` is `wakelog_events_accepted_total`. Dashboards and alerts are in
  `collector-config/`, see [Collector configurations](collector.md).
"""


def wrapped(text: str) -> str:
    """Return a paragraph in lines."""
    return textwrap.fill(text, 105, break_on_hyphens=False, break_long_words=False)


def page() -> str:
    """Return what the page has to hold."""
    parts = [ABOUT]
    for one in TABLE:
        kind = one.kind.replace("_", "-")
        parts.append(
            f"## `{one.name}`\n\n{kind}, unit `{one.unit}`\n\n{wrapped(one.description)}\n"
        )
        for name, values in one.attributes.items():
            if not isinstance(values, str):
                values = " or ".join(f"`{value}`" for value in values)  # noqa: PLW2901 - in words now
            parts.append(f"- `{name}`: {values}")
        if one.attributes:
            parts.append("")
        parts.append(wrapped(f"*When it moves:* {one.advice}") + "\n")
        if one.buckets:
            bounds = ", ".join(f"{bound:g}" for bound in one.buckets)
            parts.append(f"Buckets: {bounds}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
