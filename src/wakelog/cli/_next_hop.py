"""The next hop to which a command delivers."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from wakelog._endpoints import endpoint_name, without_secrets
from wakelog.errors import ConfigurationError
from wakelog.record import SPANS

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.trace.export import SpanExporter

_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
_OWN_ENDPOINTS = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OWN_PROTOCOLS = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_VARIABLES = "OTEL_EXPORTER_OTLP_"
_SELECTORS = ("OTEL_LOGS_EXPORTER", "OTEL_TRACES_EXPORTER")

Exporter = TypeVar("Exporter")


def add_destination(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the arguments of the next hop, ``--endpoint`` and ``--protocol``.

    Args:
        parser: The command's parser.
        what: What the endpoint is for, for the help; "replay: " at the start names an action.
    """
    action = "replay: " if what.startswith("replay: ") else ""
    parser.add_argument("--endpoint", metavar="URL", help=what)
    parser.add_argument(
        "--protocol",
        choices=("http/protobuf", "grpc"),
        help=f"{action}the OTLP protocol; gRPC unless a variable sets it",
    )


def exporter_of(arguments: argparse.Namespace) -> LogRecordExporter:
    """Return the exporter of log records that a command line and the environment describe.

    Args:
        arguments: With ``endpoint``, in place of ``OTEL_EXPORTER_OTLP_ENDPOINT``, and ``protocol``,
            in place of ``OTEL_EXPORTER_OTLP_PROTOCOL``. Everything else, such as headers and
            certificates, comes from the ``OTEL_*`` variables.

    Raises:
        ConfigurationError: If there is no endpoint, or it cannot be used.
    """
    from wakelog.otel import log_exporter

    return _made(log_exporter, arguments)


def check_typed(arguments: argparse.Namespace) -> None:
    """Check the endpoint on the command line before anything else.

    Raises:
        ConfigurationError: If it cannot be used.
    """
    if arguments.endpoint:
        exporter_of(arguments).shutdown()  # type: ignore[no-untyped-call]  # the SDK's


def span_exporter_of(arguments: argparse.Namespace) -> SpanExporter:
    """Return the exporter of spans, for the same arguments as ``exporter_of``.

    Raises:
        ConfigurationError: If there is no endpoint, or it cannot be used.
    """
    from wakelog.otel import span_exporter

    return _made(span_exporter, arguments)


def exporter_maker(
    arguments: argparse.Namespace,
) -> Callable[[str], LogRecordExporter | SpanExporter]:
    """Return a function that makes the exporter of a signal, for the same arguments."""
    return lambda signal: (span_exporter_of if signal == SPANS else exporter_of)(arguments)


def _made(make: Callable[[], Exporter | None], arguments: argparse.Namespace) -> Exporter:
    # The command reports an error once; the SDK must not log it, too.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    # The exporter reads its settings from the environment, and nothing else in this process does.
    if arguments.endpoint:
        os.environ[_ENDPOINT] = arguments.endpoint
        for variable in (*_OWN_ENDPOINTS, *_SELECTORS):
            os.environ.pop(variable, None)
    if arguments.protocol:
        os.environ[_PROTOCOL] = arguments.protocol
        for variable in _OWN_PROTOCOLS:
            os.environ.pop(variable, None)
    try:
        with naming_variables():
            exporter = make()
    except ConfigurationError as error:
        raise ConfigurationError(_as_given(str(error), arguments)) from None
    if exporter is None:
        message = f"there is nowhere to deliver to: give --endpoint, or set {_ENDPOINT}"
        raise ConfigurationError(message)
    return exporter


@contextmanager
def naming_variables() -> Iterator[None]:
    """Turn what an exporter's constructor raises into an error that names the variables it used.

    Raises:
        ConfigurationError: If an exporter cannot be created inside the block.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        # The exporters read the variables themselves, and raise ValueError, OSError or their own
        # types.
        said = str(error)
        variables = {
            name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)
        }
        blamed = [name for name, value in variables.items() if value and value in said]
        names = ", ".join(sorted(blamed or variables)) or f"{_VARIABLES}*"
        said = without_secrets(said)
        message = f"{names} cannot be used: {said or type(error).__name__}. Correct or unset it"
        raise ConfigurationError(message) from error


def _as_given(message: str, arguments: argparse.Namespace) -> str:
    """Name the option in a message in place of the variable that it sets."""
    for variable, option in ((_ENDPOINT, "endpoint"), (_PROTOCOL, "protocol")):
        if value := getattr(arguments, option):
            named = endpoint_name(value)
            message = message.replace(f"{variable}={named!r}", f"--{option} {named!r}")
    return message
