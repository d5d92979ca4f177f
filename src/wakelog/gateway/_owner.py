"""The service and the pipeline of events in a base directory."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import orjson

_PIPELINE = "WAKELOG_PIPELINE"
_DIGEST = 8


class RunOwner(NamedTuple):
    """The service that logged events, and the pipeline that they wait for.

    Attributes:
        service: ``service.namespace`` and ``service.name``, from the environment.
        pipeline: The configured name, or else that of the destination.
    """

    service: str
    pipeline: str

    def to_json(self) -> bytes:
        """Return the content of a run's file."""
        return orjson.dumps(self._asdict())

    def __str__(self) -> str:
        return f"pipeline {self.pipeline!r} of service {self.service!r}"


def owner_in(data: bytes) -> RunOwner | None:
    """Parse the content of a run's file; return None if it names no owner."""
    try:
        found = orjson.loads(data)
        return RunOwner(str(found["service"]), str(found["pipeline"]))
    except (ValueError, KeyError, TypeError):
        return None


def pipeline_of(given: str | None, *destinations: object) -> str:
    """Return the name of the pipeline for events to these destinations.

    Args:
        given: The configured name; default: ``WAKELOG_PIPELINE``.
        destinations: The callback and the transport, as far as configured.
    """
    if name := given or os.environ.get(_PIPELINE, "").strip():
        return name
    return " + ".join(name_of(one) for one in destinations)


def endpoint(url: str) -> str:
    """Return a URL without its possibly secret parts: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.port is not None:
            host = f"{host}:{parts.port}"
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def digest(*secrets: object) -> str:
    """Return a short digest that changes if one of the values does, and does not reveal them."""
    told = orjson.dumps(
        [_normalised(one) for one in secrets], option=orjson.OPT_SORT_KEYS, default=repr
    )
    return hashlib.sha256(told).hexdigest()[:_DIGEST]


def _normalised(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key).lower(): str(item) for key, item in value.items()}
    return value


def name_of(destination: object) -> str:
    """Return the name of a destination: a transport's, or that of its class or the function."""
    name = getattr(destination, "destination", None)
    if isinstance(name, str) and name:
        return name
    if isinstance(destination, functools.partial):
        return name_of(destination.func)
    function: Any = getattr(destination, "__func__", destination)  # the function of a bound method
    if not hasattr(function, "__qualname__"):
        function = type(function)
    return f"{_module(function)}.{function.__qualname__}"


def _module(thing: Any) -> str:
    """Return the name of an object's module, or that of the started program for ``__main__``."""
    name = str(getattr(thing, "__module__", None) or "")
    if name != "__main__":
        return name
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return Path(file).stem if file else name
