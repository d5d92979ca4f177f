"""The names of pipelines, which decide which processor delivers another process's records.

This is the only module that reads an exporter's endpoint and headers. Neither is public in the
official exporters; ``tests/journal/test_owners.py`` fails when their names change. A name has no secrets:
headers, and other values that tell one customer of an endpoint from another, go into a digest.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from wakelog._endpoints import endpoint_name
from wakelog.errors import ConfigurationError
from wakelog.record import LOGS, sha256
from wakelog.runtime import ForkOrder, reset_in_child

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter

    from wakelog.journal import Service

PIPELINE_VARIABLE = "WAKELOG_PIPELINE"
LOCAL = "local"
"""The pipeline of a processor without an exporter."""

_LONGEST_NAME = 200
# Headers that do not identify an account, and that change with a version or a setting.
_TECHNICAL = frozenset(
    {"user-agent", "accept", "accept-encoding", "connection", "content-type", "content-encoding"}
)


def destination_of(exporter: LogRecordExporter | None) -> str:
    """Return an exporter's destination: its class, its endpoint and a digest of its headers.

    Returns:
        For example ``OTLPLogExporter:http://localhost:4318/v1/logs:5d41402a``, without the parts
        that an exporter does not have. Empty without an exporter.
    """
    if exporter is None:
        return ""
    kind = type(exporter)
    official = kind.__module__.startswith("opentelemetry.")
    parts = [kind.__qualname__ if official else f"{kind.__module__}.{kind.__qualname__}"]
    if endpoint := _endpoint(exporter):
        parts.append(endpoint_name(endpoint))
    secret = sorted(_headers(exporter))
    if endpoint and endpoint_name(endpoint) != endpoint:
        secret.append(("", endpoint))
    if secret:
        parts.append(sha256(repr(secret).encode()).hexdigest()[:8])
    return "".join(c if c.isprintable() and c != " " else "_" for c in ":".join(parts))


def _endpoint(exporter: LogRecordExporter) -> str:
    for name in ("_endpoint", "endpoint"):
        value = getattr(exporter, name, None)
        if isinstance(value, str) and value:
            return value
    return ""


def _headers(exporter: LogRecordExporter) -> Iterator[tuple[str, str]]:
    """Yield an exporter's headers, including those and the certificate of its session."""
    client = getattr(exporter, "_client", None)
    session = getattr(getattr(client, "_transport", None), "_session", None)
    for holder in (exporter, client, session):
        for name in ("_headers", "headers"):
            for key, value in _pairs(getattr(holder, name, None)):
                if key.lower() not in _TECHNICAL:
                    yield key.lower(), value
    for name in ("auth", "cert"):
        secret = getattr(session, name, None)
        parts = secret if isinstance(secret, tuple) else (secret,)
        if all(isinstance(part, str) for part in parts):
            yield name, repr(secret)


def _pairs(headers: object) -> Iterator[tuple[str, str]]:
    if isinstance(headers, Mapping):
        headers = list(headers.items())
    if isinstance(headers, list | tuple):
        for pair in headers:
            if isinstance(pair, tuple) and len(pair) == 2:  # noqa: PLR2004 - name and value
                yield str(pair[0]), str(pair[1])


def named_pipeline(given: str | None) -> str | None:
    """Return the pipeline name of an argument, else that of ``WAKELOG_PIPELINE``.

    Raises:
        ConfigurationError: If the name is not valid.
    """
    argument = "pipeline" if given is not None else PIPELINE_VARIABLE
    name = given if given is not None else os.environ.get(PIPELINE_VARIABLE, "").strip() or None
    if name is None:
        return None
    if not str(name).strip() or not str(name).isprintable():
        message = f"{argument}={name!r} is no name of a pipeline: use printable text, as in 'audit'"
        raise ConfigurationError(message)
    if len(name) > _LONGEST_NAME:
        message = f"{argument} is {len(name)} characters long: use at most {_LONGEST_NAME}"
        raise ConfigurationError(message)
    return name


class _Names:
    """The names of this process's pipelines, each held by one processor while it exists.

    ``_lock`` guards the names; nothing else happens under it.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[Service | None, str, str], dict[int, weakref.ref[object]]] = {}
        self._reset()
        reset_in_child(self._reset, ForkOrder.LOCKS)

    def _reset(self) -> None:
        self._lock = threading.RLock()

    def take(self, name: str, service: Service | None, holder: object, signal: str = LOGS) -> str:
        """Give a name to a processor, with a number if another processor has the name.

        Args:
            name: The name.
            service: The service, if it is known; each service has names of its own.
            holder: The processor.
            signal: The signal that it records; log records and spans of one pipeline share a name.
        """
        with self._lock:
            held = self._held.setdefault((service, name, signal), {})
            number = 1
            while number in held and held[number]() is not None:
                number += 1
            held[number] = weakref.ref(holder)
        return name if number == 1 else f"{name}#{number}"

    def release(self, holder: object) -> None:
        """Free a processor's name for another one."""
        with self._lock:
            for held in self._held.values():
                for number in [n for n, ref in held.items() if ref() is holder]:
                    del held[number]

    def taken(self) -> set[str]:
        """Return the names that processors of this process hold."""
        with self._lock:
            return {
                name if number == 1 else f"{name}#{number}"
                for (_, name, _), held in self._held.items()
                for number, ref in held.items()
                if ref() is not None
            }


NAMES = _Names()
