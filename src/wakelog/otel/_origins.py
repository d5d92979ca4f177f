"""Resources and instrumentation scopes of OpenTelemetry, made from the fields of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

import orjson
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.record import Resource, Scope, decode

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue, Attributes

# The scope on a line: its beginning and its name; and the length of the seal after it.
_SCOPE: Final = b',"scope":{'
_NAME: Final = b'"scope"'
_SEAL: Final = len(b',"crc":"00000000"}')
_MOST_SCOPES, _LONGEST_SCOPE = 256, 1024


class Origins:
    """Caches the last resource and the scopes, so that exporters can group records by identity."""

    def __init__(self) -> None:
        self._resource: tuple[Resource, SDKResource] | None = None
        self._scopes: dict[object, InstrumentationScope] = {}
        # Cache of scopes by their text on lines, and the last one: usually the next line has it.
        self._on_lines: dict[bytes, InstrumentationScope | None] = {}
        self._last: tuple[bytes, InstrumentationScope | None] = (b"\n", None)

    def resource(self, resource: Resource) -> SDKResource:
        """Return the SDK's resource, the same object for the same resource in succession."""
        if self._resource is None or self._resource[0] is not resource:
            known = SDKResource(
                cast("Mapping[str, AnyValue]", resource.attributes), resource.schema_url
            )
            self._resource = (resource, known)
        return self._resource[1]

    def scope_on(self, line: bytes) -> InstrumentationScope | None:
        """Return the SDK's scope of a line, the same object for equal scopes.

        Raises:
            CorruptLineError: If the line cannot be read.
            ValueError: If it is not JSON.
        """
        ending, scope = self._last
        if line.endswith(ending, 0, -_SEAL):
            return scope
        text = line[line.rfind(_SCOPE) : -_SEAL]
        if text not in self._on_lines:
            fields = orjson.loads(line).get("scope") if _NAME in line else None
            if fields is None:
                return None
            scope = self.scope(decode(line).scope)
            # The text identifies a scope only if the scope is the last field: the text may also
            # occur inside a value, but not followed by the end of the line.
            if text != _SCOPE + orjson.dumps(fields)[1:] or len(text) > _LONGEST_SCOPE:
                return scope
            if len(self._on_lines) >= _MOST_SCOPES:
                self._on_lines.clear()
            self._on_lines[text] = scope
        scope = self._on_lines[text]
        self._last = (text, scope)
        return scope

    @property
    def ending(self) -> bytes:
        """How the last line whose scope is cached ends before its checksum."""
        return self._last[0]

    def scope(self, scope: Scope | None) -> InstrumentationScope | None:
        """Return the SDK's scope, the same object for equal scopes."""
        if scope is None:
            return None
        key = scope[:3] if scope.attributes is None else repr(scope)
        known = self._scopes.get(key)
        if known is None:
            known = InstrumentationScope(
                scope.name,
                scope.version,
                scope.schema_url,
                cast("Attributes | None", scope.attributes),
            )
            self._scopes[key] = known
        return known
