"""The official OTLP exporters, chosen by the ``OTEL_*`` variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal
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

from wakelog._endpoints import endpoint_name
from wakelog.errors import ConfigurationError
from wakelog.otel._settings import above_0, naming_variables

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from wakelog.otel._periodic_export import PeriodicMetrics

_log = logging.getLogger("wakelog")

LOGS_SELECTOR = "OTEL_LOGS_EXPORTER"
TRACES_SELECTOR = "OTEL_TRACES_EXPORTER"
METRICS_SELECTOR = "OTEL_METRICS_EXPORTER"
_FAMILY = "OTEL_EXPORTER_OTLP_"

Signal = Literal["logs", "traces", "metrics"]
_VARIABLES = {
    "logs": (
        LOGS_SELECTOR,
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
        OTEL_EXPORTER_OTLP_LOGS_PROTOCOL,
    ),
    "traces": (
        TRACES_SELECTOR,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    ),
    "metrics": (
        METRICS_SELECTOR,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    ),
}
_OTLP, _CONSOLE, _NONE, _OURS = "otlp", "console", "none", "wakelog"
_COMPRESSIONS = ("gzip", "deflate", "none")
_GRPC, _HTTP = "grpc", "http/protobuf"
_PROTOCOLS = (_GRPC, _HTTP)
_NAMES: Mapping[Signal, str] = {"logs": "log", "traces": "span", "metrics": "metric"}
_OTLP_PACKAGE = "opentelemetry.exporter.otlp.proto"
# The modules of the classes; each is imported when an exporter is created.
_CLASSES: Mapping[tuple[Signal, str], tuple[str, str]] = {
    ("logs", _GRPC): (f"{_OTLP_PACKAGE}.grpc._log_exporter", "OTLPLogExporter"),
    ("logs", _HTTP): (f"{_OTLP_PACKAGE}.http._log_exporter", "OTLPLogExporter"),
    ("logs", _CONSOLE): ("opentelemetry.sdk._logs.export", "ConsoleLogRecordExporter"),
    ("traces", _GRPC): (f"{_OTLP_PACKAGE}.grpc.trace_exporter", "OTLPSpanExporter"),
    ("traces", _HTTP): (f"{_OTLP_PACKAGE}.http.trace_exporter", "OTLPSpanExporter"),
    ("traces", _CONSOLE): ("opentelemetry.sdk.trace.export", "ConsoleSpanExporter"),
    ("metrics", _GRPC): (f"{_OTLP_PACKAGE}.grpc.metric_exporter", "OTLPMetricExporter"),
    ("metrics", _HTTP): (f"{_OTLP_PACKAGE}.http.metric_exporter", "OTLPMetricExporter"),
    ("metrics", _CONSOLE): ("opentelemetry.sdk.metrics.export", "ConsoleMetricExporter"),
}
# Names of the two OTLP exporters among the SDK's entry points.
_BY_NAME = {"otlp_proto_grpc": _GRPC, "otlp_proto_http": _HTTP}
_GRPC_NAMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:")
_HTTP_PORT = 4318
# Ports already warned about, because logs, spans and metrics read the same variable.
_hinted: set[tuple[str, str]] = set()


def log_exporters() -> list[LogRecordExporter]:
    """Create the log exporters that ``OTEL_LOGS_EXPORTER`` names, ``otlp`` without the variable.

    Returns:
        One for each name, in order: an OTLP exporter if an endpoint is configured, the console
        exporter for ``console``, that of an entry point for any other name. ``wakelog`` means
        ``otlp``, because all of them are used through Wakelog.

    Raises:
        ConfigurationError: If an exporter, endpoint or protocol cannot be used.
    """
    return [_made("logs", kind) for kind in _chosen("logs")]


def log_exporter() -> LogRecordExporter | None:
    """Create the log exporter to deliver to: the first other than the console, else the console.

    Raises:
        ConfigurationError: If an exporter, endpoint or protocol cannot be used.
    """
    kinds = _chosen("logs")
    kinds.sort(key=lambda kind: kind == _CONSOLE)
    return _made("logs", kinds[0]) if kinds else None


def otlp_log_exporter() -> LogRecordExporter | None:
    """Create the OTLP log exporter if an endpoint is configured, whatever the selector says."""
    kind = _otlp("logs", None)
    return None if kind is None else _made("logs", kind)


def span_exporters() -> list[SpanExporter]:
    """Create the span exporters that the environment names; see ``log_exporters``."""
    return [_made("traces", kind) for kind in _console_first(_chosen("traces"))]


def span_exporter() -> SpanExporter | None:
    """Create the span exporter to deliver to: the first other than the console, else the console.

    Raises:
        ConfigurationError: If an exporter, endpoint or protocol cannot be used.
    """
    kinds = _chosen("traces")
    kinds.sort(key=lambda kind: kind == _CONSOLE)
    return _made("traces", kinds[0]) if kinds else None


def metric_exporter() -> MetricExporter | None:
    """Create the metric exporter that the environment names; see ``log_exporters``.

    Several are combined into one. For ``prometheus`` there is a warning and no exporter, because
    scraping needs a MeterProvider that the program creates itself.
    """
    exporters = [_made("metrics", kind) for kind in _console_first(_chosen("metrics"))]
    if len(exporters) > 1:
        from wakelog.otel._fan_out import MetricFanOut

        return MetricFanOut(exporters)
    return exporters[0] if exporters else None


def periodic_metrics() -> PeriodicMetrics | None:
    """Return the periodic export of metrics, None if the environment names no exporter."""
    exporter = metric_exporter()
    if exporter is None:
        return None
    from wakelog.otel._periodic_export import PeriodicMetrics  # it loads the SDK's metrics

    return PeriodicMetrics(exporter, metric_exporter)


def names_in(selector: str) -> list[str]:
    """Return the exporters that a variable names, each once and without ``none``.

    Args:
        selector: The variable.

    Returns:
        The names in order; ``otlp`` if the variable is not set.
    """
    said = os.environ.get(selector, "").strip() or _OTLP
    names = dict.fromkeys(name.strip() for name in said.split(","))
    return [name for name in names if name and name.lower() != _NONE]


def _console_first(kinds: list[str]) -> list[str]:
    """Sort the console first, so that it does not wait for a next hop that is down."""
    return sorted(kinds, key=lambda kind: kind != _CONSOLE)


def _made(signal: Signal, kind: str) -> Any:
    """Create an exporter of a kind, configured by the environment."""
    with naming_variables(f"the {_NAMES[signal]} exporter", _FAMILY, of=signal.upper()):
        module, name = _CLASSES.get((signal, kind), ("", ""))
        make = getattr(import_module(module), name) if module else _load(signal, kind)
        if kind == _GRPC:
            from wakelog._bodies import LONGEST_BODY  # with the modules of gRPC

            # The longest response, after decompression; decompressing a longer one is stopped.
            longest: Any = (("grpc.max_receive_message_length", LONGEST_BODY),)
            return make(channel_options=longest)
        if kind != _HTTP:
            return make()
        if signal == "metrics":
            from wakelog.otel._bounded import session_for

            return make(session=session_for(signal))
        from wakelog.otel._http_answers import make_exporter

        return make_exporter(make, signal)


def endpoint_of(exporter: LogRecordExporter | SpanExporter) -> str:
    """Return a readable name of an exporter's endpoint."""
    # The official exporters have no public name for it; without it, the class name is used.
    endpoint = getattr(exporter, "_endpoint", None)
    return (
        endpoint_name(endpoint)
        if isinstance(endpoint, str) and endpoint
        else type(exporter).__name__
    )


def _chosen(signal: Signal) -> list[str]:
    """Return the exporters of a signal: protocols, ``console``, and names of entry points."""
    selector = _VARIABLES[signal][0]
    found: list[str | None] = []
    for name in names_in(selector):
        known = name.lower()
        if known in (_OTLP, _OURS) and (known == _OTLP or signal == "logs"):
            found.append(_otlp(signal, None))
        elif known in _BY_NAME:
            found.append(_otlp(signal, _BY_NAME[known]))
        elif known == _CONSOLE:
            found.append(_CONSOLE)
        elif signal == "metrics" and known == "prometheus":
            _log.warning(
                "%s=prometheus makes no MeterProvider here: make one with a "
                "PrometheusMetricReader and set it before wakelog.configure(), or use otlp, "
                "console or none",
                selector,
            )
        else:
            _load(signal, name)
            found.append(name)
    return [kind for kind in dict.fromkeys(found) if kind is not None]


def _load(signal: Signal, name: str) -> Any:
    """Load an exporter by its entry point, as the SDK does.

    Raises:
        ConfigurationError: If no entry point has that name; the message lists those that exist.
    """
    from importlib.metadata import entry_points  # imported late, because its import is slow

    group = f"opentelemetry_{signal}_exporter"
    for entry_point in entry_points(group=group, name=name):
        return entry_point.load()
    known = dict.fromkeys([_OTLP, _CONSOLE, _NONE, *entry_points(group=group).names])
    selector = _VARIABLES[signal][0]
    message = (
        f"{selector}={os.environ.get(selector, '')!r} is not known here: no installed package has an "
        f"exporter {name!r}. Use otlp, console or none, or several of them as in "
        f"'console,otlp'; installed are {', '.join(sorted(known))}"
    )
    raise ConfigurationError(message)


def _otlp(signal: Signal, protocol: str | None) -> str | None:
    """Return the OTLP protocol to use for a signal, None if no endpoint is configured.

    Args:
        signal: The signal.
        protocol: The protocol; None reads it from the environment.
    """
    _, own_endpoint, own_protocol = _VARIABLES[signal]
    variable = own_endpoint if os.environ.get(own_endpoint) else OTEL_EXPORTER_OTLP_ENDPOINT
    endpoint = os.environ.get(variable, "")  # not stripped, because the exporter does not strip it
    if not endpoint:
        return None
    if protocol is None:
        # gRPC without a variable, as in the SDK.
        named = own_protocol if os.environ.get(own_protocol) else OTEL_EXPORTER_OTLP_PROTOCOL
        protocol = os.environ.get(named, "").strip() or _GRPC
        if protocol not in _PROTOCOLS:
            message = f"{named}={protocol!r} is not known here: use {' or '.join(_PROTOCOLS)}"
            raise ConfigurationError(message)
    _check_endpoint(variable, endpoint, protocol)
    _check_transport(signal)
    return protocol


def _check_transport(signal: Signal) -> None:
    """Refuse values that the HTTP exporter replaces with a default without naming the variable."""
    for setting, allowed in (("TIMEOUT", "a number above 0"), ("COMPRESSION", "gzip or none")):
        for variable in (f"{_FAMILY}{signal.upper()}_{setting}", f"{_FAMILY}{setting}"):
            if text := os.environ.get(variable, "").strip():
                known = above_0(None, variable) if setting == "TIMEOUT" else text in _COMPRESSIONS
                if not known:
                    message = f"{variable}={text!r} is not known: use {allowed}"
                    raise ConfigurationError(message)
                break


def _check_endpoint(variable: str, endpoint: str, protocol: str) -> None:
    example = "http://localhost:4318" if protocol == "http/protobuf" else "http://localhost:4317"
    problem = None
    try:
        # gRPC also accepts a bare host:port, and URIs with its own schemes.
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
        # Messages about a port quote it, and the quoted text may be a part of a password.
        problem = "its port is no number up to 65535" if "ort" in str(error) else str(error)
        port = None
    if problem:
        message = f"{variable}={endpoint_name(endpoint)!r} is no endpoint: {problem}. Write it as in {example}"
        raise ConfigurationError(message)
    if protocol == "grpc" and port == _HTTP_PORT and (variable, endpoint) not in _hinted:
        _hinted.add((variable, endpoint))
        _log.warning(
            "%s=%s is usually OTLP over HTTP, and gRPC is chosen; "
            "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf if nothing arrives",
            variable,
            endpoint_name(endpoint),
        )
