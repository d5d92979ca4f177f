"""The common part of requests for log records and for spans: resources and scopes.

``ResourceLogs`` and ``ResourceSpans`` have the same field numbers, and so have ``ScopeLogs`` and
``ScopeSpans``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.otel._protobuf import Attributes, field, text_field


def resource_message(
    attributes: Attributes,
    resource: Resource,
    scopes: Mapping[InstrumentationScope | None, list[bytes]],
) -> bytes:
    """Encode the records or spans of one resource.

    Args:
        attributes: The encoder of attributes.
        resource: The resource.
        scopes: Encoded records or spans by scope, each one a field with its tag.

    Returns:
        The content of a ``ResourceLogs`` or ``ResourceSpans``.

    Raises:
        TypeError: If an attribute cannot be encoded here.
        ValueError: If a text has lone surrogates.
    """
    parts = [field(b"\x0a", _all(b"\x0a", attributes, resource.attributes))]
    for scope, recorded in scopes.items():
        parts.append(field(b"\x12", _scope_message(attributes, scope, recorded)))
    parts.append(text_field(b"\x1a", resource.schema_url))
    return b"".join(parts)


def _scope_message(
    attributes: Attributes, scope: InstrumentationScope | None, recorded: list[bytes]
) -> bytes:
    if scope is None:
        return b"".join((field(b"\x0a", b""), *recorded))
    name = text_field(b"\x0a", scope.name) + text_field(b"\x12", scope.version)
    content = name + _all(b"\x1a", attributes, scope.attributes)
    return b"".join((field(b"\x0a", content), *recorded, text_field(b"\x1a", scope.schema_url)))


def _all(tag: bytes, attributes: Attributes, given: Mapping[str, Any] | None) -> bytes:
    return b"".join([tag + one for one in attributes.sized(given or {})])
