"""The replacement of sensitive values, and custom detectors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from wakelog.errors import ConfigurationError


@runtime_checkable
class RedactionStrategy(Protocol):
    """Determines the replacement of a sensitive value."""

    def transform(self, value: str, category: str) -> str:
        """Return the text that is written instead of ``value``."""


@runtime_checkable
class RedactionDetector(Protocol):
    """A custom detector of sensitive values, which runs before the built-in ones."""

    def redact(self, value: str, strategy: RedactionStrategy) -> str:
        """Return ``value`` with every sensitive part passed through ``strategy``."""


@dataclass(frozen=True, slots=True)
class ReplacementStrategy:
    """Replaces every sensitive value with the same text."""

    replacement: str = "[REDACTED]"

    def transform(self, value: str, category: str) -> str:  # noqa: ARG002 - the protocol's
        """Return the replacement."""
        return self.replacement


@dataclass(frozen=True, slots=True)
class HashStrategy:
    """Replaces a value with ``length`` (8 to 64) digits of its salted SHA-256.

    Equal values have equal hashes. Without a salt, short values (phone numbers) can be guessed.
    """

    salt: bytes = field(default=b"", repr=False)
    length: int = 16

    def __post_init__(self) -> None:
        _check_length("HashStrategy", self.length)

    def transform(self, value: str, category: str) -> str:
        """Return ``[HASH:<category>:<digest>]``."""
        from hashlib import sha256

        digest = sha256(self.salt + value.encode("utf-8", "surrogatepass")).hexdigest()
        return f"[HASH:{category}:{digest[: self.length]}]"


@dataclass(frozen=True, slots=True)
class TokenizationStrategy:
    """Replaces a value with ``length`` (8 to 64) digits of its HMAC-SHA-256 under ``key``."""

    key: bytes = field(repr=False)
    length: int = 20

    def __post_init__(self) -> None:
        if not self.key:
            msg = "TokenizationStrategy: key is empty; give at least one byte, better 32 random"
            raise ConfigurationError(msg)
        _check_length("TokenizationStrategy", self.length)

    def __repr__(self) -> str:
        """Return a text without the key, which must not be logged in a traceback."""
        return f"TokenizationStrategy(key=..., length={self.length})"

    def transform(self, value: str, category: str) -> str:
        """Return ``[TOKEN:<category>:<token>]``."""
        from hmac import new as hmac

        token = hmac(self.key, value.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
        return f"[TOKEN:{category}:{token[: self.length]}]"


def _check_length(owner: str, length: int) -> None:
    if not 8 <= length <= 64:  # noqa: PLR2004 - a SHA-256 has 64 hexadecimal digits
        msg = f"{owner}: length is {length}; it must be between 8 and 64"
        raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class RegexDetector:
    """Passes every match of ``pattern`` to the strategy, as ``category``."""

    category: str
    pattern: re.Pattern[str]

    def redact(self, value: str, strategy: RedactionStrategy) -> str:
        """Return ``value`` with every match replaced."""
        return self.pattern.sub(lambda m: strategy.transform(m[0], self.category), value)
