"""Redaction: replaces sensitive data before anything is written.

Every string is read once, by one expression per configuration. Each kind of secret has a
character that it cannot do without (``@``, a digit, ``=``); the expression skips to the next such
character and matches no more than bounded evidence there. A *judge* then decides about this
*candidate*, and only what it accepts is read to its end. So an ordinary string costs one scan, and
a hostile one costs time linear in its length. A value has only so many candidates judged; after
that, whole passages around candidates go.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

from wakelog import _arguments as a
from wakelog.errors import ConfigurationError, RedactionError
from wakelog.record import kept
from wakelog.redaction._engine import CYCLE_MARKER, DEPTH_MARKER, MAX_DEPTH, Engine
from wakelog.redaction._rules import ONLY_FIELDS, SECRET_FIELDS
from wakelog.redaction._strategies import (
    HashStrategy,
    RedactionDetector,
    RedactionStrategy,
    RegexDetector,
    ReplacementStrategy,
    TokenizationStrategy,
)
from wakelog.runtime import let_through

__all__ = [
    "CYCLE_MARKER",
    "DEPTH_MARKER",
    "MAX_DEPTH",
    "HashStrategy",
    "RedactionConfig",
    "RedactionDetector",
    "RedactionError",
    "RedactionStrategy",
    "RegexDetector",
    "ReplacementStrategy",
    "TokenizationStrategy",
    "redact",
]

# ruff: noqa: SIM905 - a table of short words is read, and compared, best as a text

_PERSONAL_FIELDS: Final = tuple(
    "email email_address phone phone_number ssn iban national_id card_number cvv".split()
)


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

    ``redact_api_keys`` covers PEM private keys and ``token=...`` in texts too,
    ``redact_connection_strings`` credentials in URLs and ``password=...`` in texts.
    ``sensitive_field_names`` are compared without regard to case and separators, with a whole key
    or its last words (``user_password``); the values of such keys are replaced whole.

    ``max_candidates`` bounds the time that a hostile value can cost: so many places that look like
    a secret are judged one by one in one call. From then on each goes unjudged with the rest of its
    line, at least 256 characters, and up to as many before it: more than had to, never less. The
    category of such a passage is ``passage``. None judges all.
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
    sensitive_field_names: tuple[str, ...] = SECRET_FIELDS + ONLY_FIELDS + _PERSONAL_FIELDS
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
        """The strategy that is used: the given one, or replacement."""
        return ReplacementStrategy(self.replacement) if self.strategy is None else self.strategy

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the compiled form behind: it is a cache."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_DEFAULT: Final = RedactionConfig()


def prepare(config: RedactionConfig | None = None) -> None:
    """Compile a configuration now: what is imported in an event may meet a fork in another thread.

    Raises:
        ConfigurationError: When it is no ``RedactionConfig``.
    """
    if config is not None and not isinstance(config, RedactionConfig):
        msg = f"redaction_config is of type {type(config).__name__}; give a RedactionConfig"
        raise ConfigurationError(msg)
    _ = (_DEFAULT if config is None else config)._engine  # noqa: SLF001 - this module's own


def hidden(value: Any, config: RedactionConfig | None = None) -> str:
    """Return what stands for a whole value, as under a sensitive name.

    Args:
        value: Anything.
        config: What a value becomes; the defaults if absent.

    Raises:
        RedactionError: If a strategy of the caller's failed.
    """
    return (_DEFAULT if config is None else config)._engine.hidden(value)  # noqa: SLF001 - this module's own


def redact(value: Any, config: RedactionConfig | None = None) -> Any:
    """Return ``value`` with sensitive data replaced; ``value`` itself is never changed.

    Args:
        value: Anything. Mappings become dicts; lists and tuples keep their type; sets become
            lists; dataclasses and pydantic models become dicts, arrays lists; numbers, dates and
            UUIDs stay; other objects become their redacted text. What an object raises
            meanwhile costs its content and not the value: a text says which type it was of.
        config: What to redact; the defaults if absent.

    Returns:
        The redacted value, or the same object (not a copy) if nothing had to be replaced. A cycle
        becomes ``CYCLE_MARKER``, what is deeper than ``MAX_DEPTH``, or than the stack that the
        caller has left, ``DEPTH_MARKER``.

    Raises:
        RedactionError: If a detector or a strategy of the caller's failed.
    """
    engine = (_DEFAULT if config is None else config)._engine  # noqa: SLF001 - this module's own
    try:
        if type(value) is dict:
            return engine.map(value, (id(value),), [engine.candidates])
        return engine.value(value, (), [engine.candidates])
    except RedactionError:
        raise
    except Exception as error:  # noqa: BLE001 - what an object has raised; its copy is of plain types
        let_through(error)
        return engine.value(kept(value), (), [engine.candidates])
