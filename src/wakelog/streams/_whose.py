"""The services of a directory's streams, so that each is exported only by its own service."""

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
    """Return the service of streams, as a resource.

    Args:
        log: The logger for finished streams. Without its resource, that of the environment is used.
    """
    from opentelemetry.sdk.resources import Resource as SDKResource  # importing streams stays cheap

    resource = getattr(log.sink, "resource", None) if log is not None else None
    if not isinstance(resource, SDKResource):
        resource = SDKResource.create()
    return Resource(
        {name: resource.attributes[name] for name in _NAMES if name in resource.attributes}
    )


def may_close(folder: Path, resource: Resource) -> bool:
    """Tell whether a process of a resource may export the streams of a folder.

    Any process may do so for a folder without a service, such as one without an owner file.
    """
    owner = owner_of(folder)
    return (
        owner is None
        or owner.service.name == UNNAMED_SERVICE
        or owner.service == Service.of(resource)
    )
