"""Values that are too large for their line, and the references that stand on it in their place.

A value that has left its line is a *blob*. On the line stands a tagged form::

    {
        "$wakelog": "blob",
        "sha256": "<hex>",
        "bytes": 9000000,
        "media": "text/plain",
        "preview": "...",
    }

The unit is the body or one top-level attribute. Where an event has so many attributes that moving
the largest is not enough, the others leave together, as the field ``more_attributes`` of the line.

What leaves so that it can be erased is the field ``apart``, which begins with a salt. It goes to one file
with that of other lines, unless it is large, and ``apart_at`` says where it begins there.
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from wakelog.record._values import TAG
from wakelog.runtime import ForkOrder, notice_fork, reset_in_child

BLOB = "blob"
TEXT, BYTES, JSON = "text/plain", "application/octet-stream", "application/json"
MORE_ATTRIBUTES = "more_attributes"
APART, APART_AT = "apart", "apart_at"
"""The field with the reference to what was set apart, so that it can be erased; and where that begins."""
APART_FIELD = b',"apart":{'
"""What every line with such a reference contains."""
APART_REFERENCE = APART_FIELD + b'"$wakelog":"blob","sha256":"'
"""How such a reference begins, up to its digest."""
MARK = b'"$wakelog":"blob"'
"""What every line with a reference contains; a line may also contain it for another reason."""

GetBlob = Callable[..., "bytes | None"]
"""Returns the bytes of a blob by its digest and size, None when they are missing or damaged.

For a value that stands in one file with others, the third argument is where it begins there.
"""

# A smaller value is hardly larger than the reference to it.
_SMALLEST = 1024
_MOST_BLOBS = 64
_PREVIEW = 256
_UNITS = ("body", "event")
_SALT_BYTES = 16
_SALT_SIZE = 2 * _SALT_BYTES  # in hexadecimal
_SALTS = 256
# A larger value has a file of its own, and is not written under the writer's lock.
_LARGEST_APART = 64 * 1024
_LARGEST_SHOWN = 10


class Blob(NamedTuple):
    """The bytes of a value that stands beside its line, and their SHA-256 in hexadecimal.

    Attributes:
        unique: Whether they begin with a salt, so that no other value has the same.
    """

    sha256: str
    data: bytes
    unique: bool = False


class Content(bytes):
    """The middle part of a line, some values of which stand beside it.

    Attributes:
        blobs: These values. They have to be written before the line.
        apart: What goes to one file with that of other lines, before this line, too; empty without any. Then
            the line ends with ``placed`` of where it begins there.
    """

    blobs: tuple[Blob, ...] = ()
    apart: bytes = b""


def content_with(
    text: bytes, blobs: tuple[Blob, ...], apart: bytes = b"", digest: str = ""
) -> bytes:
    """Return the middle part of a line with what stands beside it, if anything does.

    Args:
        text: The middle part.
        blobs: The values that have left it.
        apart: What was set apart of it, as ``apart_of`` returns it; empty for nothing.
        digest: The SHA-256 of that, in hexadecimal.
    """
    if not apart and not blobs:
        return text
    content = Content(text)
    if len(apart) > _LARGEST_APART:
        blobs = (Blob(digest, apart, unique=True), *blobs)
    elif apart:
        content.apart = apart
    if blobs:
        content.blobs = blobs
    return content


def placed(content: bytes, offset: int) -> bytes:
    """Return the middle part of a line with the place of what was set apart of it."""
    return content + b',"apart_at":%d' % offset


def blobs_of(content: bytes) -> tuple[Blob, ...]:
    """Return what has to be written before a line: nothing, for most."""
    return content.blobs if type(content) is Content else ()


def size_beside(content: bytes) -> int:
    """Return the number of bytes that stand beside a line."""
    if type(content) is not Content:
        return 0
    return sum((len(blob.data) for blob in content.blobs), len(content.apart))


class _Unit(NamedTuple):
    """One value that may leave the line: its place, its form there, and its size as JSON."""

    field: str
    name: str
    form: object
    size: int


def part(
    line: dict[str, Any], max_bytes: int, staying: frozenset[str]
) -> tuple[dict[str, Any], tuple[Blob, ...]]:
    """Move the largest values out of a line until the rest fits.

    Args:
        line: The fields of the line, in their form there. It is changed.
        max_bytes: The most bytes that the rest should have as JSON. It has more when names and
            ids, which never leave, are longer than that.
        staying: The attributes that never leave.

    Returns:
        The fields, and what has left them.
    """
    attributes = attributes_on(line)
    line.update({"attributes": attributes} if attributes else {})
    units = [_unit(name, "", line[name]) for name in _UNITS if name in line]
    units += [
        _unit("attributes", name, form) for name, form in attributes.items() if name not in staying
    ]
    size = len(orjson.dumps(line))
    longest = min(_PREVIEW, max(0, max_bytes) // 8)
    blobs: list[Blob] = []
    units.sort(key=lambda unit: -unit.size)
    for unit in units[:_MOST_BLOBS]:
        if size <= max_bytes or unit.size < _SMALLEST:
            break
        blob, reference = _moved(unit.form, longest)
        blobs.append(blob)
        size += len(orjson.dumps(reference)) - unit.size
        if unit.field == "attributes":
            attributes[unit.name] = reference
        else:
            line[unit.field] = reference
    if size > max_bytes:
        blobs += _move_the_rest(line, staying, longest)
    if TAG in line.get("attributes", ()):
        line["attributes"] = {TAG: "map", "value": line["attributes"]}
    return line, tuple(blobs)


def set_apart(line: dict[str, Any], names: frozenset[str]) -> tuple[dict[str, Any], bytes, str]:
    """Move the body and some attributes out of a line, whatever their size, to where they can be erased.

    Args:
        line: The fields of the line, in their form there. It is changed.
        names: The attributes.

    Returns:
        The fields, what has left them, which is nothing where there is neither, and the SHA-256 of that.
    """
    attributes = attributes_on(line)
    rest = {name: form for name, form in attributes.items() if name not in names}
    units = {name: line.pop(name) for name in _UNITS if name in line}
    if len(rest) == len(attributes) and not units:
        return line, b"", ""
    moved = {name: form for name, form in attributes.items() if name in names}
    if rest:
        line["attributes"] = {TAG: "map", "value": rest} if TAG in rest else rest
    else:
        line.pop("attributes", None)
    data, digest, reference = apart_of(orjson.dumps({"attributes": moved, **units}))
    line[APART] = orjson.Fragment(reference)
    return line, data, digest


def apart_of(text: bytes) -> tuple[bytes, str, bytes]:
    """Return what is set apart of a line, its SHA-256, and the reference to it, encoded.

    It stands behind a random salt: what the line then has is a digest from which nobody can guess what was
    there, and no preview. It ends with a newline, so that a file of such values has one on each line.

    Args:
        text: The attributes and the body, encoded.
    """
    notice_fork()
    try:
        salt = _salts.pop()
    except IndexError:
        salt = _make_salts()
    data = salt + text + b"\n"
    digest = sha256(data).hexdigest()
    return data, digest, _REFERENCE % (digest.encode(), len(data))


_REFERENCE = (
    b'{"$wakelog":"blob","sha256":"%%b","bytes":%%d,"media":"application/json","preview":"","salt":%d}'
    % _SALT_SIZE
)
# Salts that nobody has used yet: many at once take a tenth of the time.
_salts: list[bytes] = []
_EACH_SALT = [slice(at * _SALT_SIZE, (at + 1) * _SALT_SIZE) for at in range(_SALTS)]


def _make_salts() -> bytes:
    """Make salts, and return one that nobody else gets."""
    text = os.urandom(_SALTS * _SALT_BYTES).hex().encode()
    first, *others = map(text.__getitem__, _EACH_SALT)
    _salts.extend(others)
    return first


# A forked child would otherwise use those that its parent uses.
reset_in_child(_salts.clear, ForkOrder.IDENTITY)


def _unit(field: str, name: str, form: object) -> _Unit:
    return _Unit(field, name, form, len(orjson.dumps(form)))


def attributes_on(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a line, each in its form there."""
    attributes = line.get("attributes") or {}
    # An attribute by the name of the tag makes the whole a tagged map.
    return attributes["value"] if attributes.get(TAG) == "map" else attributes


def _move_the_rest(line: dict[str, Any], staying: frozenset[str], longest: int) -> list[Blob]:
    """Move together all attributes that may leave and have not left by themselves."""
    attributes = line.get("attributes", {})
    rest = {
        name: form
        for name, form in attributes.items()
        if name not in staying and not is_reference(form)
    }
    if not rest:
        return []
    line["attributes"] = {name: form for name, form in attributes.items() if name not in rest}
    # Not a form: an attribute by the name of the tag would make it one.
    blob, line[MORE_ATTRIBUTES] = _as_json(rest, longest)
    return [blob]


def _moved(form: object, longest: int) -> tuple[Blob, dict[str, object]]:
    """Return a value as a blob, and the reference to it."""
    if isinstance(form, str):
        return _put_beside(form.encode(), TEXT, form[:longest])
    if isinstance(form, dict) and form.get(TAG) == "bytes":
        return _put_beside(b64decode(form["value"]), BYTES, "")
    return _as_json(form, longest)


def _as_json(form: object, longest: int) -> tuple[Blob, dict[str, object]]:
    data = orjson.dumps(form)
    return _put_beside(data, JSON, data[:longest].decode(errors="ignore"))


def _put_beside(data: bytes, media: str, preview: str) -> tuple[Blob, dict[str, object]]:
    digest = sha256(data).hexdigest()
    reference: dict[str, object] = {
        TAG: BLOB,
        "sha256": digest,
        "bytes": len(data),
        "media": media,
        "preview": preview,
    }
    return Blob(digest, data), reference


def is_reference(form: object) -> bool:
    """Return whether a form on a line is a reference to a blob."""
    return type(form) is dict and form.get(TAG) == BLOB


def references(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the references on a line that the JSON codec has read."""
    forms = [*attributes_on(line).values()]
    forms += [line.get(name) for name in (*_UNITS, MORE_ATTRIBUTES)]
    forms.append(_reference_apart(line.get(APART), line.get(APART_AT)))
    return [form for form in forms if is_reference(form)]


def _reference_apart(form: Any, offset: Any) -> Any:
    """Return the reference to what was set apart, with its place where it stands with others."""
    return {**form, "at": offset} if type(offset) is int and is_reference(form) else form


def value_of(reference: dict[str, Any], get: GetBlob) -> bytes | None:
    """Return the bytes that a reference on a line stands for, None when they are missing or damaged."""
    digest, size, offset = reference.get("sha256"), reference.get("bytes"), reference.get("at")
    if not isinstance(digest, str) or not isinstance(size, int):
        return None
    return get(digest, size) if offset is None else get(digest, size, offset)


def resolve(line: dict[str, Any], get: GetBlob | None, count: int = sys.maxsize) -> None:
    """Put the values of blobs in the place of the references to them, in a line that was read.

    A value that cannot be had is its preview and a note that says what is missing.

    Args:
        line: The line, as the JSON codec read it. It is changed.
        get: Returns blobs; None when there are none to be had.
        count: The most references that there are.
    """
    attributes = attributes_on(line)
    if count > 1 or APART not in line:
        for name in _UNITS:
            if is_reference(line.get(name)):
                line[name] = _value_of(line[name], get)
        for name, form in attributes.items():
            if is_reference(form):
                attributes[name] = _value_of(form, get)
    if APART in line:
        apart = _reference_apart(line.pop(APART), line.pop(APART_AT, None))
        if is_reference(apart):
            units = _value_of(apart, get)
            units = units if isinstance(units, dict) else {"attributes": {APART: units}}
            attributes.update(units.pop("attributes", {}))
            line.update(units)
    more = line.pop(MORE_ATTRIBUTES, None)
    if is_reference(more):
        rest = _value_of(more, get)
        attributes.update(rest if isinstance(rest, dict) else {MORE_ATTRIBUTES: rest})
    if attributes:
        tagged = TAG in attributes
        line["attributes"] = {TAG: "map", "value": attributes} if tagged else attributes


def _value_of(reference: dict[str, Any], get: GetBlob | None) -> Any:
    """Return the form on a line of a value that has left it."""
    digest, size, media = reference.get("sha256"), reference.get("bytes"), reference.get("media")
    if get is not None:
        data = value_of(reference, get)
        if data is not None:
            data = data[int(reference.get("salt", 0)) :]
        try:
            if data is not None and media == TEXT:
                return data.decode()
            if data is not None and media == BYTES:
                return {TAG: "bytes", "value": data}
            if data is not None:
                return orjson.loads(data)
        except ValueError:
            pass  # what is there is not what was written
    return f"{reference.get('preview', '')}[wakelog: {size} bytes of {media} are not here, sha256 {digest}]"


def stub(line: dict[str, Any], size: int, staying: frozenset[str]) -> dict[str, Any]:
    """Return what is recorded of an event that is too large to be recorded.

    Args:
        line: The fields of its line, in their form there.
        size: Its size as JSON, in bytes.
        staying: The attributes that stay.

    Returns:
        The fields without body and other attributes; ``wakelog.too_large.bytes``, ``.sha256`` and
        ``.sizes`` among the attributes say what was there.
    """
    digest = sha256()
    sizes: dict[str, int] = {}
    kept: dict[str, Any] = {}
    units = {name: line[name] for name in _UNITS if name in line}
    for name, form in (*units.items(), *attributes_on(line).items()):
        text = orjson.dumps(form)
        if name in staying and len(text) < _SMALLEST:
            kept[name] = form
        else:
            sizes[name] = len(text)
            digest.update(text)
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:_LARGEST_SHOWN]
    kept["wakelog.too_large.bytes"] = size
    kept["wakelog.too_large.sha256"] = digest.hexdigest()
    kept["wakelog.too_large.sizes"] = {name[:_PREVIEW]: size for name, size in largest}
    rest = {name: form for name, form in line.items() if name not in _UNITS}
    return {**rest, "attributes": kept}
