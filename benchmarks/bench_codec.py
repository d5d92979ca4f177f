"""Which JSON codec writes and reads our line faster: orjson or msgspec.

    python benchmarks/bench_codec.py

Prints nanoseconds per call, the median of seven rounds, for a line of an ordinary event and for one
with 50 kB of content. msgspec also turns bytes into text and NaN into null without a word, orjson
only the latter; that weighs more here than speed does.
"""

from __future__ import annotations

import statistics
import timeit
from typing import Any

import msgspec
import orjson

ORDINARY: dict[str, Any] = {
    "timestamp": "2026-11-21T02:37:11.123456789Z",
    "event_name": "wakelog.tool_call",
    "severity_number": 9,
    "severity_text": "INFO",
    "attributes": {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.conversation.id": "s-1",
        "gen_ai.tool.call.arguments": {"q": "flights to Lisbon", "limit": 3, "price": 12.5},
        "wakelog.run.id": "01a1fc74-cf13-7f51-9dc4-fd6f11066fc1",
    },
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "span_id": "b7ad6b7169203331",
    "trace_flags": 1,
}
LARGE = {**ORDINARY, "body": "Two seats to Lisbon, by the window, \n" * 1300}
ROUNDS = 7


def nanoseconds(statement: Any, calls: int) -> float:
    """Return the median over the rounds of what one call takes."""
    rounds = timeit.repeat(statement, number=calls, repeat=ROUNDS)
    return statistics.median(rounds) / calls * 1e9


def main() -> None:
    """Measure and print."""
    encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder()
    print(f"{'line':10} {'bytes':>7} {'codec':8} {'encode ns':>10} {'decode ns':>10}")
    for name, fields, calls in (("ordinary", ORDINARY, 50_000), ("large", LARGE, 2_000)):
        line = orjson.dumps(fields)
        for codec, encode, decode in (
            ("orjson", orjson.dumps, orjson.loads),
            ("msgspec", encoder.encode, decoder.decode),
        ):
            encoding = nanoseconds(lambda encode=encode, fields=fields: encode(fields), calls)
            decoding = nanoseconds(lambda decode=decode, line=line: decode(line), calls)
            print(f"{name:10} {len(line):7} {codec:8} {encoding:10.0f} {decoding:10.0f}")


if __name__ == "__main__":
    main()
