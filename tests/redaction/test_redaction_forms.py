"""Secrets go in whichever form they stand, and what only has the same form stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.redaction_forms import FORMS_THAT_GO, FORMS_THAT_STAY, opened, text_of
from wakelog.redaction import redact

# As docs/content.md says, which names them.
OUT_OF_REACH = (
    '<wsse:Password Type="x">«hunter»</wsse:Password>',
    '{"passwords": ["«hunter», «two»"]}',
    "passcode: «482193»",
    "databricks «dapi0123456789abcdef0123456789abcdef»",
)


def is_gone(marked: Any) -> bool:
    value, secrets = opened(marked)
    left = text_of(redact(value))
    return bool(secrets) and not any(secret in left for secret in secrets)


@pytest.mark.parametrize("form,marked", FORMS_THAT_GO)
def test_a_secret_goes_in_every_form_but_those_that_are_named(form: str, marked: Any) -> None:
    assert is_gone(marked) == (marked not in OUT_OF_REACH), form


@pytest.mark.parametrize("form,value", FORMS_THAT_STAY)
def test_what_has_the_form_of_a_secret_only_stays(form: str, value: Any) -> None:
    assert redact(value) == value, form


@pytest.mark.parametrize("form,marked", FORMS_THAT_GO)
def test_what_was_redacted_is_not_changed_again(form: str, marked: Any) -> None:
    once = redact(opened(marked)[0])

    assert redact(once) == once, form


def test_a_text_without_secrets_keeps_its_invisible_characters() -> None:
    text = "\u200b20\u00a0% of bob@example.com"

    assert redact(text) == text.replace("bob@example.com", "[REDACTED]")
    assert redact("\u200b20\u00a0%") == "\u200b20\u00a0%"
