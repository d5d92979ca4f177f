"""Resources and instrumentation scopes of OpenTelemetry, made from the fields of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.record import Resource, Scope

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue, Attributes


class Origins:
    """Caches the last resource and the scopes, so that exporters can group records by identity."""

    def __init__(self) -> None:
        self._resource: tuple[Resource, SDKResource] | None = None
        self._scopes: dict[object, InstrumentationScope] = {}

    def resource(self, resource: Resource) -> SDKResource:
        """Return the SDK's resource, the same object for the same resource in succession."""
        if self._resource is None or self._resource[0] is not resource:
            known = SDKResource(
                cast("Mapping[str, AnyValue]", resource.attributes), resource.schema_url
            )
            self._resource = (resource, known)
        return self._resource[1]

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
