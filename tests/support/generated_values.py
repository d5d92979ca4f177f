"""Values that a search for slow ones tries: recipes by chance, which can be made at any size."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import types
from dataclasses import dataclass
from typing import Any, NamedTuple

UNITS = (
    "a", " ", "\n", "\\", '"', "'", "{", "[", ":", "=", ";", ",", "|", ">", "-", "/", "@", ".", "%", "&", "?",
    "password", "token=", "Bearer ", "https://u:p@h/", "-----BEGIN ", "AKIA", "eyJ", "api_key", "secret:",
    "4111 1111", "ann@example.com", "\u200b", "\u00a0", "\u00ad", "\ud800", "\u00e9", "\U0001f600", "\x00", "0",
    '\\"', "%3A", "<password>", "--password ", "| token |", "name", "value", "_", "=" * 20, "9",
)  # fmt: skip
SHAPES = (
    "text", "texts", "keys", "maps", "lists", "deep", "shared", "bytes", "tuples", "sets", "named", "pairs",
    "json", "dates", "proxies",
)  # fmt: skip


class Named(NamedTuple):
    """A pair with names."""

    name: str
    value: str


@dataclass(frozen=True)
class Recipe:
    """How a value is made: a shape, what its texts repeat, how long each is, and how wide it is."""

    shape: str
    units: tuple[str, ...]
    length: int
    width: int

    @classmethod
    def by(cls, chance: random.Random) -> Recipe:
        units = tuple(chance.choice(UNITS) for _ in range(chance.randint(1, 4)))
        length = chance.choice((1, 3, 10, 40, 100, 300, 1_000, 5_000))
        return cls(chance.choice(SHAPES), units, length, chance.choice((1, 2, 5, 20, 200, 2_000)))

    def text(self, length: int, number: int = 0) -> str:
        unit = "".join(self.units)
        return ((unit * (length // len(unit) + 1))[:length]) + (str(number) if number else "")


def made(recipe: Recipe, size: int) -> tuple[Any, int]:
    """Return a value of about so many bytes, or of a million nodes at most, and its size."""
    each = recipe.length + 8
    count = max(1, min(size // each, 1_000_000))
    one = recipe.text(recipe.length)
    match recipe.shape:
        case "text":
            value: Any = recipe.text(size)
            return value, size
        case "bytes":
            return recipe.text(size).encode("utf-8", "surrogatepass"), size
        case "texts":
            value = [recipe.text(recipe.length, number) for number in range(count)]
        case "keys":
            value = {recipe.text(recipe.length, number): number for number in range(count)}
        case "maps":
            value = [{one: number, "name": one, "value": one} for number in range(count // 3 + 1)]
        case "lists":
            value = [[one] * recipe.width for _ in range(count // recipe.width + 1)]
        case "deep":
            value = [nested(one, 90) for _ in range(count // 90 + 1)]
        case "shared":
            value = one
            for _ in range(4):
                value = [value] * recipe.width
        case "tuples":
            value = [(one, number) for number in range(count // 2 + 1)]
        case "sets":
            value = [{recipe.text(recipe.length, number) for number in range(count)}]
        case "named":
            value = [Named(one, one) for _ in range(count // 2 + 1)]
        case "pairs":
            value = [one, *["-" + recipe.units[0], one] * (count // 2)]
        case "json":
            value = '{"a":' * 20 + '"' + recipe.text(size) + '"' + "}" * 20
        case "dates":
            value = [dt.date(2026, 1, 1), decimal.Decimal("1.5")] * (count // 2)
        case _:
            value = [types.MappingProxyType({one: number}) for number in range(count // 2 + 1)]
    return value, size


def nested(one: str, depth: int) -> Any:
    value: Any = one
    for level in range(depth):
        value = [value] if level % 2 else {one: value}
    return value
