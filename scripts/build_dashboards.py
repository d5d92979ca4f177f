"""Writes the Grafana dashboards of `collector-config/grafana/dashboards/` from the code below.

`python -m scripts.build_dashboards` writes the files; the tests fail when they differ from this code, and
evaluate every expression in a real Prometheus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, logs, loki, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)

FOLDER = Path(__file__).resolve().parent.parent / "collector-config" / "grafana" / "dashboards"
METRICS = DataSourceRef(type_val="prometheus", uid="${metrics}")
# What can be one selector more than the processes that were chosen.
SELECTORS = {
    "$own": 'wakelog_origin="own",$by',
    "$ours": 'otel_component_type=~"wakelog_.*",$by',
}
LOGS = DataSourceRef(type_val="loki", uid="${logs}")
# What "All" services are. Loki refuses `.*`, which a line without a service would match too.
ALL = ".+"
# Events of agents, and what each has to say for itself: its text in Loki is but its name and id.
LINES = (
    '{service_name=~"$service"} | scope_name="wakelog" | line_format `{{.event_name}}'
    "{{with .gen_ai_agent_name}} {{.}}{{end}}{{with .gen_ai_tool_name}} {{.}}{{end}}"
    "{{with .gen_ai_request_model}} {{.}}{{end}}{{with .wakelog_status}} {{.}}{{end}}"
    "{{with .error_type}} {{.}}{{end}}`"
)


class Panel(NamedTuple):
    """A graph, or one number.

    Attributes:
        title: Its title.
        about: What it shows and what to do when it moves.
        unit: Grafana's name of the unit.
        queries: PromQL and legend of each line. `$by` stands for the processes that were chosen,
            `$own` for what they have recorded themselves, `$ours` for Wakelog's own components beside
            those of the SDK, and `$span` for the range over which rates are taken.
        limit: For one number: the value from which on it is red; None makes a graph.
        words: What stands in the place of a value, by the value.
    """

    title: str
    about: str
    unit: str
    queries: dict[str, str]
    limit: float | None = None
    words: dict[int, str] | None = None


# What a circuit's number means, in `wakelog.delivery.circuit.state` and the gateway's.
CIRCUIT = {0: "sends", 1: "tries", 2: "waits"}


def quantile(q: float, metric: str, by: str = "le") -> str:
    """Return the expression of a quantile of a histogram."""
    return f"histogram_quantile({q}, sum by ({by}) (rate({metric}_bucket{{$by}}[$span])))"


HEALTH = {
    "The books": [
        Panel(
            "Not accounted for",
            "Accepted minus all other counts. A value other than 0 is a bug: please report it.",
            "short",
            {
                "sum(wakelog_events_accepted_total{$by}) - sum(wakelog_events_delivered_total{$by}) "
                "- sum(wakelog_events_dead_lettered_total{$by} or vector(0)) "
                "- sum(wakelog_events_evicted_total{$by} or vector(0)) "
                "- sum(wakelog_events_corrupt_total{$by} or vector(0)) "
                "- sum(wakelog_events_pending{$by})": "events"
            },
            limit=1,
        ),
        Panel(
            "Pending",
            "In the journal, and not delivered yet. It grows while the next hop is down.",
            "short",
            {"sum(wakelog_events_pending{$by})": "events"},
            limit=100_000,
        ),
        Panel(
            "Oldest pending",
            "How far behind the next hop is.",
            "s",
            {"max(wakelog_delivery_pending_age_seconds{$by})": "age"},
            limit=300,
        ),
        Panel(
            "Circuit",
            "sends: the next hop takes what it gets. tries: one batch is sent to see. waits: it fails, and is left alone.",
            "short",
            {"max(wakelog_delivery_circuit_state{$by})": "state"},
            limit=2,
            words=CIRCUIT,
        ),
        Panel(
            "Accepted and delivered",
            "Delivered falls behind during an outage and catches up after it.",
            "short",
            {
                "sum(rate(wakelog_events_accepted_total{$own}[$span]))": "accepted",
                "sum(rate(wakelog_events_delivered_total{$by}[$span]))": "delivered",
                "sum(rate(wakelog_delivery_replayed_total{$by}[$span]))": "of these, replayed",
            },
        ),
        Panel(
            "Lost, by reason",
            "Empty, unless a policy that you chose discards events, or a disk damages them.",
            "short",
            {
                "sum by (reason) (rate(wakelog_events_refused_total{$by}[$span]))": "refused: {{reason}}",
                "sum by (reason) (rate(wakelog_events_evicted_total{$by}[$span]))": "evicted: {{reason}}",
                "sum by (policy) (rate(wakelog_buffer_dropped_total{$by}[$span]))": "buffer: {{policy}}",
                "sum(rate(wakelog_events_dead_lettered_total{$by}[$span]))": "dead letters",
                "sum(rate(wakelog_events_corrupt_total{$by}[$span]))": "corrupt",
            },
        ),
        Panel(
            "Pending events",
            "By process.",
            "short",
            {"sum by (service_name) (wakelog_events_pending{$by})": "{{service_name}}"},
        ),
    ],
    "Spans": [
        Panel(
            "Spans: not accounted for",
            "Accepted minus all other counts. A value other than 0 is a bug: please report it.",
            "short",
            {
                "sum(wakelog_spans_accepted_total{$by}) - sum(wakelog_spans_delivered_total{$by}) "
                "- sum(wakelog_spans_dead_lettered_total{$by} or vector(0)) "
                "- sum(wakelog_spans_evicted_total{$by} or vector(0)) "
                "- sum(wakelog_spans_corrupt_total{$by} or vector(0)) "
                "- sum(wakelog_spans_pending{$by})": "spans"
            },
            limit=1,
        ),
        Panel(
            "Spans: pending",
            "In the journal, and not delivered yet. It grows while the next hop is down.",
            "short",
            {"sum(wakelog_spans_pending{$by})": "spans"},
            limit=100_000,
        ),
        Panel(
            "Open spans",
            "Started and not ended. If it only grows, streams are not closed: see idle_limit.",
            "short",
            {"sum(wakelog_spans_open{$by})": "spans"},
            limit=10_000,
        ),
        Panel(
            "Unknown outcomes",
            "Spans per hour whose process was killed, or which had no activity for too long.",
            "short",
            {"sum(increase(wakelog_spans_unknown_outcome_total{$by}[1h]))": "spans"},
            limit=1,
        ),
        Panel(
            "Spans: accepted and delivered",
            "Delivered falls behind during an outage and catches up after it.",
            "short",
            {
                "sum(rate(wakelog_spans_accepted_total{$own}[$span]))": "accepted",
                "sum(rate(wakelog_spans_delivered_total{$by}[$span]))": "delivered",
            },
        ),
        Panel(
            "Spans: lost, by reason",
            "Empty, unless a policy that you chose discards spans, or a disk damages them.",
            "short",
            {
                "sum by (reason) (rate(wakelog_spans_refused_total{$by}[$span]))": "refused: {{reason}}",
                "sum by (reason) (rate(wakelog_spans_evicted_total{$by}[$span]))": "evicted: {{reason}}",
                "sum(rate(wakelog_spans_dead_lettered_total{$by}[$span]))": "dead letters",
                "sum(rate(wakelog_spans_corrupt_total{$by}[$span]))": "corrupt",
            },
        ),
        Panel(
            "Open and unknown, by service",
            "Which programs have open spans, and which ones are killed during spans.",
            "short",
            {
                "sum by (service_name) (wakelog_spans_open{$by})": "open: {{service_name}}",
                "sum by (service_name) (rate(wakelog_spans_unknown_outcome_total{$by}[$span])) * 60": (
                    "unknown a minute: {{service_name}}"
                ),
            },
        ),
    ],
    "Emit": [
        Panel(
            "Buffer",
            "Only programs with buffer= have one. At its capacity, its policy decides.",
            "short",
            {
                "sum(otel_sdk_processor_log_queue_size{$ours})": "events",
                "sum(otel_sdk_processor_log_queue_capacity{$ours})": "capacity",
            },
        ),
        Panel(
            "Wait for the buffer, 99th percentile",
            "How long BLOCK held up the agent.",
            "s",
            {quantile(0.99, "wakelog_buffer_wait_duration_seconds"): "wait"},
        ),
        Panel(
            "Write",
            "Duration of write(2), one in sixteen measured. With the disk's cache, microseconds are usual.",
            "s",
            {
                quantile(0.5, "wakelog_journal_write_duration_seconds"): "median",
                quantile(0.99, "wakelog_journal_write_duration_seconds"): "99th percentile",
            },
        ),
        Panel(
            "Sync",
            "Duration of fdatasync, for PERIODIC and FSYNC.",
            "s",
            {
                quantile(0.5, "wakelog_journal_fsync_duration_seconds"): "median",
                quantile(0.99, "wakelog_journal_fsync_duration_seconds"): "99th percentile",
            },
        ),
        Panel(
            "Events per sync",
            "How many share one.",
            "short",
            {
                "sum(rate(wakelog_journal_commit_events_sum{$by}[$span])) / "
                "sum(rate(wakelog_journal_commit_events_count{$by}[$span]))": "events"
            },
        ),
        Panel(
            "Disk",
            "At the limit, the policy decides: new events are refused or wait, or old ones are evicted.",
            "bytes",
            {
                "sum by (service_name) (wakelog_journal_disk_usage_bytes{$by})": "{{service_name}}",
                "max(wakelog_journal_disk_limit_bytes{$by})": "limit",
            },
        ),
    ],
    "Delivery": [
        Panel(
            "From emit to the next hop",
            "For live records; replayed records are excluded.",
            "s",
            {
                quantile(0.5, "wakelog_delivery_latency_seconds"): "median",
                quantile(0.99, "wakelog_delivery_latency_seconds"): "99th percentile",
            },
        ),
        Panel(
            "Export",
            "Duration of one request, by outcome.",
            "s",
            {
                "histogram_quantile(0.99, sum by (le, error_type) (rate("
                "otel_sdk_exporter_operation_duration_seconds_bucket{$ours}[$span])))": "{{error_type}}",
            },
        ),
        Panel(
            "Records in flight and delivered",
            "Records in the current request, and records exported per second.",
            "short",
            {
                "sum(otel_sdk_exporter_log_inflight{$ours})": "in flight",
                "sum(rate(otel_sdk_exporter_log_exported_total{$ours}[$span]))": "exported a second",
            },
        ),
        Panel(
            "Pause before the next attempt",
            "Grows while the next hop fails, up to 30 s or to the time that it asks for.",
            "s",
            {quantile(0.99, "wakelog_delivery_retry_delay_seconds"): "pause"},
        ),
        Panel(
            "Pending bytes",
            "What the next hop still has to take.",
            "bytes",
            {"sum(wakelog_delivery_pending_bytes{$by})": "bytes"},
        ),
        Panel(
            "Recovered",
            "Found at the start: torn lines, damaged lines, writers of dead processes.",
            "short",
            {"sum by (kind) (wakelog_journal_recovered_total{$by})": "{{kind}}"},
        ),
    ],
    "Gateway": [
        Panel(
            "Gateway: not accounted for",
            "Accepted for forwarding minus all other counts. A value other than 0 is a bug.",
            "short",
            {
                "sum(wakelog_gateway_events_accepted_total{$by}) "
                "- sum(wakelog_gateway_events_forwarded_total{$by}) "
                "- sum(wakelog_gateway_events_pending{$by}) "
                "- sum(wakelog_gateway_events_rejected_total{$by}) "
                "- sum(wakelog_gateway_events_dead_lettered_total{$by}) "
                "- sum(wakelog_gateway_events_corrupt_total{$by}) "
                "- sum(wakelog_gateway_events_dropped_total{$by})": "events"
            },
            limit=1,
        ),
        Panel(
            "Gateway: oldest pending",
            "How far behind the transport is. With a closed circuit, a single session is stuck.",
            "s",
            {"max(wakelog_gateway_pending_age_seconds{$by})": "age"},
            limit=300,
        ),
        Panel(
            "Gateway: circuit",
            "sends: events are sent. tries: one is sent to see. waits: the transport fails, and is left alone.",
            "short",
            {"max(wakelog_gateway_circuit_state{$by})": "state"},
            limit=2,
            words=CIRCUIT,
        ),
        Panel(
            "Gateway: transports that fail",
            "Processes in which the last attempt to send, or the last health check, failed.",
            "short",
            {"sum(1 - wakelog_gateway_transport_healthy{$by})": "processes"},
            limit=1,
        ),
        Panel(
            "Gateway: logged and forwarded",
            "Forwarded falls behind during an outage and catches up after it.",
            "short",
            {
                "sum(rate(wakelog_gateway_events_logged_total{$by}[$span]))": "logged",
                "sum(rate(wakelog_gateway_events_forwarded_total{$by}[$span]))": "forwarded",
            },
        ),
        Panel(
            "Gateway: pending",
            "In the files, or, for gateways without files, in the bounded queue in memory.",
            "short",
            {
                "sum by (service_name) (wakelog_gateway_events_pending{$by})": "{{service_name}}",
                "sum(wakelog_gateway_queue_size{$by})": "of these, in memory",
                "sum(wakelog_gateway_queue_capacity{$by})": "room in memory",
            },
        ),
        Panel(
            "Gateway: errors",
            "Local: the call raised because an event was not logged. Transport: a failed attempt, which is retried.",
            "short",
            {
                "sum by (kind, error_type) (rate(wakelog_gateway_errors_total{$by}[$span]))": (
                    "{{kind}}: {{error_type}}"
                ),
                "sum(rate(wakelog_gateway_events_rejected_total{$by}[$span]))": "rejected",
                "sum(rate(wakelog_gateway_events_dead_lettered_total{$by}[$span]))": "dead letters",
                "sum(rate(wakelog_gateway_events_corrupt_total{$by}[$span]))": "corrupt",
                "sum by (reason) (rate(wakelog_gateway_events_dropped_total{$by}[$span]))": "{{reason}}",
            },
        ),
        Panel(
            "Gateway: overhead",
            "Duration of an await in the agent, including the local write; one in sixteen measured.",
            "s",
            {
                quantile(0.5, "wakelog_gateway_overhead_duration_seconds"): "median",
                quantile(0.99, "wakelog_gateway_overhead_duration_seconds"): "99th percentile",
            },
        ),
        Panel(
            "Gateway: send",
            "Time of an attempt, by what came of it.",
            "s",
            {
                quantile(
                    0.99, "wakelog_gateway_send_duration_seconds", "le, error_type"
                ): "{{error_type}}",
            },
        ),
        Panel(
            "Gateway: open files",
            "At most max_open_files for each gateway.",
            "short",
            {"sum by (service_name) (wakelog_gateway_files_open{$by})": "{{service_name}}"},
        ),
    ],
}

RUNS = 'gen_ai_operation_name="invoke_agent"'
TOOLS = 'gen_ai_operation_name="execute_tool"'
MODELS = 'gen_ai_operation_name="chat"'
AGENTS = {
    "Runs": [
        Panel(
            "Runs",
            "Runs that ended, a minute.",
            "short",
            {
                f"sum by (gen_ai_agent_name) (rate(agent_calls_total{{{RUNS},$by}}[$span])) * 60": (
                    "{{gen_ai_agent_name}}"
                )
            },
        ),
        Panel(
            "Duration of a run",
            "95th percentile.",
            "s",
            {
                "histogram_quantile(0.95, sum by (le, gen_ai_agent_name) (rate("
                f"agent_duration_seconds_bucket{{{RUNS},$by}}[$span])))": "{{gen_ai_agent_name}}"
            },
        ),
        Panel(
            "Success rate",
            "The share of spans that ended without an error, by operation. Spans of unknown outcome count as errors.",
            "percentunit",
            {
                "1 - (sum by (gen_ai_operation_name) (rate("
                'agent_calls_total{status_code="STATUS_CODE_ERROR",$by}[$span])) '
                "or sum by (gen_ai_operation_name) (rate(agent_calls_total{$by}[$span])) * 0) "
                "/ sum by (gen_ai_operation_name) (rate(agent_calls_total{$by}[$span]))": (
                    "{{gen_ai_operation_name}}"
                )
            },
        ),
        Panel(
            "Errors",
            "Spans per minute that ended with an error.",
            "short",
            {
                "sum by (gen_ai_operation_name, error_type) (rate("
                'agent_calls_total{status_code="STATUS_CODE_ERROR",$by}[$span])) * 60': (
                    "{{gen_ai_operation_name}}: {{error_type}}"
                )
            },
        ),
    ],
    "Tools and models": [
        Panel(
            "Unknown outcomes",
            "Spans per minute of unknown outcome: their process was killed, or they were not closed.",
            "short",
            {
                "sum by (gen_ai_operation_name) (rate("
                'agent_calls_total{wakelog_span_outcome="unknown",$by}[$span])) * 60': (
                    "{{gen_ai_operation_name}}"
                )
            },
        ),
        Panel(
            "Tool calls",
            "A minute, by tool.",
            "short",
            {
                f"sum by (gen_ai_tool_name) (rate(agent_calls_total{{{TOOLS},$by}}[$span])) * 60": (
                    "{{gen_ai_tool_name}}"
                )
            },
        ),
        Panel(
            "Duration of a tool call",
            "95th percentile, by tool.",
            "s",
            {
                "histogram_quantile(0.95, sum by (le, gen_ai_tool_name) (rate("
                f"agent_duration_seconds_bucket{{{TOOLS},$by}}[$span])))": "{{gen_ai_tool_name}}"
            },
        ),
        Panel(
            "Duration of a model call",
            "95th percentile, by model.",
            "s",
            {
                "histogram_quantile(0.95, sum by (le, gen_ai_request_model) (rate("
                f"agent_duration_seconds_bucket{{{MODELS},$by}}[$span])))": "{{gen_ai_request_model}}"
            },
        ),
        Panel(
            "Tokens",
            "A minute, by model.",
            "short",
            {
                "sum by (gen_ai_request_model) (rate(agent_input_tokens_total{$by}[$span])) * 60": (
                    "in: {{gen_ai_request_model}}"
                ),
                "sum by (gen_ai_request_model) (rate(agent_output_tokens_total{$by}[$span])) * 60": (
                    "out: {{gen_ai_request_model}}"
                ),
            },
        ),
        Panel(
            "Cost",
            "US dollars per hour, by model, if programs record costs (WAKELOG_COSTS).",
            "currencyUSD",
            {
                "sum by (gen_ai_request_model) (rate(agent_cost_usd_total{$by}[$span])) * 3600": (
                    "{{gen_ai_request_model}}"
                )
            },
        ),
        Panel(
            "Hand-offs and sub-agents",
            "A minute.",
            "short",
            {
                "sum by (event_name) (rate(agent_events_total{"
                'event_name=~"wakelog.(agent_handoff|sub_agent_invoked|resumed)",$by}[$span])) * 60': (
                    "{{event_name}}"
                )
            },
        ),
        Panel(
            "Events",
            "A minute, by what they are.",
            "short",
            {
                "sum by (event_name) (rate(agent_events_total{$by}[$span])) * 60": "{{event_name}}",
            },
        ),
    ],
}


def expressions() -> dict[str, list[str]]:
    """Return every PromQL expression by its dashboard, with Grafana's own variables in it."""
    return {
        name: [grafana(q) for panels in rows.values() for one in panels for q in one.queries]
        for name, rows in (("pipeline-health", HEALTH), ("agents", AGENTS))
    }


def grafana(expression: str) -> str:
    """Put Grafana's variables into an expression."""
    for name, selector in SELECTORS.items():
        expression = expression.replace(name, selector)
    return expression.replace("$by", 'service_name=~"$service"').replace(
        "$span", "$__rate_interval"
    )


def built(one: Panel) -> Any:
    """Build a graph, or a number with a colour."""
    panel: Any = timeseries.Panel() if one.limit is None else stat.Panel()
    panel = panel.title(one.title).description(one.about).datasource(METRICS).unit(one.unit)
    if one.limit is None:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
        panel = panel.min(0).fill_opacity(10).show_points("never").height(8).span(8)
        panel = panel.legend(legend.placement(LegendPlacement.BOTTOM).show_legend(True))
    else:
        steps = [Threshold(None, "green"), Threshold(one.limit, "red")]
        colours = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
        last = common.ReduceDataOptions().calcs(["lastNotNull"])
        panel = panel.thresholds(colours).reduce_options(last).height(4).span(6)
    if one.words is not None:
        panel = panel.mappings(
            [ValueMap({str(n): ValueMappingResult(w) for n, w in one.words.items()})]
        )
    for number, (expression, legend_of_line) in enumerate(one.queries.items()):
        query = prometheus.Dataquery().expr(grafana(expression)).legend_format(legend_of_line)
        panel = panel.with_target(query.ref_id(chr(ord("A") + number)))
    return panel


def dashboard(uid: str, title: str, rows: dict[str, list[Panel]]) -> Dashboard:
    """Build a dashboard, with the data sources and the services as its variables."""
    accepted = '{__name__=~"wakelog_(gateway_)?events_accepted_total"}'
    services = f"label_values({accepted}, service_name)"
    result = (
        Dashboard(title)
        .uid(uid)
        .tags(["wakelog"])
        .refresh("30s")
        .time("now-1h", "now")
        .readonly()
        .link(
            DashboardLink("Wakelog")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["wakelog"])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(DatasourceVariable("metrics").label("Metrics").type("prometheus"))
        .with_variable(DatasourceVariable("logs").label("Logs").type("loki"))
        .with_variable(
            QueryVariable("service")
            .label("Service")
            .datasource(METRICS)
            .query(services)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(ALL)
        )
    )
    for row, panels in rows.items():
        result = result.with_row(Row(row))
        for one in panels:
            result = result.with_panel(built(one))
    return result


def agents() -> Dashboard:
    """Build the dashboard of agents: its graphs, and the log lines, each of which leads to its trace."""
    lines = (
        logs.Panel()
        .title("What the agents did")
        .description(
            "Open a line: its trace id links to the run in Tempo, and from there back to this log."
        )
        .datasource(LOGS)
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .height(12)
        .span(24)
        .with_target(loki.Dataquery().expr(LINES).ref_id("A"))
    )
    result = dashboard("wakelog-agents", "Wakelog: agents", AGENTS)
    return result.with_row(Row("Events")).with_panel(lines)


def files() -> dict[Path, str]:
    """Return what every file has to hold."""
    made = {
        "pipeline-health": dashboard("wakelog-health", "Wakelog: pipeline health", HEALTH),
        "agents": agents(),
    }
    return {
        FOLDER / f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(one.build()) + "\n"
        for name, one in made.items()
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
