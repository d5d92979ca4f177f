"""Settings by argument or environment variable. An argument wins, and errors name either."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypeVar, get_args

from opentelemetry.sdk.environment_variables import (
    OTEL_ATTRIBUTE_COUNT_LIMIT,
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    OTEL_BLRP_EXPORT_TIMEOUT,
    OTEL_BLRP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BLRP_MAX_QUEUE_SIZE,
    OTEL_BLRP_SCHEDULE_DELAY,
    OTEL_BSP_EXPORT_TIMEOUT,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    OTEL_SDK_DISABLED,
)

from wakelog._arguments import MAX_EVENT_BYTES
from wakelog._native import VARIABLE as NATIVE
from wakelog.delivery import ANSWER_SECONDS
from wakelog.errors import ConfigurationError
from wakelog.evidence import SEALING_VARIABLES
from wakelog.journal import DEFAULT_SEGMENT_BYTES, Durability, Space
from wakelog.otel._requests import DIRECT_ENCODING
from wakelog.runtime import TRUST_VARIABLE

if TYPE_CHECKING:
    from wakelog.buffer import Buffer
    from wakelog.evidence import Sealing

_log = logging.getLogger("wakelog")

Settings = TypeVar("Settings")
OnError = Literal["log", "raise"]
UnknownOutcome = Literal["error", "unset", "drop"]
_UNKNOWN_OUTCOMES: Final[tuple[UnknownOutcome, ...]] = get_args(UnknownOutcome)
"""The end of a span whose process has ended: with error status, with no status, or no end."""

ATTRIBUTE_LIMITS: Final = (
    OTEL_ATTRIBUTE_COUNT_LIMIT,
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT,
)
DIRECTORY_VARIABLE: Final = "WAKELOG_DIR"
ON_ERROR_VARIABLE: Final = "WAKELOG_ON_ERROR"
UNKNOWN_OUTCOME_VARIABLE: Final = "WAKELOG_UNKNOWN_OUTCOME"
REDACT_FOREIGN: Final = "WAKELOG_REDACT_FOREIGN"
DROP_ATTRIBUTES: Final = "WAKELOG_DROP_ATTRIBUTES"
FOREIGN_VARIABLES: Final = (REDACT_FOREIGN, DROP_ATTRIBUTES)
EXIT_TIMEOUT: Final = "WAKELOG_EXIT_TIMEOUT"
ANSWER_TIMEOUT: Final = "WAKELOG_EXIT_ANSWER_TIMEOUT"

# Variables and defaults of the SDK's batch processors: delay, batch, timeout, queue.
_BLRP: Final = (
    (OTEL_BLRP_SCHEDULE_DELAY, 1000),
    (OTEL_BLRP_MAX_EXPORT_BATCH_SIZE, 512),
    (OTEL_BLRP_EXPORT_TIMEOUT, 30000),
    (OTEL_BLRP_MAX_QUEUE_SIZE, 2048),
)
_BSP: Final = (
    (OTEL_BSP_SCHEDULE_DELAY, 5000),
    (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, 512),
    (OTEL_BSP_EXPORT_TIMEOUT, 30000),
    (OTEL_BSP_MAX_QUEUE_SIZE, 2048),
)
_SPACE = {
    "WAKELOG_RETENTION_AGE": "retention_age",
    "WAKELOG_RETENTION_BYTES": "retention_bytes",
    "WAKELOG_RETENTION_WRITERS": "retention_writers",
    "WAKELOG_QUOTA_BYTES": "quota_bytes",
    "WAKELOG_QUOTA_POLICY": "quota_policy",
    "WAKELOG_BLOCK_TIMEOUT": "block_timeout",
}
_BUFFER = {
    "WAKELOG_BUFFER_CAPACITY": "capacity",
    "WAKELOG_BUFFER_OVERFLOW": "overflow",
    "WAKELOG_BUFFER_TIMEOUT": "timeout",
}
_KNOWN: Final = frozenset(
    {
        *_SPACE,
        *_BUFFER,
        *SEALING_VARIABLES,
        DIRECTORY_VARIABLE,
        ON_ERROR_VARIABLE,
        "WAKELOG_AGENT_NAME",
        "WAKELOG_WORKFLOW_NAME",
        "WAKELOG_DURABILITY",
        "WAKELOG_SEGMENT_BYTES",
        "WAKELOG_SEGMENT_AGE",
        "WAKELOG_ROTATE_AT_MIDNIGHT",
        "WAKELOG_SPAN_EVENTS",
        "WAKELOG_SPAN_STARTS",
        "WAKELOG_SPAN_IDLE",
        UNKNOWN_OUTCOME_VARIABLE,
        EXIT_TIMEOUT,
        ANSWER_TIMEOUT,
        "WAKELOG_GENAI_EVENTS",
        "WAKELOG_GENAI_METRICS",
        "WAKELOG_COSTS",
        "WAKELOG_CONTEXT",
        "WAKELOG_REDACT",
        *FOREIGN_VARIABLES,
        "WAKELOG_REPLAY_RATE",
        "WAKELOG_MAX_RECORD_BYTES",
        MAX_EVENT_BYTES,
        DIRECT_ENCODING,
        NATIVE,
        "WAKELOG_DEMO_PATIENCE",
        "WAKELOG_PIPELINE",
        TRUST_VARIABLE,
    }
)
"""Every variable of Wakelog's own."""
# Prefixes of variables for the development of Wakelog itself: for tests and their tools.
_OF_DEVELOPMENT: Final = (
    "WAKELOG_TEST_",
    "WAKELOG_REQUIRE",
    "WAKELOG_ATTACK",
    "WAKELOG_CACHE",
)
# Suffixes of variables whose values may contain credentials.
_SECRET: Final = ("HEADERS", "ENDPOINT")
_said_misspelt: set[str] = set()


def misspelt() -> dict[str, str | None]:
    """Return the unknown variables with the prefix ``WAKELOG_``, each with a likely correction."""
    found: dict[str, str | None] = {}
    for name in os.environ:
        if name.startswith("WAKELOG_") and name not in _KNOWN:
            if name.startswith(_OF_DEVELOPMENT):
                continue
            from difflib import get_close_matches  # a slow import, for a rare case

            # A known name that is a prefix is a better match than a similar name.
            close = [known for known in sorted(_KNOWN) if name.startswith(known)]
            close = close or get_close_matches(name, sorted(_KNOWN), n=1, cutoff=0.75)
            found[name] = close[0] if close else None
    return found


def say_misspelt() -> None:
    """Log, once per process and variable, the unknown variables that begin with ``WAKELOG_``."""
    for name, meant in misspelt().items():
        if name not in _said_misspelt:
            _said_misspelt.add(name)
            guess = f"did you mean {meant}?" if meant else "getting-started.md has them all"
            _log.warning("%s is no variable of Wakelog's and has no effect: %s", name, guess)


@contextmanager
def naming_variables(what: str, *families: str, of: str = "") -> Iterator[None]:
    """Name the responsible variables if the SDK refuses to create an object from the environment.

    Args:
        what: What is created in the block.
        families: The prefixes of the variables that are read for it.
        of: The signal, if variables of other signals do not count.

    Raises:
        ConfigurationError: For any exception of the block, with the variables and their values.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        others = {"LOGS", "TRACES", "METRICS"} - {of} if of else set()
        read = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(families) and others.isdisjoint(name.split("_"))
        }
        # Most errors quote the value or the name; otherwise, it may be any of these variables.
        blamed = {n: v for n, v in read.items() if v and (v in str(error) or n in str(error))}
        shown = " and ".join(
            name if name.endswith(_SECRET) else f"{name}={value!r}"
            for name, value in (blamed or read).items()
        )
        remedy = f" Correct or unset {shown}" if shown else ""
        message = (
            f"{what} cannot be made: {str(error).rstrip('.') or type(error).__name__}.{remedy}"
        )
        raise ConfigurationError(message) from error


class Batching(NamedTuple):
    """Arguments of the SDK's batch processor: milliseconds, and numbers of records."""

    delay: float
    batch: int
    timeout: float
    queue: int


def batching(
    schedule_delay_millis: float | None,
    max_export_batch_size: int | None,
    export_timeout_millis: float | None,
    max_queue_size: int | None,
    *,
    spans: bool = False,
) -> Batching:
    """Return the batch processor's arguments, each as given, from its variable, or the default.

    Args:
        schedule_delay_millis: As for the batch processor, None for its variable.
        max_export_batch_size: Likewise.
        export_timeout_millis: Likewise.
        max_queue_size: Likewise.
        spans: Whether it is the batch processor of spans, with its ``OTEL_BSP_*`` variables and
            defaults.

    Raises:
        ConfigurationError: If the batch processor would refuse a value; the message names the
            argument or variable.
    """
    delays, sizes, timeouts, queues = _BSP if spans else _BLRP
    given: dict[str, tuple[float | None, str, int]] = {
        "schedule_delay_millis": (schedule_delay_millis, *delays),
        "max_export_batch_size": (max_export_batch_size, *sizes),
        "export_timeout_millis": (export_timeout_millis, *timeouts),
        "max_queue_size": (max_queue_size, *queues),
    }
    values: list[float] = []
    shown: dict[str, str] = {}
    for name, (argument, variable, default) in given.items():
        value: float = default if argument is None else argument
        shown[name] = f"{name}={value!r}"
        if argument is None and (text := os.environ.get(variable, "").strip()):
            try:
                value = int(text)
                shown[name] = f"{variable}={text!r}"
            except ValueError:  # as the SDK does
                _log.warning("%s=%r is no whole number; using %s", variable, text, default)
        if not 0 < value < math.inf:
            message = f"{shown[name]} cannot be used: give a number above 0"
            raise ConfigurationError(message)
        values.append(value)
    delay, batch, timeout, queue = values
    if batch > queue:
        batch_name, queue_name = shown["max_export_batch_size"], shown["max_queue_size"]
        message = (
            f"{queue_name} cannot be used with {batch_name}: a batch has to be less than or equal to "
            f"the queue. Set {sizes[0]} or max_export_batch_size to "
            f"{queue:.0f} or less, or the queue to {batch:.0f} or more"
        )
        raise ConfigurationError(message)
    return Batching(delay, int(batch), timeout, int(queue))


def on_error_of(given: str | None) -> OnError:
    """Return an argument, else the value of ``WAKELOG_ON_ERROR``, else ``log``."""
    text = os.environ.get(ON_ERROR_VARIABLE, "").strip()
    value = given if given is not None else text.lower() or "log"
    if value == "log":
        return "log"
    if value == "raise":
        return "raise"
    named = f"on_error={given!r}" if given is not None else f"{ON_ERROR_VARIABLE}={text!r}"
    message = f"{named} is not known: use log or raise"
    raise ConfigurationError(message)


def disabled() -> bool:
    """Return whether OpenTelemetry's SDK is disabled."""
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def durability_of(given: Durability | str | None) -> Durability:
    """Return an argument, else the value of ``WAKELOG_DURABILITY``, else ``OS_BUFFERED``."""
    named = "durability" if given is not None else "WAKELOG_DURABILITY"
    value = given if given is not None else os.environ.get(named) or Durability.OS_BUFFERED
    try:
        return Durability(value)
    except ValueError:
        message = f"{named}={value!r} is not known: use one of {', '.join(Durability)}"
        raise ConfigurationError(message) from None


def flag(given: bool | None, variable: str, *, default: bool) -> bool:  # noqa: FBT001 - it is the value
    """Return an argument, else the value of its variable, else the default."""
    if given is not None:
        return given
    value = os.environ.get(variable, "").strip() or str(default)
    if value.lower() not in ("true", "false"):
        message = f"{variable}={value!r} is not known: use true or false"
        raise ConfigurationError(message)
    return value.lower() == "true"


def above_0(given: float | None, variable: str, argument: str = "") -> float | None:
    """Return an argument, else the number in its variable, else None."""
    text = os.environ.get(variable, "").strip()
    if given is not None:
        if not 0 < given < math.inf:
            name = argument or variable
            message = f"{name}={given!r} cannot be used: give a number above 0"
            raise ConfigurationError(message)
        return given
    if not text:
        return None
    number = _number(text)
    if number is None or not 0 < number < math.inf:
        message = f"{variable}={text!r} is not known: use a number above 0"
        raise ConfigurationError(message)
    return number


class ExitTimeouts(NamedTuple):
    """How long a program waits at exit, in seconds.

    Attributes:
        whole: The longest time for delivery.
        answer: The longest time without a response of the next hop. Once it has responded, the
            limit is twice the time of its last response, if that is longer.
    """

    whole: float = 5.0
    answer: float = ANSWER_SECONDS

    @classmethod
    def from_environment(cls) -> Self:
        """Return the values of ``WAKELOG_EXIT_TIMEOUT`` and ``WAKELOG_EXIT_ANSWER_TIMEOUT``.

        Raises:
            ConfigurationError: If a variable is not a number above 0; the message names it.
        """
        usual = cls()
        return cls(
            above_0(None, EXIT_TIMEOUT) or usual.whole,
            above_0(None, ANSWER_TIMEOUT) or usual.answer,
        )


def space_of(given: Space | None) -> Space:
    """Return an argument, else the quota that the variables of its fields define."""
    return given or _made(Space, _from_environment(_SPACE), _SPACE)


def buffer_of(given: Buffer | None) -> Buffer | None:
    """Return an argument, else the buffer that the variables define, None if none is set."""
    if given is not None or not (said := _from_environment(_BUFFER)):
        return given
    from wakelog.buffer import Buffer  # imported when needed: few programs have a buffer

    return _made(Buffer, said, _BUFFER)


def sealing_of(given: Sealing | None) -> Sealing | None:
    """Return an argument, else the sealing that the variables define, None if it is off."""
    if given is not None or not any(map(os.environ.get, SEALING_VARIABLES)):
        return given
    from wakelog.evidence import Sealing  # imported when needed: few journals are sealed

    return Sealing.from_environment()


def for_journal(
    *,
    durability: Durability | str | None = None,
    segment_bytes: int | None = None,
    segment_age: float | None = None,
    rotate_at_midnight: bool | None = None,
    space: Space | None = None,
    buffer: Buffer | None = None,
    sealing: Sealing | None = None,
) -> dict[str, Any]:
    """Return arguments of ``DurableLogRecordProcessor``, each as given or from its variable.

    Raises:
        ConfigurationError: If a variable is invalid; the message names it, with the allowed values.
    """
    return {
        "durability": durability_of(durability),
        "segment_bytes": int(
            above_0(segment_bytes, "WAKELOG_SEGMENT_BYTES", "segment_bytes")
            or DEFAULT_SEGMENT_BYTES
        ),
        "segment_age": above_0(segment_age, "WAKELOG_SEGMENT_AGE", "segment_age"),
        "rotate_at_midnight": flag(rotate_at_midnight, "WAKELOG_ROTATE_AT_MIDNIGHT", default=False),
        "space": space_of(space),
        "buffer": buffer_of(buffer),
        "sealing": sealing_of(sealing),
    }


def for_spans() -> dict[str, Any]:
    """Return the arguments of ``DurableSpanProcessor`` that only variables set.

    Raises:
        ConfigurationError: If a variable is invalid; the message names it, with the allowed values.
    """
    outcome = os.environ.get(UNKNOWN_OUTCOME_VARIABLE, "").strip().lower() or "error"
    return {
        "starts": flag(None, "WAKELOG_SPAN_STARTS", default=True),
        "unknown_outcome": unknown_outcome_of(outcome, UNKNOWN_OUTCOME_VARIABLE),
        "idle_limit": above_0(None, "WAKELOG_SPAN_IDLE"),
    }


def unknown_outcome_of(value: str, name: str) -> UnknownOutcome:
    """Return the outcome that an argument or a variable names.

    Raises:
        ConfigurationError: If the value is unknown; the message names the source and the known
            ones.
    """
    for known in _UNKNOWN_OUTCOMES:
        if value == known:
            return known
    allowed = f"{', '.join(_UNKNOWN_OUTCOMES[:-1])} or {_UNKNOWN_OUTCOMES[-1]}"
    raise ConfigurationError(f"{name}={value!r} is not known: use {allowed}")


def _from_environment(names: Mapping[str, str]) -> dict[str, str]:
    """Return the values of those variables that are set, by name."""
    return {name: text for name in names if (text := os.environ.get(name, "").strip())}


def _made(
    kind: Callable[..., Settings], said: Mapping[str, str], names: Mapping[str, str]
) -> Settings:
    """Create settings; an error names the variable and its text."""
    given: dict[str, Any] = {}
    for variable, text in said.items():
        number = _number(text)
        said_none = text == "none" and variable != "WAKELOG_QUOTA_POLICY"
        value: Any = None if said_none else text if number is None else number
        try:
            kind(**{names[variable]: value})
        except ConfigurationError as error:
            refused = f"{names[variable]}={value!r}"
            message = str(error).replace(refused, f"{variable}={text!r}")
            raise ConfigurationError(message) from None
        given[names[variable]] = value
    return kind(**given)


def _number(text: str) -> float | None:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return None


def refuse_beside_a_provider(**settings: object) -> None:
    """Refuse settings that belong to the processor in the given logger provider.

    Raises:
        ConfigurationError: If one of them is set; the message names it.
    """
    if given := [name for name, value in settings.items() if value is not None]:
        message = (
            f"{' and '.join(given)} cannot be set beside logger_provider: give "
            "them to the DurableLogRecordProcessor in that provider"
        )
        raise ConfigurationError(message)


def has_limits() -> bool:
    """Return whether the environment limits the attributes of log records."""
    return any(os.environ.get(variable) for variable in ATTRIBUTE_LIMITS)
