"""Settings that an argument or a variable may give. An argument wins, and errors name either."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from wakelog.errors import ConfigurationError
from wakelog.journal import DEFAULT_SEGMENT_BYTES, Durability, Space
from wakelog.sinks import Buffer

Settings = TypeVar("Settings", Space, Buffer)

_SPACE = {
    "WAKELOG_RETENTION_AGE": "retention_age",
    "WAKELOG_RETENTION_BYTES": "retention_bytes",
    "WAKELOG_RETENTION_WRITERS": "retention_writers",
    "WAKELOG_QUOTA_BYTES": "quota_bytes",
    "WAKELOG_QUOTA_POLICY": "quota_policy",
    "WAKELOG_BLOCK_TIMEOUT": "block_timeout",
}
_BUFFER = {
    "WAKELOG_BUFFER_CAPACITY": "capacity",
    "WAKELOG_BUFFER_OVERFLOW": "overflow",
    "WAKELOG_BUFFER_TIMEOUT": "timeout",
}


def disabled() -> bool:
    """Tell whether OpenTelemetry has been switched off."""
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def durability_of(given: Durability | str | None) -> Durability:
    """Return an argument, else what ``WAKELOG_DURABILITY`` says, else ``OS_BUFFERED``."""
    named = "durability" if given is not None else "WAKELOG_DURABILITY"
    value = given if given is not None else os.environ.get(named) or Durability.OS_BUFFERED
    try:
        return Durability(value)
    except ValueError:
        message = f"{named}={value!r} is not known: use one of {', '.join(Durability)}"
        raise ConfigurationError(message) from None


def flag(given: bool | None, variable: str, *, default: bool) -> bool:  # noqa: FBT001 - it is the value
    """Return an argument, else what its variable says, else the default."""
    if given is not None:
        return given
    value = os.environ.get(variable, "").strip() or str(default)
    if value.lower() not in ("true", "false"):
        message = f"{variable}={value!r} is not known: use true or false"
        raise ConfigurationError(message)
    return value.lower() == "true"


def above_0(given: float | None, variable: str) -> float | None:
    """Return an argument, else the number that its variable says, else None."""
    text = os.environ.get(variable, "").strip()
    if given is not None or not text:
        return given
    number = _number(text)
    if number is None or not number > 0:
        message = f"{variable}={text!r} is not known: use a number above 0"
        raise ConfigurationError(message)
    return number


def space_of(given: Space | None) -> Space:
    """Return an argument, else what the variables say that are named as its fields."""
    return given or _made(Space, _from_environment(_SPACE), _SPACE)


def buffer_of(given: Buffer | None) -> Buffer | None:
    """Return an argument, else the buffer that the variables ask for, None when they ask for none."""
    if given is not None or not (said := _from_environment(_BUFFER)):
        return given
    return _made(Buffer, said, _BUFFER)


def for_journal(
    *,
    durability: Durability | str | None = None,
    segment_bytes: int | None = None,
    segment_age: float | None = None,
    rotate_at_midnight: bool | None = None,
    space: Space | None = None,
    buffer: Buffer | None = None,
) -> dict[str, Any]:
    """Return arguments of ``DurableLogRecordProcessor``, each given or from its variables.

    Raises:
        ConfigurationError: For a variable that cannot be used; it says which, and what is allowed.
    """
    return {
        "durability": durability_of(durability),
        "segment_bytes": int(
            above_0(segment_bytes, "WAKELOG_SEGMENT_BYTES") or DEFAULT_SEGMENT_BYTES
        ),
        "segment_age": above_0(segment_age, "WAKELOG_SEGMENT_AGE"),
        "rotate_at_midnight": flag(rotate_at_midnight, "WAKELOG_ROTATE_AT_MIDNIGHT", default=False),
        "space": space_of(space),
        "buffer": buffer_of(buffer),
    }


def _from_environment(names: Mapping[str, str]) -> dict[str, str]:
    """Return what those variables say that are set, by their names."""
    return {name: text for name in names if (text := os.environ.get(name, "").strip())}


def _made(kind: type[Settings], said: Mapping[str, str], names: Mapping[str, str]) -> Settings:
    """Make settings; what is refused is said with the variable and its text."""
    given: dict[str, Any] = {}
    for variable, text in said.items():
        number = _number(text)
        value: Any = None if text == "none" else text if number is None else number
        try:
            kind(**{names[variable]: value})
        except ConfigurationError as error:
            refused = f"{names[variable]}={value!r}"
            message = str(error).replace(refused, f"{variable}={text!r}")
            raise ConfigurationError(message) from None
        given[names[variable]] = value
    return kind(**given)


def _number(text: str) -> float | None:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return None
