"""Values that are stored outside their line, and the references on the line to them.

A value that is too large for its line is stored as a *blob*. The line has a tagged form instead::

    {
        "$wakelog": "blob",
        "sha256": "<hex>",
        "bytes": 9000000,
        "media": "text/plain",
        "preview": "...",
    }

The unit is the body or one top-level attribute. If an event has so many attributes that moving the
largest ones is not enough, the others are moved together, as the field ``more_attributes``.

Content that must be erasable is moved to a separate value, the field ``apart``, which begins with a
salt. Unless it is large, it is stored in one file with those of other lines, and ``apart_at`` is
its offset there.
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
"""The fields with the reference to a line's separate value, and with its offset."""
APART_FIELD = b',"apart":{'
"""The bytes that every line with such a reference contains."""
APART_REFERENCE = APART_FIELD + b'"$wakelog":"blob","sha256":"'
"""The beginning of such a reference, up to its digest."""
MARK = b'"$wakelog":"blob"'
"""The bytes that every line with a reference contains. Other lines may contain them too."""

GetBlob = Callable[..., "bytes | None"]
"""Returns the bytes of a blob by its digest and size, or None if they are missing or damaged.

For a value in the file of separate values, the third argument is its offset there.
"""

# Moving a smaller value saves little, because of the size of its reference.
_SMALLEST = 1024
_MOST_BLOBS = 64
_PREVIEW = 256
_UNITS = ("body", "event")
_SALT_BYTES = 16
_SALT_SIZE = 2 * _SALT_BYTES  # in hexadecimal
_SALTS = 256
# A larger separate value is a blob with a file of its own, written without the writer's lock.
_LARGEST_APART = 64 * 1024
_LARGEST_SHOWN = 10


class Blob(NamedTuple):
    """The bytes of a value that is stored outside its line, and their SHA-256 in hexadecimal.

    Attributes:
        unique: Whether they begin with a salt, so that no other value has the same digest.
    """

    sha256: str
    data: bytes
    unique: bool = False


class Content(bytes):
    """The middle part of a line, some values of which are stored outside it.

    Attributes:
        blobs: The values with files of their own, to be written before the line.
        apart: The separate value, to be written before the line; empty without one. The line then
            ends with its offset, see ``placed``.
    """

    blobs: tuple[Blob, ...] = ()
    apart: bytes = b""


def content_with(
    text: bytes, blobs: tuple[Blob, ...], apart: bytes = b"", digest: str = ""
) -> bytes:
    """Return the middle part of a line, as ``Content`` if values are stored outside it.

    Args:
        text: The middle part.
        blobs: The values that were moved out of it.
        apart: The separate value, as ``apart_of`` returns it; empty for none.
        digest: The SHA-256 of the separate value, in hexadecimal.
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
    """Return the middle part of a line with the offset of its separate value."""
    return content + b',"apart_at":%d' % offset


def blobs_of(content: bytes) -> tuple[Blob, ...]:
    """Return the blobs that have to be written before a line."""
    return content.blobs if type(content) is Content else ()


def size_beside(content: bytes) -> int:
    """Return the number of bytes that are stored outside a line."""
    if type(content) is not Content:
        return 0
    return sum((len(blob.data) for blob in content.blobs), len(content.apart))


class _Unit(NamedTuple):
    """One value that may be moved: its field and name, its form, and its size as JSON."""

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
        max_bytes: Maximum size of the rest as JSON, in bytes. It is exceeded only by names and ids,
            which are never moved.
        staying: The attributes that are never moved.

    Returns:
        The fields, and the values that were moved.
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
    """Move the body and some attributes of a line to a separate value, so that they can be erased.

    Args:
        line: The fields of the line, in their form there. It is changed.
        names: The attributes.

    Returns:
        The fields, the separate value, which is empty if nothing was moved, and its SHA-256.
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
    """Return a line's separate value, its SHA-256, and the encoded reference to it.

    The value begins with a random salt, so that its content cannot be guessed from the digest on
    the line, which has no preview either. It ends with a newline, so that a file has one value on
    each line.

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
# Unused salts. Creating many at once takes a tenth of the time.
_salts: list[bytes] = []
_EACH_SALT = [slice(at * _SALT_SIZE, (at + 1) * _SALT_SIZE) for at in range(_SALTS)]


def _make_salts() -> bytes:
    """Create salts, and return one that is not used elsewhere."""
    text = os.urandom(_SALTS * _SALT_BYTES).hex().encode()
    first, *others = map(text.__getitem__, _EACH_SALT)
    _salts.extend(others)
    return first


# A forked child would otherwise use the same salts as its parent.
reset_in_child(_salts.clear, ForkOrder.IDENTITY)


def _unit(field: str, name: str, form: object) -> _Unit:
    return _Unit(field, name, form, len(orjson.dumps(form)))


def attributes_on(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a line, each in its form there."""
    attributes = line.get("attributes") or {}
    # If an attribute has the name of the tag, the attributes are in a tagged map.
    return attributes["value"] if attributes.get(TAG) == "map" else attributes


def _move_the_rest(line: dict[str, Any], staying: frozenset[str], longest: int) -> list[Blob]:
    """Move all other attributes that may be moved, together."""
    attributes = line.get("attributes", {})
    rest = {
        name: form
        for name, form in attributes.items()
        if name not in staying and not is_reference(form)
    }
    if not rest:
        return []
    line["attributes"] = {name: form for name, form in attributes.items() if name not in rest}
    # `_moved` would take `rest` for a tagged form if an attribute had the name of the tag.
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
    """Return the references on a parsed line."""
    forms = [*attributes_on(line).values()]
    forms += [line.get(name) for name in (*_UNITS, MORE_ATTRIBUTES)]
    forms.append(_reference_apart(line.get(APART), line.get(APART_AT)))
    return [form for form in forms if is_reference(form)]


def _reference_apart(form: Any, offset: Any) -> Any:
    """Return the reference to a separate value, with its offset if it has one."""
    return {**form, "at": offset} if type(offset) is int and is_reference(form) else form


def value_of(reference: dict[str, Any], get: GetBlob) -> bytes | None:
    """Return the bytes of a referenced value, or None if they are missing or damaged."""
    digest, size, offset = reference.get("sha256"), reference.get("bytes"), reference.get("at")
    if not isinstance(digest, str) or not isinstance(size, int):
        return None
    return get(digest, size) if offset is None else get(digest, size, offset)


def resolve(line: dict[str, Any], get: GetBlob | None, count: int = sys.maxsize) -> None:
    """Replace the references on a parsed line by their values.

    A value that is not available is replaced by its preview and a note.

    Args:
        line: The parsed line. It is changed.
        get: Returns the bytes of values; None if they are not available.
        count: The maximum number of references on the line.
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
    """Return the form of a value that was moved out of a line."""
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
            pass  # the stored bytes are damaged
    return f"{reference.get('preview', '')}[wakelog: {size} bytes of {media} are not here, sha256 {digest}]"


def stub(line: dict[str, Any], size: int, staying: frozenset[str]) -> dict[str, Any]:
    """Return the stub of an event that is too large to be recorded.

    Args:
        line: The fields of its line, in their form there.
        size: The event's size as JSON, in bytes.
        staying: The attributes that the stub keeps.

    Returns:
        The fields without body and other attributes; ``wakelog.too_large.bytes``, ``.sha256`` and
        ``.sizes`` among the attributes describe the event.
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
