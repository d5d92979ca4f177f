"""How a logger copies the values of its events: redacted, or unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wakelog import redaction
from wakelog.logger._keys import prepare_keys
from wakelog.record import kept

if TYPE_CHECKING:
    from wakelog.redaction import RedactionConfig


class Copying:
    """The part of a logger that copies values, so that later changes do not change its events.

    The way is chosen when a setting changes, and not for each event.

    Attributes:
        copied: Returns a copy of a value, redacted if the logger redacts.
    """

    copied: Callable[[Any], Any]
    _redact_payloads: bool
    _redaction_config: RedactionConfig | None

    @property
    def redact_payloads(self) -> bool:
        """Whether secrets and personal data are redacted before anything is written."""
        return self._redact_payloads

    @redact_payloads.setter
    def redact_payloads(self, redact_payloads: bool) -> None:
        self.choose_copy(redact_payloads, self._redaction_config)

    @property
    def redaction_config(self) -> RedactionConfig | None:
        """What is redacted, and how it is replaced; None for the defaults."""
        return self._redaction_config

    @redaction_config.setter
    def redaction_config(self, redaction_config: RedactionConfig | None) -> None:
        self.choose_copy(self._redact_payloads, redaction_config)

    def choose_copy(
        self,
        redact_payloads: bool,  # noqa: FBT001 - it is the value
        redaction_config: RedactionConfig | None,
    ) -> None:
        """Set both settings.

        Raises:
            ConfigurationError: If the configuration is not a ``RedactionConfig``.
        """
        prepare_keys()
        self._redact_payloads, self._redaction_config = redact_payloads, redaction_config
        self.copied = redaction.prepare(redaction_config) if redact_payloads else kept


def as_dict(given: Any, name: str) -> dict[str, Any]:
    """Return a dict unchanged, a mapping as a dict, and another value in a dict under a name."""
    if type(given) is dict:
        return given
    if given is None:
        return {}
    plain = kept(given)
    return plain if type(plain) is dict else {name: plain}
