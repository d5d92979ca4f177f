"""The token usage of a model call, from the usage objects of providers' clients.

Providers count differently: OpenAI's input includes cached tokens, Anthropic's and Bedrock's does
not; the output of xAI and Gemini does not include reasoning. Here tokens are counted as in
OpenTelemetry's conventions: input includes all tokens read from and written to a cache, output
includes reasoning, and if a provider reports both used and billed tokens, the billed ones count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final

from wakelog.record import kept

Fields = Mapping[str, Any]
Usage = dict[str, int]

# The fields of a response that may contain the usage.
_WITHIN: Final = ("usage", "usage_metadata", "usageMetadata", "meta", "response")
_DEPTH: Final = 3


@cache
def _camel() -> re.Pattern[str]:
    return re.compile(r"(?<=[a-z])([A-Z])")


_MODALITIES: Final = ("text", "image", "audio")


def usage_of(given: object) -> Usage:
    """Return the token counts of a usage object, by OpenTelemetry's conventions.

    Args:
        given: The usage object of a client, or a response that contains one; a mapping or any
            object. Its form is recognised by the names of its fields.

    Returns:
        A new dict by the keys of a ``model_response``: ``input_tokens``, ``output_tokens``,
        ``cache_read_input_tokens`` and so on. Subsets that are 0 are left out. It is empty if the
        form is not recognised.
    """
    fields: Any = kept(given)
    for _ in range(_DEPTH):
        if not isinstance(fields, dict):
            break
        for known, read in _SHAPES:
            if not known.isdisjoint(fields):
                return _tidy(read(fields))
        fields = next((fields[name] for name in _WITHIN if name in fields), None)
    return {}


def _tidy(usage: Usage) -> Usage:
    """Leave out subsets that are 0."""
    return {key: n for key, n in usage.items() if n or key in ("input_tokens", "output_tokens")}


def _number(fields: object, *names: str) -> int:
    """Return the first field that is a positive count, or 0."""
    if isinstance(fields, dict):
        for name in names:
            value = fields.get(name)
            if type(value) is float and value.is_integer():
                value = int(value)
            if type(value) is int and value > 0:
                return value
    return 0


def _within(fields: Fields, *names: str) -> Fields:
    """Return the first field that is a mapping, or an empty one."""
    found = (value for name in names if isinstance(value := fields.get(name), dict))
    return next(found, {})


def _by_modality(details: Fields, ending: str) -> Usage:
    """Return the counts of ``text_tokens`` and so on by the keys of a ``model_response``."""
    return {f"{one}_{ending}": _number(details, f"{one}_tokens") for one in _MODALITIES}


def _chat(fields: Fields) -> Usage:
    """Read the usage of OpenAI's chat completions, and of compatible APIs."""
    read = _within(fields, "prompt_tokens_details")
    written = _within(fields, "completion_tokens_details")
    reasoning = _number(written, "reasoning_tokens") or _number(fields, "reasoning_tokens")
    asked, answered = _number(fields, "prompt_tokens"), _number(fields, "completion_tokens")
    if reasoning and _number(fields, "total_tokens") == asked + answered + reasoning:
        answered += reasoning  # xAI does not include it in the output
    return {
        "input_tokens": asked,
        "output_tokens": answered,
        "cache_read_input_tokens": _number(read, "cached_tokens")
        or _number(
            fields,
            "prompt_cache_hit_tokens",
            "cached_prompt_text_tokens",
            "cached_tokens",
            "cache_read_input_tokens",
        ),
        "cache_write_input_tokens": _number(read, "cache_write_tokens", "cache_creation_tokens")
        or _number(fields, "cache_creation_input_tokens"),
        "reasoning_output_tokens": reasoning,
        **_by_modality(read, "input_tokens"),
        **_by_modality(written, "output_tokens"),
    }


def _anthropic(fields: Fields) -> Usage:
    """Read Anthropic's usage, whose input does not include cached tokens."""
    read = _number(fields, "cache_read_input_tokens")
    kept_for = _within(fields, "cache_creation")
    long = _number(kept_for, "ephemeral_1h_input_tokens")
    written = _number(fields, "cache_creation_input_tokens") or (
        long + _number(kept_for, "ephemeral_5m_input_tokens")
    )
    return {
        "input_tokens": _number(fields, "input_tokens") + read + written,
        "output_tokens": _number(fields, "output_tokens"),
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
        "cache_write_1h_input_tokens": long,
        "reasoning_output_tokens": _number(
            _within(fields, "output_tokens_details"), "thinking_tokens"
        ),
    }


def _plain(fields: Fields) -> Usage:
    """Read the usage of OpenAI's responses and realtime APIs, and similar forms."""
    read = _within(fields, "input_tokens_details", "input_token_details")
    written = _within(fields, "output_tokens_details", "output_token_details")
    more = _within(fields, "details")
    usage = {
        "input_tokens": _number(fields, "input_tokens"),
        "output_tokens": _number(fields, "output_tokens"),
        "cache_read_input_tokens": _number(read, "cached_tokens", "cache_read")
        or _number(fields, "cache_read_tokens"),
        "cache_write_input_tokens": _number(read, "cache_write_tokens", "cache_creation")
        or _number(fields, "cache_write_tokens"),
        "reasoning_output_tokens": _number(written, "reasoning_tokens", "reasoning")
        or _number(more, "reasoning_tokens"),
        **_by_modality(read, "input_tokens"),
        **_by_modality(written, "output_tokens"),
        **_by_modality(_within(read, "cached_tokens_details"), "cache_read_input_tokens"),
    }
    for key, name in (
        ("audio_input_tokens", "input_audio_tokens"),
        ("audio_output_tokens", "output_audio_tokens"),
        ("audio_cache_read_input_tokens", "cache_audio_read_tokens"),
    ):
        usage[key] = usage[key] or _number(fields, name)
    for key, details in (("audio_input_tokens", read), ("audio_output_tokens", written)):
        usage[key] = usage[key] or _number(details, "audio")
    return usage


def _gemini(fields: Fields) -> Usage:
    """Read Gemini's usage metadata, which counts thoughts and tools' prompts separately."""
    fields = {_camel().sub(r"_\1", name).lower(): value for name, value in fields.items()}
    thoughts = _number(fields, "thoughts_token_count")
    usage = {
        "input_tokens": _number(fields, "prompt_token_count")
        + _number(fields, "tool_use_prompt_token_count"),
        "output_tokens": thoughts
        + _number(fields, "candidates_token_count", "response_token_count"),
        "cache_read_input_tokens": _number(fields, "cached_content_token_count"),
        "reasoning_output_tokens": thoughts,
    }
    for names, ending in (
        (("prompt_tokens_details", "tool_use_prompt_tokens_details"), "input_tokens"),
        (("candidates_tokens_details", "response_tokens_details"), "output_tokens"),
        (("cache_tokens_details",), "cache_read_input_tokens"),
    ):
        for name in names:
            for modality, count in _counts(fields.get(name)):
                key = f"{modality}_{ending}"
                usage[key] = usage.get(key, 0) + count
    return usage


def _counts(details: object) -> Iterable[tuple[str, int]]:
    """Yield the counts of a list of Gemini's by modality; documents count as images."""
    for one in details if isinstance(details, list) else ():
        if isinstance(one, dict):
            named = str(one.get("modality", "")).rpartition(".")[2].lower()
            modality = "image" if named == "document" else named
            if modality in _MODALITIES:
                yield modality, _number(one, "token_count", "tokenCount")


def _bedrock(fields: Fields) -> Usage:
    """Read the usage of Bedrock's Converse API, whose input does not include cached tokens."""
    read = _number(fields, "cacheReadInputTokens", "cacheReadInputTokenCount")
    written = _number(fields, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    details = fields.get("cacheDetails")
    long = sum(
        _number(one, "inputTokens")
        for one in (details if isinstance(details, list) else ())
        if isinstance(one, dict) and one.get("ttl") == "1h"
    )
    return {
        "input_tokens": _number(fields, "inputTokens") + read + written,
        "output_tokens": _number(fields, "outputTokens"),
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
        "cache_write_1h_input_tokens": long,
    }


def _cohere(fields: Fields) -> Usage:
    """Read Cohere's usage, if possible the billed units."""
    units = _within(fields, "billed_units") or _within(fields, "tokens")
    return {
        "input_tokens": _number(units, "input_tokens"),
        "output_tokens": _number(units, "output_tokens"),
        "cache_read_input_tokens": _number(fields, "cached_tokens"),
    }


def _ollama(fields: Fields) -> Usage:
    return {
        "input_tokens": _number(fields, "prompt_eval_count"),
        "output_tokens": _number(fields, "eval_count"),
    }


def _total(fields: Fields) -> Usage:
    """Read a usage that has only a total, such as that of embeddings: all of it is input."""
    return {"input_tokens": _number(fields, "total_tokens")}


# The first entry that has one of the fields is used.
_SHAPES: Final[tuple[tuple[frozenset[str], Callable[[Fields], Usage]], ...]] = (
    (frozenset({"prompt_token_count", "promptTokenCount", "candidates_token_count"}), _gemini),
    (frozenset({"prompt_tokens", "completion_tokens"}), _chat),
    (frozenset({"inputTokens", "outputTokens"}), _bedrock),
    (frozenset({"billed_units", "tokens"}), _cohere),
    (frozenset({"prompt_eval_count", "eval_count"}), _ollama),
    (
        frozenset({"cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"}),
        _anthropic,
    ),
    (frozenset({"input_tokens", "output_tokens"}), _plain),
    (frozenset({"total_tokens"}), _total),
)
