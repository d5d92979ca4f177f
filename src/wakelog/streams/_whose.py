"""Whose streams the folders of a directory hold, so that none leaves by another service's exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wakelog.events import semconv as s
from wakelog.journal import UNNAMED_SERVICE, Service, owner_of
from wakelog.record import Resource

if TYPE_CHECKING:
    from wakelog.logger import AgentLogger

_NAMES = (s.SERVICE_NAME, s.SERVICE_NAMESPACE)


def resource_of(log: AgentLogger | None) -> Resource:
    """Return the service whose streams these are, as a resource.

    Args:
        log: Where finished streams go. Its resource counts, else the environment's.
    """
    from opentelemetry.sdk.resources import Resource as SDKResource  # importing streams is cheap

    resource = getattr(log.sink, "resource", None) if log is not None else None
    if not isinstance(resource, SDKResource):
        resource = SDKResource.create()
    return Resource(
        {name: resource.attributes[name] for name in _NAMES if name in resource.attributes}
    )


def may_close(folder: Path, resource: Resource) -> bool:
    """Tell whether what a folder's streams have said may be exported with what is of a resource.

    A folder that names no service, as those from before there were owners, may be closed by anyone.
    """
    owner = owner_of(folder)
    return (
        owner is None
        or owner.service.name == UNNAMED_SERVICE
        or owner.service == Service.of(resource)
    )
