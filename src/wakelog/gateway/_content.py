"""Removing from an event what must not be written: secrets, and system prompts if configured."""

from __future__ import annotations

from typing import Any

from wakelog.events import SESSION_KEYS
from wakelog.gateway._events import without_system_prompts
from wakelog.gateway._settings import Settings
from wakelog.redaction import redact


def cleaned(plain: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return an event without what must not be written.

    Args:
        plain: The event.
        settings: The settings of redaction and system prompts.
    """
    if not settings.include_system_prompt:
        plain = without_system_prompts(plain)
    if settings.redact_payloads:
        # The session's id is in the directory's name anyway, and must stay the same in the event.
        ids: dict[str, Any] = {key: plain[key] for key in SESSION_KEYS if key in plain}
        plain = redact(plain, settings.redaction_config)
        if any(plain.get(key) != value for key, value in ids.items()):
            plain = {**plain, **ids}
    return plain
