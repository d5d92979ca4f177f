"""The page as a single file, which needs no server and no network."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

import orjson

from wakelog.index import Event, Index
from wakelog.page._questions import contents_of
from wakelog.page._rows import COLUMNS, living_segments, row_of
from wakelog.page._static import PAGE, SCRIPTS, STYLE, static

_IMPORT: Final = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(async )?(function|const|class|let)\b)", re.MULTILINE)
_HEAD, _BODY = "<!-- head -->", "<!-- body -->"


def offline_page(index: Index, events: Iterable[Event], title: str) -> Iterator[str]:
    """Yield the parts of an HTML file that shows events like the page.

    Args:
        index: The index of the events.
        events: The events.
        title: The title.
    """
    chosen = list(events)
    script, style = bundle(), static(STYLE)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    before, rest = static(PAGE).split(_HEAD)
    middle, after = rest.split(_BODY)
    middle = middle.partition("<!-- /head -->")[2]
    after = after.partition("<!-- /body -->")[2]
    yield before
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>'
    yield middle
    yield '<script type="application/json" id="recorded">'
    yield from _data(index, chosen, title)
    yield f"</script>\n<script>{script}</script>"
    yield after


def bundle() -> str:
    """Return the page's modules as one script."""
    modules = "\n".join(_EXPORT.sub("", _IMPORT.sub("", static(name))) for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{modules}\n}})();\n'


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _data(index: Index, events: list[Event], title: str) -> Iterator[str]:
    segments = {event.segment for event in events if event.open}
    table: dict[str, Any] = {
        "title": title,
        "columns": COLUMNS,
        "rows": [row_of(event) for event in events],
        "living": living_segments(index, segments),
    }
    yield _safe(table)[:-1] + ',"contents":{'
    comma = ""
    for key, content in contents_of(index, events):
        yield f"{comma}{_safe(key)}:{_safe(content)}"
        comma = ","
    yield "}}"


def _safe(value: object) -> str:
    """Return JSON in which no text can end the script element around it."""
    return orjson.dumps(value).decode().replace("<", "\\u003c")
