"""Everything recorded of an event, as blocks for a page: texts, messages, JSON and images."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from wakelog.record import TAG, to_line
from wakelog.viewer._content import LABELS

_MOST_IMAGES: Final = 8
_LARGEST_IMAGE: Final = 8 << 20
_SMALLEST_IMAGE: Final = 32
# Image formats that browsers draw without running code, by the beginning of their data in base64.
_PICTURES: Final = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
_MEDIA: Final = frozenset(_PICTURES.values())
_DATA_URL: Final = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_INDENT: Final = orjson.OPT_INDENT_2
_THINKING: Final = frozenset({"reasoning", "thinking"})
_ANSWERS: Final = frozenset({"tool_call_response", "tool_result"})
_CALLS: Final = frozenset({"tool_call", "tool_use", "server_tool_call"})
_NOT_SHOWN_HERE: Final = "(shown as an image)"

Block = dict[str, Any]


def blocks_of(attributes: Mapping[str, Any], body: object, longest: int | None) -> list[Block]:
    """Return everything recorded of an event, as blocks of plain data.

    A block has ``label`` and ``kind``. The kinds ``text`` and ``json`` have ``text``; ``messages``
    has ``messages``, each with ``role`` and ``parts``, which are blocks, too; ``image`` has
    ``media`` and ``data`` in base64; ``pairs`` has ``pairs`` of names and values as text. A text
    that is cut has ``more``, the number of missing characters.

    Args:
        attributes: The record's attributes.
        body: The record's body.
        longest: The maximum length of each text; None for no limit.
    """
    making = _Making(longest)
    blocks = [
        block
        for name, label in LABELS.items()
        if name in attributes
        for block in making.blocks(label, attributes[name])
    ]
    if body is not None:
        blocks += making.blocks("body", body)
    rest = [
        [str(name), making.short(value)] for name, value in attributes.items() if name not in LABELS
    ]
    if rest:
        blocks.append({"label": "attributes", "kind": "pairs", "pairs": rest})
    return blocks


class _Making:
    """Creates the blocks of one event, with a limited number of images."""

    def __init__(self, longest: int | None) -> None:
        self._longest = longest
        self._images = 0

    def blocks(self, label: str, value: object) -> Iterator[Block]:
        """Yield the blocks of one value."""
        messages = self._messages(value)
        if messages is not None:
            yield {"label": label, "kind": "messages", "messages": messages}
            return
        images: list[Block] = []
        form = self._without_images(to_line(value), images)
        if isinstance(form, str):
            if form != _NOT_SHOWN_HERE:
                yield {"label": label, **self._cut("text", form)}
        else:
            yield {"label": label, **self._cut("json", _json(form))}
        yield from ({"label": label, **image} for image in images)

    def short(self, value: object) -> str:
        """Return the value of an attribute as text."""
        text = value if isinstance(value, str) else orjson.dumps(to_line(value)).decode()
        return str(self._cut("text", text)["text"])

    def _cut(self, kind: str, text: str) -> Block:
        # A lone surrogate cannot be encoded as JSON.
        text = text.encode("utf-8", "replace").decode()
        if self._longest is None or len(text) <= self._longest:
            return {"kind": kind, "text": text}
        return {"kind": kind, "text": text[: self._longest], "more": len(text) - self._longest}

    def _messages(self, value: object) -> list[dict[str, Any]] | None:
        """Return messages of the semantic conventions' form; None for another value."""
        if not isinstance(value, list) or not value:
            return None
        found = []
        for item in value:
            if not isinstance(item, dict):
                return None
            said = item.get("parts", item.get("content"))
            alone = "parts" not in item and "role" not in item
            given = [item] if alone else [said] if isinstance(said, str) else said
            if not isinstance(given, list) or (alone and not isinstance(item.get("type"), str)):
                return None
            parts = [block for part in given for block in self._part(part)]
            role = item.get("role")
            found.append({"role": role if isinstance(role, str) else None, "parts": parts})
        return found

    def _part(self, part: object) -> Iterator[Block]:
        if isinstance(part, str):
            yield self._cut("text", part)
            return
        if not isinstance(part, dict):
            yield self._cut("json", _json(to_line(part)))
            return
        kind, content = part.get("type", "text"), part.get("content", part.get("text"))
        thought = part.get("thinking", content)
        if kind in _THINKING and isinstance(thought, str):
            yield {**self._cut("text", thought), "kind": "reasoning"}
        elif kind == "text" and isinstance(content, str):
            yield self._cut("text", content)
        elif kind in _CALLS:
            given = part.get("arguments", part.get("input"))
            yield {**self._value(given), "kind": "call", "name": str(part.get("name", ""))}
        elif kind in _ANSWERS:
            given = part.get("response", part.get("result", content))
            yield {**self._value(given), "kind": "answer"}
        else:
            images: list[Block] = []
            form = self._without_images(to_line(part), images)
            yield from images or [self._cut("json", _json(form))]

    def _value(self, value: object) -> Block:
        if isinstance(value, str):
            return self._cut("text", value)
        return self._cut("json", _json(to_line(value)))

    def _without_images(self, form: Any, images: list[Block]) -> Any:
        """Return a value's encoded form with a note for each image, and collect the images."""
        if isinstance(form, str):
            image = self._image_in(form, None)
            if image is not None:
                images.append(image)
                return _NOT_SHOWN_HERE
            return form
        if isinstance(form, list):
            return [self._without_images(one, images) for one in form]
        if isinstance(form, dict):
            media = form.get("mime_type") or form.get("media_type")
            if form.get(TAG) == "bytes":
                media = None
            return {name: self._one_without(name, one, media, images) for name, one in form.items()}
        return form

    def _one_without(self, name: str, value: Any, media: object, images: list[Block]) -> Any:
        known = media if media in _MEDIA and name in ("content", "data") else None
        if known is not None and isinstance(value, str):
            image = self._image_in(value, str(known))
            if image is not None:
                images.append(image)
                return _NOT_SHOWN_HERE
        return self._without_images(value, images)

    def _image_in(self, text: str, media: str | None) -> Block | None:
        if len(text) < _SMALLEST_IMAGE or self._images >= _MOST_IMAGES:
            return None
        if (url := _DATA_URL.match(text)) is not None:
            media, text = url[1], text[url.end() :]
        elif media is None:
            media = next((m for head, m in _PICTURES.items() if text.startswith(head)), None)
        if media is None or len(text) > _LARGEST_IMAGE or not _BASE64.fullmatch(text):
            return None
        try:
            data = b64encode(b64decode(text)).decode()
        except ValueError:
            return None
        self._images += 1
        return {"kind": "image", "media": media, "data": data}


def _json(form: object) -> str:
    try:
        return orjson.dumps(form, option=_INDENT).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(form)
