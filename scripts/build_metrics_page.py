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

Wakelog's figures are under the meter `wakelog`. With an endpoint there is nothing to set up:

<!-- not run: test_prometheus.py does, with a Collector of its own -->
```sh
export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317
```

`wakelog.configure()` then makes a `MeterProvider`, of the same resource as events and spans, makes it the
global one, and sends what it collects every `OTEL_METRIC_EXPORT_INTERVAL` milliseconds (60,000), when
`wakelog.shutdown()` is called, and at the end of the program after the delivery of events, so that the books
that arrive last are the last. `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` and the other `OTEL_*` variables of the official exporter
hold; `OTEL_METRICS_EXPORTER` may say `otlp`, `console` or `none`. A next hop that takes no metrics costs one line
in the log, and no event. An exit does not wait for it ([Delivery](delivery.md#at-exit)).

A `MeterProvider` that the program has is used, and nothing is added to it: the one that
`configure(meter_provider=...)` or `DurableLogRecordProcessor(meter_provider=...)` was given, else the global one,
if it has been set by then. Beside `configure(logger_provider=...)`, and in zero code, the program or the SDK
makes it. Without any, recording and delivery count nothing and pay nothing.

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
  `accepted = delivered + pending + dead_lettered + evicted + corrupt`. All figures of a collection are of one
  moment. They count from the start of the process; over restarts, `wakelog status` and `wakelog verify`
  add up the files. What a process left pending when it ended is counted by the one that adopts it, as
  accepted with `wakelog.origin` = `adopted`.
- **The gateway's books.** In every collection:
  `wakelog.gateway.events.accepted = forwarded + pending + rejected + corrupt + dropped`. What a killed process
  has left is accepted, and pending, as soon as another one on the same directory has found it. An event that may
  have been sent just before a kill is sent again, and counts again. `EventSessionLogger` takes `meter_provider=`
  too; all gateways of a process share these figures.
- **Forked children** count from 0 what is their own, and the SDK gives each a `service.instance.id` of its own.
  On a `MeterProvider` that Wakelog has made, that is true of everything, and what a child counted arrives when it
  ends by itself or calls `wakelog.shutdown()`. On any other the SDK lets a child go on with the
  histograms of its parent.
- **A sidecar**, `wakelog ship --follow`, sends its own books where it delivers. What it delivers for others it
  has accepted with `wakelog.origin` = `adopted`; the program that records counts the same as its own.
- **What it costs.** Counts are read, and measurements fetched, when somebody collects. A thread that emits
  takes none of the SDK's locks; see [Performance](performance.md). Of a kind of measurement the newest 8192
  between two collections are kept.
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
