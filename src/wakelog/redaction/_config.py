"""The settings of redaction, and the functions that redact with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from wakelog import _arguments as a
from wakelog.errors import ConfigurationError
from wakelog.redaction._fields import ONLY_FIELDS, PERSONAL_FIELDS, SECRET_FIELDS

if TYPE_CHECKING:
    from wakelog.redaction._engine import Engine
    from wakelog.redaction._strategies import RedactionDetector, RedactionStrategy

_SEVERAL: Final = (tuple, list, set, frozenset)
_KINDS: Final[dict[str, tuple[a.Kind, ...]]] = {
    "replacement": (str,),
    "strategy": (a.With("transform", "a RedactionStrategy"), None),
    "detectors": _SEVERAL,
    "sensitive_field_names": _SEVERAL,
    "max_candidates": a.COUNT,
}


@dataclass(frozen=True)
class RedactionConfig:
    """Settings of redaction: values become ``replacement``, unless a ``strategy`` is given.

    ``redact_api_keys`` also covers PEM private keys and ``token=...`` in texts, and
    ``redact_connection_strings`` covers credentials in URLs and ``password=...`` in texts.
    ``sensitive_field_names`` are compared with a whole key or its last words (``user_password``),
    ignoring case and separators; the values of such keys are replaced as a whole.

    ``max_candidates`` limits the time that a hostile value can cost: at most this many possible
    secrets are judged in one call. Every further one is replaced without a judgement, together with
    the rest of its line, at least 256 characters, and up to 260 characters before it. The category
    of such a passage is ``passage``. With None, all are judged.
    """

    replacement: str = "[REDACTED]"
    strategy: RedactionStrategy | None = None
    detectors: tuple[RedactionDetector, ...] = ()
    redact_emails: bool = True
    redact_phone_numbers: bool = True
    redact_international_phone_numbers: bool = True
    redact_ssns: bool = True
    redact_international_ids: bool = True
    redact_ibans: bool = True
    redact_jwts: bool = True
    redact_bearer_tokens: bool = True
    redact_api_keys: bool = True
    redact_connection_strings: bool = True
    redact_signed_urls: bool = True
    sensitive_field_names: tuple[str, ...] = SECRET_FIELDS + ONLY_FIELDS + PERSONAL_FIELDS
    redact_payment_cards: bool = True
    max_candidates: int | None = 5_000

    def __post_init__(self) -> None:
        if isinstance(self.sensitive_field_names, str):
            msg = "sensitive_field_names is a string; give a tuple of names, such as ('password',)"
            raise ConfigurationError(msg)
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            a.check(**{name: (value, *_KINDS.get(name, (bool,)))})
        if self.max_candidates is not None and self.max_candidates < 0:
            msg = f"max_candidates is {self.max_candidates}; give 0 or more, or None for no limit"
            raise ConfigurationError(msg)

    @property
    def active_strategy(self) -> RedactionStrategy:
        """The given strategy, or replacement."""
        if self.strategy is not None:
            return self.strategy
        from wakelog.redaction._strategies import ReplacementStrategy

        return ReplacementStrategy(self.replacement)

    @cached_property
    def _engine(self) -> Engine:
        from wakelog.redaction._engine import Engine  # a program may redact nothing

        return Engine(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the compiled form, which is a cache."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_DEFAULT: Final = RedactionConfig()


def prepare(config: RedactionConfig | None = None) -> Callable[[Any], Any]:
    """Compile a configuration now, because an import during an event may coincide with a fork.

    Returns:
        A function that returns a redacted copy of a value: what ``redact`` returns for what
        ``wakelog.record.kept`` returns.

    Raises:
        ConfigurationError: When it is not a ``RedactionConfig``.
    """
    if config is not None and not isinstance(config, RedactionConfig):
        msg = f"redaction_config is of type {type(config).__name__}; give a RedactionConfig"
        raise ConfigurationError(msg)
    return (_DEFAULT if config is None else config)._engine.copy_of  # noqa: SLF001 - this module's own


def hidden(value: Any, config: RedactionConfig | None = None) -> str:
    """Return the replacement of a whole value, as under a sensitive name.

    Args:
        value: Any object.
        config: The settings; by default those of ``RedactionConfig()``.

    Raises:
        RedactionError: If a custom strategy fails.
    """
    return (_DEFAULT if config is None else config)._engine.hidden(value)  # noqa: SLF001 - this module's own


def redact(value: Any, config: RedactionConfig | None = None) -> Any:
    """Return ``value`` with sensitive data replaced; ``value`` itself is never changed.

    Args:
        value: Any object. Mappings, dataclasses and pydantic models become dicts; lists and tuples
            keep their type; sets and arrays become lists; numbers, dates and UUIDs stay unchanged;
            other objects become their redacted text. An object whose methods raise is replaced by a
            text with its type.
        config: The settings; by default those of ``RedactionConfig()``.

    Returns:
        The redacted value, or the same object (not a copy) if nothing was replaced. A cycle becomes
        ``CYCLE_MARKER``; nesting deeper than ``MAX_DEPTH``, or than the remaining stack allows,
        becomes ``DEPTH_MARKER``.

    Raises:
        RedactionError: If a custom detector or strategy fails.
    """
    return (_DEFAULT if config is None else config)._engine.redacted(value)  # noqa: SLF001 - this module's own
