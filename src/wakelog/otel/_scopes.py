"""The last field of a line of a log record or a span: the encoded instrumentation scope."""

from __future__ import annotations

import sys
from typing import Final

from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.trace import ReadableSpan

from wakelog.otel._fields import scope_fields
from wakelog.record import encode

_MOST_SCOPES: Final = 1000
encoded_scopes: Final[dict[int, tuple[object, bytes]]] = {}
"""A cache of what ``scope_of`` returns, by the scope's id; it holds the scopes, so no id is reused."""


def scope_of(given: ReadableSpan | ReadWriteLogRecord) -> bytes:
    """Return the last field of the line of a span or a log record."""
    scope = given.instrumentation_scope
    known = encoded_scopes.get(id(scope))
    if known is None:
        text = encode({"scope": scope_fields(scope)}, sys.maxsize) if scope else b""
        if len(encoded_scopes) >= _MOST_SCOPES:
            encoded_scopes.clear()
        known = encoded_scopes[id(scope)] = (scope, text)
    return known[1]
