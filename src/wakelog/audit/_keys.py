"""``ThreadKey``: whose conversation it is, and which."""

from __future__ import annotations

from dataclasses import dataclass

from wakelog.errors import ConfigurationError

# What every backend can keep, PostgreSQL's index entries among them.
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class ThreadKey:
    """Names one conversation of one tenant. Nothing is written or read without both.

    Args:
        tenant_id: The customer whose data it is.
        thread_id: The conversation, unique among the tenant's own.

    Raises:
        ConfigurationError: For an id that is no text, blank, longer than 255 characters, or that
            has NUL or a lone surrogate in it, which not every backend can keep.
    """

    tenant_id: str
    thread_id: str

    def __post_init__(self) -> None:
        for name in ("tenant_id", "thread_id"):
            value = getattr(self, name)
            if reason := _unusable(value):
                raise ConfigurationError(f"{name}={value!r} {reason}")


def _unusable(value: object) -> str:
    """Say what is wrong with an id, or nothing."""
    if not isinstance(value, str):
        return "is no text: pass a str"
    if not value.strip():
        return "is blank: both ids of a ThreadKey are required"
    if len(value) > _LONGEST:
        return f"has {len(value)} characters, and {_LONGEST} is the most: pass a digest of it"
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return "has NUL or a lone surrogate in it, which not every backend can keep"
    return ""


def checked(key: object) -> ThreadKey:
    """Return what was given as a key, when it is one.

    Raises:
        ConfigurationError: When it is anything else, a bare thread id above all.
    """
    if not isinstance(key, ThreadKey):
        raise ConfigurationError(f"{key!r} is no ThreadKey: pass ThreadKey(tenant_id, thread_id)")
    return key
