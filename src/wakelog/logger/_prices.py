"""The costs of model calls, by the price list of ``genai-prices``, without network access."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from wakelog.errors import ConfigurationError

_log = logging.getLogger("wakelog")

# OpenTelemetry's names of providers, and those of the list.
_PROVIDERS: Final[Mapping[str, str]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "aws.bedrock": "aws",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "cohere": "cohere",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "deepseek": "deepseek",
    "groq": "groq",
    "perplexity": "perplexity",
    "moonshot_ai": "moonshotai",
}
# Wakelog's counts, and those of the list. Both are inclusive: subsets are parts of their totals.
_COUNTS: Final[Mapping[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "cache_write_1h_input_tokens": "cache_write_1h_tokens",
    "reasoning_output_tokens": "output_reasoning_tokens",
    "text_input_tokens": "input_text_tokens",
    "image_input_tokens": "input_image_tokens",
    "audio_input_tokens": "input_audio_tokens",
    "text_output_tokens": "output_text_tokens",
    "image_output_tokens": "output_image_tokens",
    "audio_output_tokens": "output_audio_tokens",
    "text_cache_read_input_tokens": "cache_text_read_tokens",
    "image_cache_read_input_tokens": "cache_image_read_tokens",
    "audio_cache_read_input_tokens": "cache_audio_read_tokens",
}
_MOST_NAMES = 100


class Prices:
    """The installed price list; loading it takes a second or two.

    Attributes:
        name: The name and version of the list, as recorded.
        unpriced: Number of calls without a price, by provider and model.

    Raises:
        ConfigurationError: If ``genai-prices`` is not installed.
    """

    def __init__(self) -> None:
        from importlib.metadata import version

        try:
            import genai_prices
            from genai_prices.data_snapshot import get_snapshot
        except ImportError as error:
            message = (
                "costs=True needs the price list of genai-prices: pip install 'wakelog[prices]'"
            )
            raise ConfigurationError(message) from error
        get_snapshot()  # loads the list now, not during the first model call
        self._list = genai_prices
        self.name = f"genai-prices {version('genai-prices')}"
        self.unpriced: Counter[tuple[str | None, str]] = Counter()

    def cost_of(
        self,
        usage: Mapping[str, Any],
        model: str,
        provider: str | None,
        at: datetime | None = None,
        *,
        otherwise: str | None = None,
    ) -> Decimal | None:
        """Return the cost of a call, in US dollars.

        Args:
            usage: Its counts, by the keys of a ``model_response``.
            model: The model that responded.
            provider: Its provider, by OpenTelemetry's names or those of the list.
            at: The time of the request, with a time zone; now by default.
            otherwise: The requested model, for when the list does not have the one that responded.

        Returns:
            The cost, by the provider's list price at that time. None if it is not known: without a
            provider, for a model that the list does not have, and for counts that contradict each
            other. An unknown cost is logged once for each model, and never counts as 0.
        """
        counts = {
            name: number for key, name in _COUNTS.items() if type(number := usage.get(key)) is int
        }
        if not counts:
            return None
        # If the provider does not report the modality of cached tokens, they count as text.
        for way in ("read", "write"):
            for one in ("audio", "image"):
                if f"cache_{way}_tokens" in counts and f"input_{one}_tokens" in counts:
                    counts.setdefault(f"cache_{one}_{way}_tokens", 0)
        known = _PROVIDERS.get(provider or "", provider)
        if not known:
            self._note(provider, model, "no provider is named")
            return None
        reason = ""
        for name in dict.fromkeys((model, otherwise)):
            if name is None:
                continue
            try:
                price = self._list.calc_price(
                    self._list.Usage(**counts),
                    name,
                    provider_id=known,
                    genai_request_timestamp=at or datetime.now(UTC),
                )
            except (LookupError, ValueError) as error:
                reason = reason or str(error)
            else:
                return price.total_price
        self._note(provider, model, reason)
        return None

    def _note(self, provider: str | None, model: str, reason: str) -> None:
        key = (provider, model)
        if key not in self.unpriced and len(self.unpriced) >= _MOST_NAMES:
            key = (None, "others")
        self.unpriced[key] += 1
        if self.unpriced[key] == 1:
            _log.warning(
                "the costs of %s from %s are not known and are left out: %s",
                model,
                provider or "an unnamed provider",
                reason,
            )


_loaded: Prices | None = None


def prices() -> Prices:
    """Return the price list, which is loaded once in a process.

    Raises:
        ConfigurationError: If ``genai-prices`` is not installed.
    """
    global _loaded  # noqa: PLW0603 - loaded at the first call
    if _loaded is None:
        _loaded = Prices()
    return _loaded


def add_cost(
    payload: dict[str, Any], model: str | None, provider: str | None, priced: Prices | None
) -> None:
    """Add the cost of the call to the payload of a ``model_response``, if there is a price list.

    Args:
        payload: The payload with its counts; a ``cost_usd`` of the caller is not changed.
        model: The requested model.
        provider: Its provider.
        priced: The price list.
    """
    if priced is None or "cost_usd" in payload:
        return
    answered = payload.get("response_model") or model
    if answered is None:
        return
    cost = priced.cost_of(payload, str(answered), provider, otherwise=model)
    if cost is not None:
        payload["cost_usd"], payload["price_list"] = float(cost), priced.name
