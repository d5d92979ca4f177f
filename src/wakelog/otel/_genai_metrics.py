"""The metrics of OpenTelemetry's conventions for generative AI: token usage and durations.

Figures are appended to a deque and read at the next metric collection, so that a thread that
records never waits for a lock of the SDK.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import Observation

from wakelog.events import semconv as s
from wakelog.runtime import ForkOrder, reset_in_child
from wakelog.telemetry import MOST_SAMPLES, Metric
from wakelog.telemetry.instruments import Instruments, Observations, observe

_CALL_SECONDS: Final = tuple(0.01 * 2**n for n in range(14))
_AGENT_SECONDS: Final = tuple(0.1 * 2**n for n in range(13))
# The attribute behind each counter; the conventions require every call to be counted, also with 0.
_COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    s.METRIC_INPUT_TOKENS: (s.USAGE_INPUT_TOKENS, "Tokens of input, cached ones included."),
    s.METRIC_OUTPUT_TOKENS: (s.USAGE_OUTPUT_TOKENS, "Tokens of output, reasoning included."),
    s.METRIC_CACHE_READ: (s.USAGE_CACHE_READ, "Tokens of input that came from a cache."),
    s.METRIC_CACHE_WRITE: (s.USAGE_CACHE_WRITE, "Tokens of input that were written to a cache."),
    s.METRIC_REASONING: (s.USAGE_REASONING, "Tokens of output that were reasoning."),
}
_MODALITIES: Final[Mapping[str, Mapping[str, str]]] = {
    s.METRIC_INPUT_TOKENS: {
        "text": s.USAGE_TEXT_INPUT,
        "image": s.USAGE_IMAGE_INPUT,
        "audio": s.USAGE_AUDIO_INPUT,
    },
    s.METRIC_OUTPUT_TOKENS: {
        "text": s.USAGE_TEXT_OUTPUT,
        "image": s.USAGE_IMAGE_OUTPUT,
        "audio": s.USAGE_AUDIO_OUTPUT,
    },
    s.METRIC_CACHE_READ: {
        "text": s.USAGE_TEXT_CACHE_READ,
        "image": s.USAGE_IMAGE_CACHE_READ,
        "audio": s.USAGE_AUDIO_CACHE_READ,
    },
}
_UNKNOWN: Final = "unknown"
# The attributes of each kind of metric; all of them have few distinct values.
_OF_CALLS: Final = (s.OPERATION_NAME, s.PROVIDER_NAME, s.REQUEST_MODEL, s.RESPONSE_MODEL)
_OF_TOOLS: Final = (s.TOOL_NAME, s.TOOL_TYPE, s.AGENT_NAME, s.ERROR_TYPE)
_OF_RUNS: Final = (s.OPERATION_NAME, s.AGENT_NAME, s.ERROR_TYPE)

TABLE: Final = (
    *(
        Metric(name, "counter", "{token}", description, "")
        for name, (_, description) in _COUNTED.items()
    ),
    Metric(
        s.METRIC_INFERENCE_DURATION,
        "histogram",
        "s",
        "Seconds that a call of a model took.",
        "",
        buckets=_CALL_SECONDS,
    ),
    Metric(
        s.METRIC_TIME_TO_FIRST_CHUNK,
        "histogram",
        "s",
        "Seconds until the first chunk of a streamed response.",
        "",
        buckets=_CALL_SECONDS,
    ),
    Metric(
        s.METRIC_TOOL_DURATION,
        "histogram",
        "s",
        "Seconds that a call of a tool took.",
        "",
        buckets=_CALL_SECONDS,
    ),
    Metric(
        s.METRIC_AGENT_DURATION,
        "histogram",
        "s",
        "Seconds that a run of an agent or a workflow took.",
        "",
        buckets=_AGENT_SECONDS,
    ),
)
_Key = tuple[tuple[str, Any], ...]


class GenAIMetrics:
    """The metrics of models, tools and agents in this process.

    ``_lock`` guards the sums; the SDK is never called under it.
    """

    def __init__(self) -> None:
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)
        observe(TABLE, self._collect)

    def _reset(self) -> None:
        """Set everything to zero: at the start, and in a forked child."""
        self._lock = threading.Lock()
        self._used: deque[tuple[_Key, Mapping[str, Any]]] = deque()
        self._sums: dict[str, Counter[_Key]] = {name: Counter() for name in _COUNTED}
        self._durations: deque[tuple[str, _Key, float]] = deque(maxlen=MOST_SAMPLES)

    def inference(
        self, request: Mapping[str, Any], response: Mapping[str, Any], seconds: float
    ) -> None:
        """Count a model call.

        Args:
            request: The attributes of the request: operation, provider, model.
            response: The attributes of the response: model, tokens, error, time to the first chunk.
            seconds: The duration of the call.
        """
        said = {**request, **response}
        key = _key(said, _OF_CALLS)
        self._used.append((key, response))
        ended = _key(said, (*_OF_CALLS, s.ERROR_TYPE))
        self._durations.append((s.METRIC_INFERENCE_DURATION, ended, seconds))
        if (first := response.get(s.RESPONSE_TIME_TO_FIRST_CHUNK)) is not None:
            self._durations.append((s.METRIC_TIME_TO_FIRST_CHUNK, key, first))
        if len(self._used) > MOST_SAMPLES:
            self._add_up()

    def tool(self, attributes: Mapping[str, Any], seconds: float) -> None:
        """Store the duration of a tool call in seconds."""
        self._durations.append((s.METRIC_TOOL_DURATION, _key(attributes, _OF_TOOLS), seconds))

    def run(self, attributes: Mapping[str, Any], seconds: float) -> None:
        """Store the duration of a run in seconds."""
        self._durations.append((s.METRIC_AGENT_DURATION, _key(attributes, _OF_RUNS), seconds))

    def _add_up(self) -> None:
        with self._lock:
            while True:
                try:
                    key, response = self._used.popleft()
                except IndexError:
                    return
                for name, (attribute, _) in _COUNTED.items():
                    self._count(name, key, response, _number(response.get(attribute)))

    def _count(self, name: str, key: _Key, response: Mapping[str, Any], tokens: int) -> None:
        """Add tokens to a counter, by modality as far as the provider reports it."""
        rest = tokens
        for modality, attribute in _MODALITIES.get(name, {}).items():
            if (number := min(rest, _number(response.get(attribute)))) > 0:
                self._sums[name][*key, (s.MODALITY, modality)] += number
                rest -= number
        if rest or not tokens:
            self._sums[name][*key, (s.MODALITY, _UNKNOWN)] += rest

    def _collect(self, instruments: Instruments) -> Observations:
        self._add_up()
        while True:
            try:
                name, key, seconds = self._durations.popleft()
            except IndexError:
                break
            instruments.histograms[name].record(seconds, dict(key))
        found = Observations()
        with self._lock:
            for name, sums in self._sums.items():
                found[name] = [Observation(number, dict(key)) for key, number in sums.items()]
        return found


def genai_metrics() -> GenAIMetrics:
    """Return the metrics that all loggers of this process share."""
    global _shared  # noqa: PLW0603 - created at the first call
    if _shared is None:
        _shared = GenAIMetrics()
    return _shared


_shared: GenAIMetrics | None = None


def _key(said: Mapping[str, Any], names: tuple[str, ...]) -> _Key:
    return tuple((name, said[name]) for name in names if said.get(name) is not None)


def _number(value: object) -> int:
    return value if type(value) is int and value > 0 else 0
