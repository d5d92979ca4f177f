"""What is made to be slow is bounded, and what is not judged any more is not shown either."""

import json
import random
import re
import sys
from collections import Counter

import pytest

from tests.support.redaction_corpus import GOES, HOSTILE, MISSED, STAYS, X
from wakelog.errors import ConfigurationError
from wakelog.record import kept
from wakelog.redaction import HashStrategy, RedactionConfig, RegexDetector, prepare, redact

MARK = "ZQZ"  # in no text of the corpus, and nothing that a URL would escape


class Spans:
    """Notes what it replaces, so that the places can be told afterwards."""

    def __init__(self):
        self.values = []

    def transform(self, value, category):
        self.values.append(value)
        return MARK


def hidden(text, max_candidates):
    """Return the places of ``text`` that do not come back."""
    spans = Spans()
    kept = redact(text, RedactionConfig(strategy=spans, max_candidates=max_candidates)).split(MARK)
    assert len(kept) == len(spans.values) + 1
    places: set[int] = set()
    at = 0
    for piece, value in zip(kept, [*spans.values, ""], strict=True):
        assert text.startswith(piece, at)
        at += len(piece)
        assert text.startswith(value, at)
        places.update(range(at, at + len(value)))
        at += len(value)
    assert at == len(text)
    return places


def counted(config):
    """Have the judges of ``config`` count how often they are asked."""
    asked: Counter[str] = Counter()
    engine = config._engine

    def counting(kind, judge):
        def ask(*arguments):
            asked[kind] += 1
            return judge(*arguments)

        return ask

    for kind in list(engine.judges):  # candidates of other kinds are not judged
        engine.judges[kind] = counting(kind, engine.judges[kind])
    return asked


# --- the work is bounded -----------------------------------------------------------------------


@pytest.mark.parametrize("unit", HOSTILE, ids=[f"{n}-{u!r}" for n, u in enumerate(HOSTILE)])
@pytest.mark.parametrize("between", ["", "\n", "\n" + "x" * 300 + "\n"])
def test_a_text_has_so_many_candidates_judged_and_no_more(unit, between):
    config = RedactionConfig(max_candidates=50)
    asked = counted(config)
    text = (unit + between) * (20_000 // len(unit + between))

    redact(text, config)

    assert asked.total() <= 50


@pytest.mark.parametrize(
    "value",
    [
        ["4111 4111 "] * 3000,
        {f"k{n}": "a@b.cd x" for n in range(3000)},
        {f"u{n}@x.example": n for n in range(3000)},
        [{"a": ("key: password=x1;",)}] * 3000,
    ],
    ids=["list", "values", "keys", "nested"],
)
def test_many_short_texts_share_what_one_long_one_has(value):
    config = RedactionConfig(max_candidates=50)
    asked = counted(config)

    redact(value, config)

    assert asked.total() <= 50


def test_each_value_begins_anew():
    config = RedactionConfig(max_candidates=3)
    text = "a@b.example 4111 4111 4111 4112 "
    assert [redact(text, config) for _ in range(5)] == [text.replace("a@b.example", X)] * 5


def lines_run(call):
    """Return how many lines of Python ``call`` takes."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_many_keys_that_become_the_same_text_cost_no_more_than_others():
    def value(count):
        return {f"u{n}@x.example": n for n in range(count)}

    assert list(redact(value(3000)).values()) == list(range(3000))
    few, many = (lines_run(lambda n=n: redact(value(n))) for n in (250, 2000))
    assert many < 12 * few


# --- below the bound nothing changes ------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 5_000, 100])
def test_below_the_bound_the_result_is_the_same(limit):
    config = RedactionConfig(max_candidates=limit)
    for _, text, expected in GOES:
        assert redact(text, config) == expected
    for _, text in STAYS:
        assert redact(text, config) is text


def test_a_large_ordinary_text_is_judged_to_its_end():
    rows = [
        f"{n},Ann,Smith,ann.smith{n}@example.com,312-555-{n % 9999:04},12 Main St,{n * 0.37:.2f}\n"
        for n in range(2400)
    ]
    expected = [re.sub(r"[^,]+@[^,]+,[0-9-]+", f"{X},{X}", row) for row in rows]
    assert redact("".join(rows)) == "".join(expected)
    assert redact(rows) == expected


def test_without_a_bound_everything_is_judged():
    text = "4111 4111 4111 4112, a@b.example\n" * 9000
    got = redact(text, RedactionConfig(max_candidates=None))
    assert got == text.replace("a@b.example", X)


def test_a_bound_below_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="max_candidates is -1"):
        RedactionConfig(max_candidates=-1)


# --- beyond it more is hidden, and never less ----------------------------------------------------


def scrambled(rng):
    """Return a text of secrets, what looks like them, and line breaks in the wrong places."""
    texts = [text for _, text, _ in GOES] + [text for _, text in STAYS] + HOSTILE
    texts += [text for _, text, _ in MISSED]
    parts: list[str] = []
    for _ in range(rng.randint(1, 14)):
        part = rng.choice(texts)
        if rng.random() < 0.4:
            at = rng.randint(0, len(part))
            part = part[:at] + rng.choice(["\n", "\r\n", "\n\n", " ", "\n ", "x" * 300]) + part[at:]
        parts += (
            part,
            rng.choice(["", " ", "\n", ", ", "\r\n", "\n\n", " " * 300, "\n" + "y " * 150]),
        )
    return "".join(parts).replace("%", "")


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_what_careful_reading_hides_stays_hidden(limit):
    rng = random.Random(limit)
    for _ in range(1500):
        text = scrambled(rng)
        assert hidden(text, None) <= hidden(text, limit), repr(text)


OPEN = [
    "password:\nhunter2", "password:\n\n\nhunter2", 'api_key =>\n "abc def"', "Bearer\nabc.def.ghi",
    "Authorization: Basic \n\ndXNlcjpwYXNz", "AKIAIOSFODNN7EXAMPLE\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    'AKIAIOSFODNN7EXAMPLE,\n"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    "-----BEGIN PRIVATE KEY-----\n" + "MIIEow\n" * 200 + "-----END PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----\n" + "MIIEow\n" * 200,
    "Cookie:\n a=1b2c3d4; b=2",
]  # fmt: skip


@pytest.mark.parametrize("secret", OPEN, ids=[re.sub(r"\W+", "_", s)[:40] for s in OPEN])
@pytest.mark.parametrize("width", [0, 200, 254, 256, 280])
def test_a_secret_across_the_edge_of_a_passage_is_hidden_whole(secret, width):
    for shift in range(-8, 40):
        text = f"a@b.cd {'x' * max(0, width - shift)} {secret}\n"
        assert hidden(text, None) <= hidden(text, 0)


def test_a_passage_ends_with_a_line_and_what_follows_is_read_again():
    dense = "4111 4111 4111 4112 " * 20
    text = f"first line\nsecond {dense}\n" + "an ordinary line\n" * 20

    got = redact(text, RedactionConfig(max_candidates=0))

    assert got.startswith("first line\n")
    assert got.endswith("\nan ordinary line\n")
    assert "4111" not in got[30:]


def test_a_text_that_has_no_candidates_stays_however_much_was_judged_before():
    config = RedactionConfig(max_candidates=0)
    quiet = "nothing here that looks like anything\n" * 50
    got = redact(["4111 4111 4111 4111", quiet, "b@c.example"], config)
    assert got == [X, quiet, X]
    assert got[1] is quiet


def test_a_passage_is_a_category_of_its_own():
    told = []

    class Spy:
        def transform(self, value, category):
            told.append((value, category))
            return "*"

    assert redact("to a@b.example, now", RedactionConfig(strategy=Spy(), max_candidates=0)) == "*"
    assert told == [("to a@b.example, now", "passage")]
    got = redact("a@b.example", RedactionConfig(strategy=HashStrategy(), max_candidates=0))
    assert re.fullmatch(r"\[HASH:passage:[0-9a-f]{16}\]", got)


def test_the_callers_own_detectors_run_all_the_same():
    detector = RegexDetector("order", re.compile(r"ORD-\d+"))
    config = RedactionConfig(detectors=(detector,), max_candidates=0)
    assert redact(["a@b.example", "for ORD-17\n" * 3], config) == [X, f"for {X}\n" * 3]


def test_a_key_whose_prefix_has_gone_with_something_else_is_no_error():
    secret = f"{'a' * 37}/hf"
    text = f"AKIAIOSFODNN7EXAMPLE,{secret}_a1B2c3D4e5F6g7H8i9J0"
    assert redact(text) == X + X


def test_everything_hidden_is_still_valid_for_json():
    value = {str(n): [text, {text: 1}] for n, text in enumerate(HOSTILE)}
    got = redact(value, RedactionConfig(max_candidates=0))
    assert json.loads(json.dumps(got)) == got


# --- The copy of an event's values ------------------------------------------------------------------


class Unhashable(type):
    """The type of a class that cannot be looked up in a set."""

    def __hash__(cls):
        raise ValueError


class Refusing(metaclass=Unhashable):
    """An object of such a class."""


LEAVES = [
    *HOSTILE[:20], *STAYS[:20], "search", "a" * 80, "", 3, 2.5, True, None, 10**30, b"bytes", ("token", "abc"),
    ["--password", "hunter22"], [1, 2], {1}, Refusing(), {3: "three"}, {"n": {"n": {"n": {"n": {"n": "ann@x.org"}}}}},
]  # fmt: skip
NAMES = ["query", "limit", "api_key", "tokens", "password", "name", "value", "content", "key", "ann@example.com", "x" * 70]  # fmt: skip


def drawn(chance, depth=0):
    if depth == 4 or chance.random() < 0.5:
        return chance.choice(LEAVES)
    names = chance.sample(NAMES, chance.randint(0, 4))
    value = {name: drawn(chance, depth + 1) for name in names}
    return {**value, **{str(n): n for n in range(40)}} if chance.random() < 0.05 else value


@pytest.mark.parametrize(
    "config",
    [
        RedactionConfig(),
        RedactionConfig(max_candidates=2),
        RedactionConfig(strategy=HashStrategy(salt=b"s" * 16)),
        RedactionConfig(detectors=(RegexDetector("limit", re.compile("limit")),)),
    ],
    ids=["usual", "few", "hash", "detector"],
)
def test_a_copy_of_an_event_is_redacted_as_the_event_is(config):
    copied, chance = prepare(config), random.Random(15)
    for _ in range(500):
        value = drawn(chance)
        before = repr(value)
        got = copied(value)
        assert repr(got) == repr(redact(kept(value), config)), value
        assert repr(value) == before


def test_a_change_of_the_original_does_not_change_the_copy():
    inner = {"limit": 3}
    value = {"query": "flights", "args": inner}
    prepare()(value)
    got = prepare()(value)
    inner["limit"], value["query"] = 4, "trains"
    assert got == {"query": "flights", "args": {"limit": 3}}
