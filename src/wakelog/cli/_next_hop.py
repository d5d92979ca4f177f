"""Which next hop a command delivers to."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from wakelog.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from opentelemetry.sdk._logs.export import LogRecordExporter

_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
_LOGS_ENDPOINT = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
_LOGS_PROTOCOL = "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
_SELECTOR = "OTEL_LOGS_EXPORTER"


def exporter_of(arguments: argparse.Namespace) -> LogRecordExporter:
    """Make the exporter that a command line and the environment ask for.

    Args:
        arguments: With ``endpoint``, in place of ``OTEL_EXPORTER_OTLP_ENDPOINT``, and ``protocol``,
            in place of ``OTEL_EXPORTER_OTLP_PROTOCOL``. Everything else, such as headers and
            certificates, is as the ``OTEL_*`` variables say.

    Raises:
        ConfigurationError: When there is no endpoint, or it cannot be used.
    """
    from wakelog.otel._exporters import log_exporter

    # What went wrong is said once, by the command.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    # The exporter reads its settings from the environment, and this process has no other use of it.
    if arguments.endpoint:
        os.environ[_ENDPOINT] = arguments.endpoint
        os.environ.pop(_LOGS_ENDPOINT, None)
        os.environ.pop(_SELECTOR, None)
    if arguments.protocol:
        os.environ[_PROTOCOL] = arguments.protocol
        os.environ.pop(_LOGS_PROTOCOL, None)
    exporter = log_exporter()
    if exporter is None:
        message = f"there is nowhere to deliver to: give --endpoint, or set {_ENDPOINT}"
        raise ConfigurationError(message)
    return exporter
