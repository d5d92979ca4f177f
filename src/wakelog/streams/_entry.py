"""``LogEntry``: a message of a session, which answers as a pydantic model does and needs no pydantic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self

from wakelog.errors import ConfigurationError


class _Unset(str):
    """A default, told apart from an equal text that was given."""

    __slots__ = ()


_TYPES = ("chat", "log")
_NO_SESSION: Final = _Unset("")
_NO_MESSAGE: Final = _Unset("")
_CHAT: Final[Any] = _Unset("chat")


def text_of(name: str, value: object) -> str:
    """Return what an argument has, when it is text.

    Raises:
        ConfigurationError: When it is not; it names the argument.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}={value!r:.80} is no text")
    return value


@dataclass(init=False, kw_only=True)
class LogEntry:
    """A message of a session. Arguments that it does not have are passed over.

    Attributes:
        session_id: The session.
        message: The text, or one of ``SPECIAL_TOKENS``.
        timestamp: When, in ISO 8601; now by default.
        log_type: ``chat`` or ``log``.
        model_fields_set: The names of those that were given.

    Raises:
        ConfigurationError: Without a message, for a value of another type or another ``log_type``.
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
        """Iterate over names and values, so that ``dict(entry)`` is a dict of them."""
        return iter([(name, getattr(self, name)) for name in _NAMES])

    @classmethod
    def model_validate(cls, obj: object, **options: object) -> Self:
        """Make an entry of plain data.

        Args:
            obj: A mapping of the fields, in which others are passed over, or an entry.
            options: ``from_attributes=True`` takes any object with the fields as attributes. Others
                that pydantic has change nothing here.

        Returns:
            The entry; the given one when it is one.

        Raises:
            ConfigurationError: When a field is missing, of another type or another ``log_type``.
        """
        if isinstance(obj, cls):
            return obj
        if isinstance(obj, Mapping):
            given = {name: obj[name] for name in _NAMES if name in obj}
        elif options.get("from_attributes"):
            given = {name: getattr(obj, name) for name in _NAMES if hasattr(obj, name)}
        else:
            raise ConfigurationError(
                f"obj={obj!r:.80} is no {cls.__name__}: pass a mapping with its fields"
            )
        return cls(**given)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: object) -> Self:
        """Make an entry of JSON, see ``model_validate``.

        Raises:
            ConfigurationError: When it is no JSON, or no entry's.
        """
        try:
            obj = json.loads(json_data)
        except ValueError as error:
            raise ConfigurationError(f"json_data={json_data!r:.80} is no JSON: {error}") from error
        return cls.model_validate(obj, **options)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002 - all fields are text
        """Return a copy.

        Args:
            update: Fields to change in it. Unlike pydantic's, they are checked.
            deep: Not used, as all fields are text.

        Raises:
            ConfigurationError: For a value of another type or another ``log_type``.
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
            include: The only fields to have in it.
            exclude: Fields to leave out; in a mapping not those with False.
            exclude_unset: Leave out what was not given.
            exclude_defaults: Leave out what is as it would be by default.
            exclude_none: Leave out what is None, which nothing is.
            options: ``mode`` and others that pydantic has; they change nothing here, where every
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
            indent: By how much to indent; one compact line by default.
            options: As ``model_dump`` takes them.
        """
        ensure_ascii = bool(options.pop("ensure_ascii", False))
        separators = None if indent else (",", ":")
        data = self.model_dump(**options)
        return json.dumps(data, indent=indent, ensure_ascii=ensure_ascii, separators=separators)

    @classmethod
    def model_json_schema(cls, **options: object) -> dict[str, Any]:
        """Return the JSON Schema of an entry.

        Args:
            options: Those that pydantic has; they change nothing here.
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
