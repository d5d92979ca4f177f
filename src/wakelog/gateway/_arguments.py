"""A logger's arguments as attributes of the same names, and which of them were given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from wakelog.buffer import OverflowPolicy
from wakelog.gateway._formats import Formatter
from wakelog.gateway._sending import ErrorHandler
from wakelog.gateway._settings import Settings
from wakelog.journal import Durability
from wakelog.redaction import RedactionConfig

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_P = ParamSpec("_P")
_Value = TypeVar("_Value")


class HasSettings:
    """An object with settings.

    Attributes:
        settings: The settings from arguments, the environment and the defaults.
    """

    settings: Settings


class Argument(Generic[_Value]):
    """A read-only attribute whose value is the setting of the same name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, logger: None, owner: type) -> Argument[_Value]: ...

    @overload
    def __get__(self, logger: HasSettings, owner: type) -> _Value: ...

    def __get__(self, logger: HasSettings | None, owner: type) -> Argument[_Value] | _Value:
        if logger is None:
            return self
        value: _Value = getattr(logger.settings, self._name)
        return value

    def __set__(self, logger: HasSettings, value: object) -> None:
        raise AttributeError(f"{self._name} cannot be set: give it to the constructor")


class Arguments(HasSettings):
    """Read-only attributes for all arguments that do not change."""

    include_system_prompt = Argument[bool]()
    log_format = Argument[str | Formatter]()
    file_naming_pattern = Argument[str]()
    error_handler = Argument[ErrorHandler | None]()
    max_retry_attempts = Argument[int]()
    retry_delay_seconds = Argument[float]()
    enable_local_logging = Argument[bool]()
    session_directory_pattern = Argument[str]()
    unknown_session_pattern = Argument[str]()
    formatter = Argument[Formatter | None]()
    durability = Argument[Durability]()
    max_file_bytes = Argument[int]()
    max_line_bytes = Argument[int]()
    max_event_bytes = Argument[int | None]()
    max_open_files = Argument[int]()
    redact_payloads = Argument[bool]()
    redaction_config = Argument[RedactionConfig | None]()
    queue_size = Argument[int]()
    overflow = Argument[OverflowPolicy]()
    concurrency = Argument[int]()
    max_probe_attempts = Argument[int | None]()
    pipeline = Argument[str | None]()
    send_timeout_seconds = Argument[float]()
    close_timeout_seconds = Argument[float]()
    meter_provider: Argument[MeterProvider | None] = Argument()


def noting_what_is_given(init: Callable[_P, None]) -> Callable[_P, None]:
    """Wrap a constructor so that it notes the given arguments, which override the environment."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def noting(*arguments: _P.args, **named: _P.kwargs) -> None:
        given = signature.bind(*arguments, **named).arguments
        logger: Any = given.pop("self")
        logger._given = frozenset((*given, *given.get("kwargs", {})))  # noqa: SLF001 - its own
        init(*arguments, **named)

    return noting
