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

A blob with content that must be erasable begins with a random salt, so that no other record has the
same blob and its content cannot be guessed from its name. The reference says how long the salt is.
"""

import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from wakelog.record._identity import sha256
from wakelog.record._values import TAG

BLOB = "blob"
TEXT, BYTES, JSON = "text/plain", "application/octet-stream", "application/json"
MORE_ATTRIBUTES = "more_attributes"
MARK = b'"$wakelog":"blob"'
"""The bytes that every line with a reference contains. Other lines may contain them too."""

GetBlob = Callable[[str, int], "bytes | None"]
"""Returns the bytes of a blob by its digest and size, or None if they are missing or damaged."""

# Moving a smaller value saves little, because of the size of its reference.
_SMALLEST = 1024
_MOST_BLOBS = 64
_PREVIEW = 256
_UNITS = ("body", "event")
_SALT_BYTES = 16
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
        blobs: The values, to be written before the line.
    """

    blobs: tuple[Blob, ...] = ()


def content_with(text: bytes, blobs: tuple[Blob, ...]) -> bytes:
    """Return the middle part of a line, as ``Content`` if values are stored outside it.

    Args:
        text: The middle part.
        blobs: The values that were moved out of it.
    """
    if not blobs:
        return text
    content = Content(text)
    content.blobs = blobs
    return content


def blobs_of(content: bytes) -> tuple[Blob, ...]:
    """Return the blobs that have to be written before a line."""
    return content.blobs if type(content) is Content else ()


class _Unit(NamedTuple):
    """One value that may be moved: its field and name, its form, and its size as JSON."""

    field: str
    name: str
    form: object
    size: int


def part(
    line: dict[str, Any],
    max_bytes: int,
    staying: frozenset[str],
    erasable: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], tuple[Blob, ...]]:
    """Move the largest values out of a line until the rest fits.

    Args:
        line: The fields of the line, in their form there. It is changed.
        max_bytes: Maximum size of the rest as JSON, in bytes. It is exceeded only by names and ids,
            which are never moved.
        staying: The attributes that are never moved.
        erasable: The attributes whose blobs, and that of the body, begin with a salt; none, if
            content need not be erasable.

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
        salted = bool(erasable) and (unit.field != "attributes" or unit.name in erasable)
        blob, reference = _moved(unit.form, longest, salted=salted)
        blobs.append(blob)
        size += len(orjson.dumps(reference)) - unit.size
        if unit.field == "attributes":
            attributes[unit.name] = reference
        else:
            line[unit.field] = reference
    if size > max_bytes:
        blobs += _move_the_rest(line, staying, longest, salted=bool(erasable))
    if TAG in line.get("attributes", ()):
        line["attributes"] = {TAG: "map", "value": line["attributes"]}
    return line, tuple(blobs)


def take_content(line: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Take the content out of the fields of a line.

    Args:
        line: The fields of the line, in their form there. It is changed.
        names: The attributes that are content.

    Returns:
        The content: ``attributes``, the body, and ``more_attributes``, which may be content; empty
        without any.
    """
    attributes = attributes_on(line)
    rest = {name: form for name, form in attributes.items() if name not in names}
    units = {name: line.pop(name) for name in (*_UNITS, MORE_ATTRIBUTES) if name in line}
    moved = {name: form for name, form in attributes.items() if name in names}
    if not moved and not units:
        return {}
    if rest:
        line["attributes"] = {TAG: "map", "value": rest} if TAG in rest else rest
    else:
        line.pop("attributes", None)
    return {"attributes": moved, **units}


def _unit(field: str, name: str, form: object) -> _Unit:
    return _Unit(field, name, form, len(orjson.dumps(form)))


def attributes_on(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a line, each in its form there."""
    attributes = line.get("attributes") or {}
    # If an attribute has the name of the tag, the attributes are in a tagged map.
    return attributes["value"] if attributes.get(TAG) == "map" else attributes


def _move_the_rest(
    line: dict[str, Any], staying: frozenset[str], longest: int, *, salted: bool
) -> list[Blob]:
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
    blob, line[MORE_ATTRIBUTES] = _as_json(rest, longest, salted=salted)
    return [blob]


def _moved(form: object, longest: int, *, salted: bool) -> tuple[Blob, dict[str, object]]:
    """Return a value as a blob, and the reference to it."""
    if isinstance(form, str):
        return _put_beside(form.encode(), TEXT, form[:longest], salted=salted)
    if isinstance(form, dict) and form.get(TAG) == "bytes":
        return _put_beside(b64decode(form["value"]), BYTES, "", salted=salted)
    return _as_json(form, longest, salted=salted)


def _as_json(form: object, longest: int, *, salted: bool) -> tuple[Blob, dict[str, object]]:
    data = orjson.dumps(form)
    preview = data[:longest].decode(errors="ignore")
    return _put_beside(data, JSON, preview, salted=salted)


def _put_beside(
    data: bytes, media: str, preview: str, *, salted: bool
) -> tuple[Blob, dict[str, object]]:
    salt = os.urandom(_SALT_BYTES).hex().encode() if salted else b""
    data = salt + data
    digest = sha256(data).hexdigest()
    reference: dict[str, object] = {
        TAG: BLOB,
        "sha256": digest,
        "bytes": len(data),
        "media": media,
        "preview": preview,
        **({"salt": len(salt)} if salt else {}),
    }
    return Blob(digest, data, unique=salted), reference


def is_reference(form: object) -> bool:
    """Return whether a form on a line is a reference to a blob."""
    return type(form) is dict and form.get(TAG) == BLOB


def references(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the references on a parsed line."""
    forms = [*attributes_on(line).values()]
    forms += [line.get(name) for name in (*_UNITS, MORE_ATTRIBUTES)]
    return [form for form in forms if is_reference(form)]


def value_of(reference: dict[str, Any], get: GetBlob) -> bytes | None:
    """Return the bytes of a referenced value, or None if they are missing or damaged."""
    digest, size = reference.get("sha256"), reference.get("bytes")
    if not isinstance(digest, str) or not isinstance(size, int):
        return None
    return get(digest, size)


def resolve(line: dict[str, Any], get: GetBlob | None) -> None:
    """Replace the references on a parsed line by their values.

    A value that is not available is replaced by its preview and a note.

    Args:
        line: The parsed line. It is changed.
        get: Returns the bytes of values; None if they are not available.
    """
    attributes = attributes_on(line)
    for name in _UNITS:
        if is_reference(line.get(name)):
            line[name] = _value_of(line[name], get)
    for name, form in attributes.items():
        if is_reference(form):
            attributes[name] = _value_of(form, get)
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
