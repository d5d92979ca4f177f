"""Redaction of records of other loggers: attributes, bodies and texts, before they are written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from typing import Any, Final, Literal, TypeVar, get_args

from wakelog import _arguments as a
from wakelog.errors import ConfigurationError
from wakelog.events import semconv as s
from wakelog.otel._settings import DROP_ATTRIBUTES, REDACT_FOREIGN
from wakelog.redaction import RedactionConfig, hidden, prepare, redact

Action = Literal["redact", "hide", "drop", "keep"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
BODY: Final = "body"
# Names with numbers in them, such as those of prompts, are unlimited.
_MOST_NAMES: Final = 4096
_Value = TypeVar("_Value")


class Redactor:
    """Redacts secrets, personal data and content in records and spans of other libraries.

    It is the value of ``redact=`` of ``DurableSpanProcessor`` and ``DurableLogRecordProcessor``,
    which redact before they write. It processes the attributes of log records, of spans and of
    their events and links, the body of log records, the names of spans and events, and the
    description of a status. Resource and scope are not changed.

    The actions for an attribute are:

    - ``redact``: Replace secrets and personal data in it.
    - ``hide``: Replace the whole value.
    - ``drop``: Remove the attribute.
    - ``keep``: Leave it unchanged.

    Args:
        rules: Actions by attribute name. ``*`` stands for any characters, and the first rule that
            matches applies. The name ``body`` is that of a log record's body. Attributes without a
            rule are redacted.
        content: The action for content: for the attributes in which the conventions of
            OpenTelemetry, OpenInference and OpenLLMetry have the words of people, models and tools,
            and for the body of events whose names begin with ``gen_ai.``. A rule for the name takes
            precedence.
        config: What is detected and how it is replaced; the defaults if absent.

    Raises:
        ConfigurationError: If an argument is invalid; the message names it.
    """

    def __init__(
        self,
        rules: Mapping[str, Action] | None = None,
        *,
        content: Action = "redact",
        config: RedactionConfig | None = None,
    ) -> None:
        a.check(
            rules=(rules, *a.MAPPING),
            content=(content, str),
            config=(config, RedactionConfig, None),
        )
        for name, action in {**(rules or {}), "content": content}.items():
            if type(name) is not str or action not in ACTIONS:
                allowed = f"{', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}"
                message = f"{name!r}: {action!r} is no rule: use {allowed} for a name"
                raise ConfigurationError(message)
        self._rules = [(_pattern(name).fullmatch, one) for name, one in (rules or {}).items()]
        self._content: Action = content
        self._is_content = re.compile("|".join(map(translate, s.FOREIGN_CONTENT))).match
        self._config = config
        self._actions: dict[str, Action] = {}  # a cache of the rules' results by name
        prepare(config)

    def record(self, fields: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
        """Redact the fields of a log record, and return its redacted attributes.

        Args:
            fields: The fields of its line, which are changed.
            attributes: Its attributes, which are not changed.

        Raises:
            RedactionError: If a detector or a strategy of the user failed.
        """
        name = fields.get("event_name")
        if BODY in fields:
            action = self._ruled(BODY)
            if action is None:
                # Older instrumentations have the content in the body, the event's name in attributes.
                known = name or str(attributes.get(s.EVENT_NAME, ""))
                action = self._content if known.startswith(s.GENAI_PREFIX) else "redact"
            if action == "drop":
                del fields[BODY]
            elif action != "keep":
                change = hidden if action == "hide" else redact
                fields[BODY] = change(fields[BODY], self._config)
        if name is not None:
            fields["event_name"] = self._redacted(name)
        return self.attributes(attributes)

    def span(self, fields: dict[str, Any]) -> None:
        """Redact the fields of a span's line, which are changed.

        Args:
            fields: The fields, with events and links in the body.

        Raises:
            RedactionError: If a detector or a strategy of the user failed.
        """
        about = fields["span"]
        for name in ("name", "status_message"):
            if name in about:
                about[name] = self._redacted(about[name])
        self._redact_attributes(fields)
        for parts in fields.get(BODY, {}).values():
            for part in parts:
                self.part(part)

    def part(self, fields: dict[str, Any]) -> None:
        """Redact the fields of an event or a link of a span, which are changed."""
        if "name" in fields:
            fields["name"] = self._redacted(fields["name"])
        self._redact_attributes(fields)

    def attributes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a redacted copy of attributes.

        Raises:
            RedactionError: If a detector or a strategy of the user failed.
        """
        looked_at: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for name, value in given.items():
            action = self._actions.get(name) or self._action(name)
            if action == "redact":
                looked_at[name] = value
            elif action == "hide":
                others[name] = hidden(value, self._config)
            elif action == "keep":
                others[name] = value
        return {**redact(looked_at, self._config), **others}

    def _redacted(self, value: _Value) -> _Value:
        return redact(value, self._config)  # type: ignore[no-any-return] # of the same type

    def _redact_attributes(self, fields: dict[str, Any]) -> None:
        if (given := fields.pop("attributes", None)) and (left := self.attributes(given)):
            fields["attributes"] = left

    def _action(self, name: str) -> Action:
        action = self._ruled(name) or (self._content if self._is_content(name) else "redact")
        if len(self._actions) >= _MOST_NAMES:
            self._actions.clear()
        self._actions[name] = action
        return action

    def _ruled(self, name: str) -> Action | None:
        return next((action for fits, action in self._rules if fits(name)), None)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


def redactor_of(given: bool | RedactionConfig | Redactor | None) -> Redactor | None:  # noqa: FBT001 - it is the value
    """Return the redactor for records of other loggers, None if they are not redacted.

    Args:
        given: The ``redact`` argument of the two processors; None reads ``WAKELOG_REDACT_FOREIGN``
            and ``WAKELOG_DROP_ATTRIBUTES``.

    Raises:
        ConfigurationError: If a variable is invalid, or the argument is of another type.
    """
    if given is None:
        return _redactor_of_the_environment()
    a.check(redact=(given, bool, Redactor, RedactionConfig))
    if isinstance(given, Redactor):
        return given
    if isinstance(given, RedactionConfig):
        return Redactor(config=given)
    return Redactor() if given else None


def _redactor_of_the_environment() -> Redactor | None:
    text = os.environ.get(REDACT_FOREIGN, "").strip()
    said = text.lower() or "false"
    make: dict[str, Callable[[dict[str, Action]], Redactor | None]] = {
        "true": Redactor,
        "drop_content": lambda rules: Redactor(rules, content="drop"),
        # Attributes that are not dropped stay unchanged.
        "false": lambda rules: Redactor({**rules, "*": "keep"}) if rules else None,
    }
    if said not in make:
        message = f"{REDACT_FOREIGN}={text!r} is not known: use true, false or drop_content"
        raise ConfigurationError(message)
    names = os.environ.get(DROP_ATTRIBUTES, "").split(",")
    return make[said]({name.strip(): "drop" for name in names if name.strip()})
