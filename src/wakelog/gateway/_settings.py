"""The gateway's settings, validated, from arguments and from the environment."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wakelog.buffer import OverflowPolicy
from wakelog.errors import ConfigurationError
from wakelog.gateway._formats import Custom, Document, Format, Formatter, Lines
from wakelog.gateway._names import DirectoryPattern, FilePattern, unknown_session
from wakelog.gateway._sending import ErrorHandler
from wakelog.journal import Durability
from wakelog.redaction import RedactionConfig
from wakelog.storage import LONGEST_LINE

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_FORMATS: Final = ("jsonl", "json", "custom")
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")
_MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``EventSessionLogger`` except the callback and the transport.

    Raises:
        ConfigurationError: If a value cannot be used; the message names it and the allowed values.
    """

    log_base_dir: str | os.PathLike[str] | None = None
    include_system_prompt: bool = True
    log_format: str | Formatter = "jsonl"
    file_naming_pattern: str = "%Y%m%d_%H%M%S"
    error_handler: ErrorHandler | None = None
    max_retry_attempts: int = 3
    retry_delay_seconds: float = 1.0
    enable_local_logging: bool = True
    session_directory_pattern: str = "{session_id}"
    unknown_session_pattern: str = "unknown_{uuid}"
    formatter: Formatter | None = None
    durability: Durability | str = Durability.OS_BUFFERED
    max_file_bytes: int = 64 * _MEBIBYTE
    max_line_bytes: int = _MEBIBYTE
    max_event_bytes: int | None = None
    max_open_files: int = 128
    redact_payloads: bool = True
    redaction_config: RedactionConfig | None = None
    queue_size: int = 10_000
    overflow: OverflowPolicy | str = OverflowPolicy.DROP_OLDEST
    concurrency: int = 8
    max_probe_attempts: int | None = 5
    pipeline: str | None = None
    send_timeout_seconds: float = 10.0
    close_timeout_seconds: float = 5.0
    meter_provider: MeterProvider | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "durability", Durability(self.durability))
        object.__setattr__(self, "overflow", OverflowPolicy(self.overflow))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name in ("max_probe_attempts", "max_event_bytes"):
                continue
            seconds = name.endswith("_seconds")
            kind = int | float if seconds else int
            if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
                what = "a number of seconds" if seconds else "a whole number"
                raise ConfigurationError(
                    f"{name}={value!r} is not usable: use {what}, at least {least}"
                )
        if self.max_line_bytes > LONGEST_LINE:
            raise ConfigurationError(
                f"max_line_bytes={self.max_line_bytes!r} is not usable: readers take lines of at most "
                f"{LONGEST_LINE} bytes. Longer content is kept whole beside its line, see max_event_bytes"
            )
        for name in ("include_system_prompt", "enable_local_logging", "redact_payloads"):
            if not isinstance(value := getattr(self, name), bool):
                raise ConfigurationError(f"{name}={value!r} is not usable: use True or False")
        self._check_objects()
        self.base()
        if isinstance(self.log_format, str) and self.log_format not in _FORMATS:
            raise ConfigurationError(
                f"log_format={self.log_format!r} is not known: use one of {', '.join(_FORMATS)}, or "
                "a callable"
            )
        self.format()
        self.directories()
        self.names()
        unknown_session(self.unknown_session_pattern)

    def _check_objects(self) -> None:
        handler, meters, config = self.error_handler, self.meter_provider, self.redaction_config
        if handler is not None and not callable(handler):
            raise ConfigurationError(f"error_handler={handler!r} cannot be called")
        if meters is not None and not callable(getattr(meters, "get_meter", None)):
            raise ConfigurationError(
                f"meter_provider={meters!r} has no get_meter(): give an OpenTelemetry MeterProvider"
            )
        if config is not None and not isinstance(config, RedactionConfig):
            raise ConfigurationError(f"redaction_config={config!r} is not a RedactionConfig")
        pipeline: object = self.pipeline
        if pipeline is not None and not (isinstance(pipeline, str) and pipeline):
            raise ConfigurationError(f"pipeline={pipeline!r} is not usable: give a name")

    def base(self) -> Path:
        """Return the base directory as it was given, or the default for None and an empty text."""
        if self.log_base_dir is None or self.log_base_dir == "":
            return default_base()
        try:
            return Path(self.log_base_dir)
        except TypeError:
            message = f"log_base_dir={self.log_base_dir!r} is not usable: give a path"
            raise ConfigurationError(message) from None

    def format(self) -> Format:
        """Return the format of the files."""
        if self.log_format == "jsonl":
            return Lines()
        if self.log_format == "json":
            return Document()
        formatter = self.formatter if isinstance(self.log_format, str) else self.log_format
        if not callable(formatter):
            raise ConfigurationError(
                "log_format='custom' needs formatter=, a callable that takes an event and returns "
                "its text; from the environment, AGENT_LOG_FORMATTER=module:function"
            )
        return Custom(formatter)

    def directories(self) -> DirectoryPattern:
        """Return the pattern of the sessions' directories."""
        return DirectoryPattern(self.session_directory_pattern)

    def names(self) -> FilePattern:
        """Return the pattern of file names."""
        return FilePattern(self.file_naming_pattern)


_LEAST: Final[Mapping[str, float]] = {
    "max_retry_attempts": 0,
    "max_probe_attempts": 0,
    "retry_delay_seconds": 0,
    "max_file_bytes": 0,
    "max_line_bytes": 1024,
    "max_event_bytes": 1,
    "max_open_files": 1,
    "queue_size": 1,
    "concurrency": 1,
    "send_timeout_seconds": 0.001,
    "close_timeout_seconds": 0,
}


def check_names(given: Mapping[str, object]) -> None:
    """Reject arguments that do not exist.

    Raises:
        ConfigurationError: The message names all of them, and similar existing ones.
    """
    known = [field.name for field in fields(Settings)]
    known += ["downstream_callback", "downstream_transport"]
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    told = []
    for name in unknown:
        close = get_close_matches(name, known, n=1)
        told.append(f"{name} (did you mean {close[0]}?)" if close else name)
    raise ConfigurationError(f"EventSessionLogger has no argument {', '.join(told)}")


def default_base() -> Path:
    """Return the default base directory: ``AGENT_LOG_DIR``, or else ``logs/sessions``."""
    return Path(os.environ.get("AGENT_LOG_DIR", "").strip() or "logs/sessions")


def from_environment(given: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings from the environment.

    Args:
        given: Names of settings whose variables are ignored, because they were given as arguments.

    Raises:
        ConfigurationError: If a value cannot be used; the message names the variable, the value and
            what is allowed.
    """
    found: dict[str, Any] = {}
    for variable, (setting, read) in _VARIABLES.items():
        text = os.environ.get(variable)
        if text is None or not text.strip() or setting in given:
            continue
        try:
            found[setting] = read(text.strip())
        except ConfigurationError as error:
            raise ConfigurationError(f"{variable}={text!r} is not usable: {error}") from error
        except ValueError as error:
            raise ConfigurationError(f"{variable}={text!r} is not usable: use {error}") from None
    return found


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("true or false (also 1/0, yes/no, on/off)")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError("a number of seconds, 0 or more")
    return value


def _format(text: str) -> str:
    if text.lower() not in _FORMATS:
        raise ValueError(f"one of {', '.join(_FORMATS)}")
    return text.lower()


def _formatter(text: str) -> Formatter:
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ValueError("module:function")
    try:
        found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"it cannot be imported: {error}. Use module:function") from error
    if not callable(found):
        raise ConfigurationError("it cannot be called. Use module:function")
    formatter: Formatter = found
    return formatter


def _usable_for(pattern: Callable[[str], object]) -> Callable[[str], str]:
    """Return a function that returns a text unchanged, after trying it as a pattern."""

    def read(text: str) -> str:
        pattern(text)
        return text

    return read


_VARIABLES: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "AGENT_LOG_DIR": ("log_base_dir", str),
    "AGENT_LOG_FORMAT": ("log_format", _format),
    "AGENT_LOG_FORMATTER": ("formatter", _formatter),
    "AGENT_LOG_INCLUDE_PROMPT": ("include_system_prompt", _flag),
    "AGENT_LOG_MAX_RETRIES": ("max_retry_attempts", _count),
    "AGENT_LOG_RETRY_DELAY": ("retry_delay_seconds", _seconds),
    "AGENT_LOG_FILE_PATTERN": ("file_naming_pattern", _usable_for(FilePattern)),
    "AGENT_LOG_ENABLE_LOCAL": ("enable_local_logging", _flag),
    "AGENT_LOG_SESSION_PATTERN": ("session_directory_pattern", _usable_for(DirectoryPattern)),
    "AGENT_LOG_UNKNOWN_PATTERN": ("unknown_session_pattern", _usable_for(unknown_session)),
}
