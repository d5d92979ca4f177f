"""The official OTLP exporters, as the ``OTEL_*`` variables choose them."""

from __future__ import annotations

import logging

# requests imports it in the first request that it makes. A child that is forked in that moment would
# inherit the module's lock, and wait for it in its own first request, for ever.
import netrc  # noqa: F401
import os
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
    OTEL_EXPORTER_OTLP_LOGS_PROTOCOL,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
)

from wakelog.errors import ConfigurationError
from wakelog.otel._hearing import named

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("wakelog")

METRICS_SELECTOR = "OTEL_METRICS_EXPORTER"

Signal = Literal["logs", "traces", "metrics"]
_VARIABLES = {
    "logs": (
        "OTEL_LOGS_EXPORTER",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
        OTEL_EXPORTER_OTLP_LOGS_PROTOCOL,
    ),
    "traces": (
        "OTEL_TRACES_EXPORTER",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    ),
    "metrics": (
        METRICS_SELECTOR,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    ),
}
_PROTOCOLS = ("grpc", "http/protobuf")
_GRPC_NAMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:")
_HTTP_PORT = 4318


def log_exporter() -> LogRecordExporter | None:
    """Make the log exporter that the environment asks for.

    Returns:
        An OTLP exporter, or None when no endpoint is configured or ``OTEL_LOGS_EXPORTER=none``.
        The console exporter for ``console``.

    Raises:
        ConfigurationError: For an exporter, endpoint or protocol that cannot be used.
    """
    match _choose("logs"):
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
                OTLPLogExporter as GRPCLogExporter,
            )

            return GRPCLogExporter()
        case "http/protobuf":
            from wakelog.otel._http_answers import make_exporter

            return make_exporter()
        case "console":
            from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter

            return ConsoleLogRecordExporter()
        case _:
            return None


def span_exporter() -> SpanExporter | None:
    """Make the span exporter that the environment asks for; see ``log_exporter``."""
    match _choose("traces"):
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
                OTLPSpanExporter as GRPCSpanExporter,
            )

            return GRPCSpanExporter()
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        case "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter()
        case _:
            return None


def metric_exporter() -> MetricExporter | None:
    """Make the metric exporter that the environment asks for; see ``log_exporter``.

    None for ``OTEL_METRICS_EXPORTER=prometheus`` too, with a warning: who wants to be scraped makes the
    MeterProvider for it.
    """
    if os.environ.get(METRICS_SELECTOR, "").strip() == "prometheus":
        _log.warning(
            "%s=prometheus makes no MeterProvider here: make one with a PrometheusMetricReader and "
            "set it before wakelog.configure(), or use otlp, console or none",
            METRICS_SELECTOR,
        )
        return None
    match _choose("metrics"):
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
                OTLPMetricExporter as GRPCMetricExporter,
            )

            return GRPCMetricExporter()
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            return OTLPMetricExporter()
        case "console":
            from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

            return ConsoleMetricExporter()
        case _:
            return None


def endpoint_of(exporter: LogRecordExporter) -> str:
    """Return what an exporter exports to, in words, for people to read."""
    # The official ones have no public name for it; without it, the exporter's own name is said.
    endpoint = getattr(exporter, "_endpoint", None)
    return named(endpoint) if isinstance(endpoint, str) and endpoint else type(exporter).__name__


def _choose(signal: Signal) -> str | None:
    """Return the protocol to use for a signal, ``console``, or None to keep it local."""
    selector, own_endpoint, own_protocol = _VARIABLES[signal]
    selected = (os.environ.get(selector) or "otlp").strip()
    if selected in ("none", "console"):
        return None if selected == "none" else selected
    if selected != "otlp":
        message = f"{selector}={selected!r} is not known here: use otlp, console or none"
        raise ConfigurationError(message)
    variable = own_endpoint if os.environ.get(own_endpoint) else OTEL_EXPORTER_OTLP_ENDPOINT
    endpoint = os.environ.get(variable, "")  # as the exporter reads it, spaces and all
    if not endpoint:
        return None
    # Without a variable the SDK takes gRPC, and so does this.
    named = own_protocol if os.environ.get(own_protocol) else OTEL_EXPORTER_OTLP_PROTOCOL
    protocol = os.environ.get(named, "").strip() or "grpc"
    if protocol not in _PROTOCOLS:
        message = f"{named}={protocol!r} is not known here: use {' or '.join(_PROTOCOLS)}"
        raise ConfigurationError(message)
    _check_endpoint(variable, endpoint, protocol)
    return protocol


def _check_endpoint(variable: str, endpoint: str, protocol: str) -> None:
    example = "http://localhost:4318" if protocol == "http/protobuf" else "http://localhost:4317"
    problem = None
    try:
        # gRPC also takes a bare host:port, and names of its own.
        if protocol == "grpc" and endpoint.startswith(_GRPC_NAMES):
            return
        bare = "//" not in endpoint and protocol == "grpc"
        parts = urlsplit(f"//{endpoint}" if bare else endpoint)
        port = parts.port
        if not parts.hostname:
            problem = "it names no host"
        elif not bare and parts.scheme not in ("http", "https"):
            problem = f"it begins with {parts.scheme or 'no scheme'!r}, not http or https"
        elif any(character.isspace() for character in endpoint):
            problem = "it contains a space"
    except ValueError as error:
        problem, port = str(error), None
    if problem:
        message = f"{variable}={endpoint!r} is no endpoint: {problem}. Write it as in {example}"
        raise ConfigurationError(message)
    if protocol == "grpc" and port == _HTTP_PORT:
        _log.warning(
            "%s=%s is usually OTLP over HTTP, and gRPC is chosen; "
            "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf if nothing arrives",
            variable,
            endpoint,
        )
