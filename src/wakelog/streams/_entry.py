"""``LogEntry``: a message of a session, with a pydantic model's interface, without pydantic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self

from wakelog.errors import ConfigurationError


class _Unset(str):
    """A default value that can be distinguished from an equal text in an argument."""

    __slots__ = ()


_TYPES = ("chat", "log")
_NO_SESSION: Final = _Unset("")
_NO_MESSAGE: Final = _Unset("")
_CHAT: Final[Any] = _Unset("chat")


def text_of(name: str, value: object) -> str:
    """Return an argument unchanged after checking that it is text.

    Raises:
        ConfigurationError: If it is not; the message names the argument.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}={value!r:.80} is not text")
    return value


@dataclass(init=False, kw_only=True)
class LogEntry:
    """A message of a session. Unknown arguments are ignored.

    Attributes:
        session_id: The session.
        message: The text, or one of ``SPECIAL_TOKENS``.
        timestamp: The time in ISO 8601; default: now.
        log_type: ``chat`` or ``log``.
        model_fields_set: The names of the given arguments.

    Raises:
        ConfigurationError: If the message is missing, or a value has the wrong type.
    """

    session_id: str = _NO_SESSION
    message: str
    timestamp: str | None = None
    log_type: Literal["chat", "log"] = _CHAT

    def __init__(
        self,
        *,
        session_id: str = _NO_SESSION,
        message: str = _NO_MESSAGE,
        timestamp: str | None = None,
        log_type: Literal["chat", "log"] = _CHAT,
        **_: object,
    ) -> None:
        if message is _NO_MESSAGE:
            raise ConfigurationError("message is missing: every entry has one")
        self.session_id, self.message = session_id, message
        self.timestamp, self.log_type = timestamp, log_type
        defaults = (_NO_SESSION, None, _CHAT)
        self.model_fields_set = {
            name for name, value in self if not any(value is default for default in defaults)
        }
        self.session_id = str(text_of("session_id", self.session_id))
        text_of("message", self.message)
        if self.timestamp is not None:
            text_of("timestamp", self.timestamp)
        if self.log_type not in _TYPES:
            raise ConfigurationError(f"log_type={self.log_type!r} is not known: use chat or log")
        self.log_type = "log" if self.log_type == "log" else "chat"
        if not self.timestamp:
            self.timestamp = datetime.now(UTC).isoformat()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Iterate over names and values, so that ``dict(entry)`` works."""
        return iter([(name, getattr(self, name)) for name in _NAMES])

    @classmethod
    def model_validate(cls, obj: object, **options: object) -> Self:
        """Return an entry made from plain data.

        Args:
            obj: A mapping of the fields, in which others are ignored, or an entry.
            options: With ``from_attributes=True``, `obj` may be any object with the fields as
                attributes. Other options of pydantic have no effect.

        Returns:
            The entry; `obj` itself if it is one.

        Raises:
            ConfigurationError: If a field is missing or has a wrong value.
        """
        if isinstance(obj, cls):
            return obj
        if isinstance(obj, Mapping):
            given = {name: obj[name] for name in _NAMES if name in obj}
        elif options.get("from_attributes"):
            given = {name: getattr(obj, name) for name in _NAMES if hasattr(obj, name)}
        else:
            raise ConfigurationError(
                f"obj={obj!r:.80} is not a {cls.__name__}: pass a mapping with its fields"
            )
        return cls(**given)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: object) -> Self:
        """Return an entry made from JSON; see ``model_validate``.

        Raises:
            ConfigurationError: If it is not JSON, or not an entry.
        """
        try:
            obj = json.loads(json_data)
        except ValueError as error:
            raise ConfigurationError(f"json_data={json_data!r:.80} is not JSON: {error}") from error
        return cls.model_validate(obj, **options)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002 - all fields are text
        """Return a copy.

        Args:
            update: Fields to change in the copy. Unlike in pydantic, they are validated.
            deep: Has no effect, because all fields are text.

        Raises:
            ConfigurationError: If a field has a wrong value.
        """
        changed = {name: value for name, value in (update or {}).items() if name in _NAMES}
        copy = type(self)(**{**dict(self), **changed})
        copy.model_fields_set = self.model_fields_set | set(changed)
        return copy

    def model_dump(
        self,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
        **options: object,
    ) -> dict[str, Any]:
        """Return the entry as a dict.

        Args:
            include: The only fields to include.
            exclude: Fields to leave out; in a mapping, except those with the value False.
            exclude_unset: Leave out fields that were not given.
            exclude_defaults: Leave out fields with their default value.
            exclude_none: Leave out fields that are None, which none is.
            options: ``mode`` and other options of pydantic, which have no effect, because every
                field is text and has no alias.
        """
        del options
        wanted = set(_NAMES if include is None else include)
        if isinstance(exclude, Mapping):
            exclude = [name for name, is_left_out in exclude.items() if is_left_out is not False]
        wanted -= set(exclude or ())
        if exclude_unset:
            wanted &= self.model_fields_set
        return {
            name: value
            for name, value in self
            if name in wanted
            and not (exclude_defaults and value == _DEFAULTS.get(name, _MISSING))
            and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the entry as JSON.

        Args:
            indent: The indentation; default: one compact line.
            options: The options of ``model_dump``.
        """
        ensure_ascii = bool(options.pop("ensure_ascii", False))
        separators = None if indent else (",", ":")
        data = self.model_dump(**options)
        return json.dumps(data, indent=indent, ensure_ascii=ensure_ascii, separators=separators)

    @classmethod
    def model_json_schema(cls, **options: object) -> dict[str, Any]:
        """Return the JSON Schema of an entry.

        Args:
            options: The options of pydantic, which have no effect.
        """
        del options
        text = {"type": "string"}
        return {
            "description": "A message of a session.",
            "properties": {
                "session_id": {"default": "", "title": "Session Id", **text},
                "message": {"title": "Message", **text},
                "timestamp": {
                    "anyOf": [text, {"type": "null"}],
                    "default": None,
                    "title": "Timestamp",
                },
                "log_type": {
                    "default": "chat",
                    "enum": list(_TYPES),
                    "title": "Log Type",
                    **text,
                },
            },
            "required": ["message"],
            "title": cls.__name__,
            "type": "object",
        }


_MISSING: Final = object()
_DEFAULTS: Final = {"session_id": "", "log_type": "chat", "timestamp": None}
_NAMES: Final = tuple(field.name for field in fields(LogEntry))
