"""``ThreadKey``: the tenant and the conversation."""

from __future__ import annotations

from dataclasses import dataclass

from wakelog.errors import ConfigurationError

# A length that every backend can store, including PostgreSQL's index entries.
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class ThreadKey:
    """Identifies one conversation of one tenant. Nothing is written or read without both ids.

    Args:
        tenant_id: The customer to whom the data belongs.
        thread_id: The conversation, unique for the tenant.

    Raises:
        ConfigurationError: If an id is not text, is blank, is longer than 255 characters, or
            contains NUL or a lone surrogate, which not every backend can store.
    """

    tenant_id: str
    thread_id: str

    def __post_init__(self) -> None:
        for name in ("tenant_id", "thread_id"):
            value = getattr(self, name)
            if reason := _unusable(value):
                raise ConfigurationError(f"{name}={value!r} {reason}")


def _unusable(value: object) -> str:
    """Return what is wrong with an id; empty if nothing is."""
    if not isinstance(value, str):
        return "is not text: pass a str"
    if not value.strip():
        return "is blank: both ids of a ThreadKey are required"
    if len(value) > _LONGEST:
        return f"has {len(value)} characters, and {_LONGEST} is the most: pass a digest of it"
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return "has NUL or a lone surrogate in it, which not every backend can keep"
    return ""


def checked(key: object) -> ThreadKey:
    """Return a key unchanged after checking its type.

    Raises:
        ConfigurationError: If it is anything else, such as a bare thread id.
    """
    if not isinstance(key, ThreadKey):
        raise ConfigurationError(
            f"{key!r} is not a ThreadKey: pass ThreadKey(tenant_id, thread_id)"
        )
    return key
