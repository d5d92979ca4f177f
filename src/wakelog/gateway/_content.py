"""What is written of an event: a copy without secrets, and without system prompts if configured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wakelog.events import SESSION_KEYS, session_of
from wakelog.gateway._events import plain_event, without_system_prompts
from wakelog.record import kept


def content_of(
    event: object,
    redacted: Callable[[Any], Any] | None,
    *,
    with_system_prompts: bool,
) -> tuple[dict[str, Any], str | None]:
    """Return a copy of an event without what must not be written, and the id of its session.

    Args:
        event: As for ``plain_event``.
        redacted: Returns a redacted copy; None if nothing is redacted.
        with_system_prompts: Whether system prompts are written.
    """
    # Redaction copies a dict itself.
    copies = redacted is None or not with_system_prompts or type(event) is not dict
    plain: dict[str, Any] = plain_event(event) if copies else event  # type: ignore[assignment] # a dict
    session = session_of(plain)
    if not with_system_prompts:
        plain = without_system_prompts(plain)
    if redacted is not None:
        # The session's id is in the directory's name anyway, and must stay the same in the event.
        ids = {key: kept(plain[key]) for key in SESSION_KEYS if key in plain}
        plain = redacted(plain)
        for key, value in ids.items():
            if plain.get(key) != value:
                plain[key] = value
    return plain, session
