"""Counts, detector by detector, how much of the test corpus redaction finds, and what it finds wrongly.

    python scripts/measure_redaction.py

*Recall* is the share of a detector's secrets that went, with the rest of the text left as it was;
*precision* the share of its replacements that were right. The corpus was written for this project
(``tests/support/redaction_corpus.py``), so the figures say what is tested, and not what the world
holds. Secrets that are known to be missed are in it.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.redaction_corpus import GOES, MISSED, STAYS  # noqa: E402 - needs the path
from tests.support.redaction_forms import (  # noqa: E402 - as above
    FORMS_THAT_GO,
    FORMS_THAT_STAY,
    opened,
    text_of,
)
from wakelog.redaction import RedactionConfig, redact  # noqa: E402 - as above


class Noting:
    """Replaces as usual, and notes which detector asked for it."""

    def __init__(self) -> None:
        self.categories: Counter[str] = Counter()

    def transform(self, value: str, category: str) -> str:  # noqa: ARG002 - the protocol's
        """Return the usual replacement."""
        self.categories[category] += 1
        return "[REDACTED]"


def found_in(text: str) -> tuple[str, Counter[str]]:
    """Return the redacted text, and how many values each detector has replaced."""
    noting = Noting()
    redacted = redact(text, RedactionConfig(strategy=noting))
    return redacted, noting.categories


def main() -> None:
    """Count and print."""
    secrets: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for kind, text, expected in (*GOES, *MISSED):
        secrets[kind] += 1
        redacted, categories = found_in(text)
        gone[kind] += redacted == expected
        (right if redacted == expected else wrong).update(categories)
    for _, text in STAYS:
        wrong.update(found_in(text)[1])
    print(
        f"{'detector':20} {'secrets':>8} {'found':>6} {'recall':>7} {'wrong':>6} {'precision':>10}"
    )
    for kind in sorted(secrets.keys() | wrong.keys()):
        _print(kind, secrets[kind], gone[kind], right[kind], wrong[kind])
    _print("all", secrets.total(), gone.total(), right.total(), wrong.total())
    print(f"{len(GOES) + len(MISSED)} texts with secrets, {len(STAYS)} without")
    _by_form()


def _by_form() -> None:
    """Count by the form in which a secret stands, whichever detector finds it."""
    go: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    stay: Counter[str] = Counter()
    for form, marked in FORMS_THAT_GO:
        value, secrets = opened(marked)
        go[form] += 1
        left = text_of(redact(value))
        lost = not any(secret in left for secret in secrets)
        gone[form] += lost
        if "-v" in sys.argv and not lost:
            print("missed", form, ascii(value), ascii(left))
    for form, value in FORMS_THAT_STAY:
        stay[form] += 1
        changed[form] += redact(value) != value
        if "-v" in sys.argv and redact(value) != value:
            print("wrong", form, ascii(value), ascii(redact(value)))
    print(f"\n{'form':20} {'secrets':>8} {'found':>6} {'recall':>7} {'others':>7} {'wrong':>6}")
    for form in (*sorted(stay), "all"):
        if form == "all":
            for counter in (go, gone, stay, changed):
                counter["all"] = counter.total()
        recall = f"{gone[form] / go[form]:7.1%}" if go[form] else f"{'':7}"
        print(f"{form:20} {go[form]:8} {gone[form]:6} {recall} {stay[form]:7} {changed[form]:6}")


def _print(name: str, secrets: int, gone: int, right: int, wrong: int) -> None:
    recall = f"{gone / secrets:7.1%}" if secrets else f"{'':7}"
    precision = f"{right / (right + wrong):10.1%}" if right + wrong else f"{'':10}"
    print(f"{name:20} {secrets:8} {gone:6} {recall} {wrong:6} {precision}")


if __name__ == "__main__":
    main()
