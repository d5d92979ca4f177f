"""``UsageLimitBreach``: which budget was exceeded, and by how much."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from wakelog.errors import ConfigurationError


class UsageAxis(enum.StrEnum):
    """What a usage limit counts."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOTAL_TOKENS = "total_tokens"
    TOOL_CALLS = "tool_calls"
    COST_USD = "cost_usd"


@dataclass(frozen=True, slots=True)
class UsageLimitBreach:
    """A budget that was exceeded. ``str()`` describes it in words.

    Args:
        axis: What was counted: a ``UsageAxis`` or its value as text.
        limit: The maximum: a ``Decimal`` of US dollars for ``cost_usd``, else an int.
        observed: The value that was reached, in the same unit.

    Raises:
        ConfigurationError: If the axis does not exist, or a number has the wrong type. Money must
            be ``Decimal``, not ``float``.
    """

    axis: UsageAxis
    limit: int | Decimal
    observed: int | Decimal

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "axis", UsageAxis(self.axis))
        except ValueError:
            known = ", ".join(UsageAxis)
            message = f"axis={self.axis!r} is not an axis of a usage limit: use one of {known}"
            raise ConfigurationError(message) from None
        wanted = Decimal if self.axis is UsageAxis.COST_USD else int
        for name in ("limit", "observed"):
            value = getattr(self, name)
            if not isinstance(value, wanted) or isinstance(value, bool):
                message = f"{name}={value!r}: a limit on {self.axis} is a {wanted.__name__}"
                raise ConfigurationError(message)

    def __str__(self) -> str:
        """Describe the breach in words."""
        if self.axis is UsageAxis.COST_USD:
            return f"cost: {self.observed} USD spent, {self.limit} USD allowed"
        return f"{self.axis.replace('_', ' ')}: {self.observed} used, {self.limit} allowed"

    def payload(self) -> dict[str, Any]:
        """Return the payload of ``usage_limit_exceeded``, with money as text to keep it exact."""
        limit, observed = self.limit, self.observed
        if self.axis is UsageAxis.COST_USD:
            return {"kind": self.axis.value, "limit": str(limit), "observed": str(observed)}
        return {"kind": self.axis.value, "limit": limit, "observed": observed}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Return the breach of which ``payload`` returned this.

        Raises:
            ConfigurationError: If the payload is not of this form.
        """
        number = Decimal if payload.get("kind") == UsageAxis.COST_USD else int
        try:
            values = number(payload["limit"]), number(payload["observed"])
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ConfigurationError(f"{dict(payload)!r} is not a usage limit breach") from error
        return cls(payload.get("kind"), *values)  # type: ignore[arg-type] # checked there
