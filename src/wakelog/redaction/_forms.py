"""The judges of secrets that follow their name in another form than ``name=value``.

Flags of commands, elements of XML, pairs of a name and a value, rows of tables, encoded URLs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

Span = tuple[int, int]
IsSecret = Callable[[str], bool]

_FARTHEST: Final = 72  # maximum length of a name before its separator
_COMMAND: Final = 120  # maximum distance of a command before its flag
_SHORT: Final = 4
VALUE_KEYS: Final = ("value", "Value", "content", "val")
NAME_KEYS: Final = ("name", "key", "header", "field", "Name", "Key", "parameter", "variable")

_name: Final = re.compile(r"[\w .-]*+").match
_tag: Final = re.compile(r"[\w.:-]*+").match
_tag_opens: Final = re.compile(r"(?:<|&lt;)\Z").search
_content: Final = re.compile(r"(?P<value>[^<>&]{1,4096}+)(?:<|&lt;)/").match
_argument: Final = re.compile(
    r"(?:\\{0,3}[\"'],?)?\s{1,3}(?P<open>\\{0,3}[\"'])?"
    r"(?P<value>(?(open)(?:(?!(?<!\\)(?P=open))[^\r\n]){1,4096}+|[^\s\"'`,;|&<>(){}\[\]]{1,4096}+))"
).match
_glued: Final = re.compile(r"(?P<value>[^\s\"'`,;|&<>(){}\[\]]{1,4096}+)").match
proof: Final = re.compile(r"[0-9!@#$%^*+/=~]|.{20}").search
_no_value: Final = re.compile(r"-|\$|<|\{|%\w+%|[A-Z_]+\Z").match
_asks_web: Final = re.compile(r"\b(?:curl|wget|http|https|xh)\b").search
_asks_sshpass: Final = re.compile(r"\bsshpass\s{1,3}\\{0,3}[\"']?-\Z").search
_asks_mysql: Final = re.compile(r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^|;&\r\n]*\Z").search
_asks_redis: Final = re.compile(r"\bredis-cli\b[^|;&\r\n]*\Z").search
_named_by: Final = re.compile(
    rf"(?:{'|'.join(NAME_KEYS)})\\{{0,7}}[\"']?\s{{0,3}}[:=]\s{{0,3}}\\{{0,7}}[\"']?\Z"
).search
_valued: Final = re.compile(
    rf"\s{{0,40}}(?:\\{{0,7}}[\"']?(?:{'|'.join(VALUE_KEYS)})\\{{0,7}}[\"']?\s{{0,3}}[:=])?\s{{0,3}}"
    r"(?P<open>\\{0,7}[\"'])?(?P<value>(?(open)(?:(?!(?<!\\)(?P=open))[^\r\n]){1,4096}+"
    r"|[^\s\"'`,;|&<>(){}\[\]]{1,4096}+))"
).match
_pair_ends: Final = re.compile(r"\\{0,7}[\"']\s{0,3}[\])]").match
_cell: Final = re.compile(r"[^|\r\n]{1,4096}+(?=\|)").match
_encoded: Final = re.compile(r"[^\s&\"'<>]*+").match
_path: Final = re.compile(r"[^\s?#\"'<>)\]\\|!]*+").match
_EDGES: Final = " *`"


def _before(text: str, at: int, done: int) -> str:
    return text[max(done, at - _FARTHEST) : at]


def _named(before: str) -> tuple[str, str]:
    """Return the name at the end of a text, and the text before it."""
    found = _name(before[::-1])
    name = (found[0] if found else "")[::-1]
    return name, before[: len(before) - len(name)]


def element(is_secret: IsSecret, text: str, m: re.Match[str], done: int) -> Span | None:
    """Judge ``<password>...</password>``, also with escaped angle brackets."""
    at = m.start()
    before = _before(text, at, done).removesuffix("&gt")
    found = _tag(before[::-1])
    name = (found[0] if found else "")[::-1]
    if not is_secret(name) or not _tag_opens(before[: len(before) - len(name)]):
        return None
    content = _content(text, at + 1)
    if content is None:
        return None
    value, start = content["value"], content.start("value")
    begin = start + len(value) - len(value.lstrip())
    return (begin, start + len(value.rstrip())) if value.strip() else (begin, begin)


def is_flag_value(value: str) -> bool:
    """Return whether an argument may be a password, and not the next flag or a placeholder."""
    return bool(value) and _no_value(value) is None


def flag(is_secret: IsSecret, text: str, m: re.Match[str], _: int) -> Span | None:
    """Judge ``--password ...``."""
    found = _argument(text, m.end("flag"))
    if found is None or not is_flag_value(found["value"]):
        return None
    if m["flag"] == "user":
        return _user(text, m.start(), found)
    if not is_secret(m["flag"]) or (found["open"] is None and not proof(found["value"])):
        return None
    return found.span("value")


def short_flag(_: IsSecret, text: str, m: re.Match[str], __: int) -> Span | None:
    """Judge ``curl -u ann:...``, ``sshpass -p ...``, ``mysql -p...`` and ``redis-cli -a ...``."""
    at = m.start() + 1
    before = text[max(0, at - _COMMAND) : at]
    if text[at] == "u":
        found = _argument(text, at + 1)
        return _user(text, at, found) if found else None
    if text[at] == "p" and _asks_mysql(before):
        found = _glued(text, at + 1)
    elif (text[at] == "p" and _asks_sshpass(before)) or (text[at] == "a" and _asks_redis(before)):
        found = _argument(text, at + 1)
    else:
        return None
    return found.span("value") if found and is_flag_value(found["value"]) else None


def _user(text: str, at: int, found: re.Match[str]) -> Span | None:
    """Return the span of the password in ``ann:...``, after a command for HTTP requests."""
    user, colon, password = found["value"].partition(":")
    if not (user and colon and password) or not _asks_web(text, max(0, at - _COMMAND), at):
        return None
    return found.start("value") + len(user) + 1, found.end("value")


def pair(is_secret: IsSecret, text: str, m: re.Match[str], done: int) -> Span | None:
    """Judge ``"name": "password", "value": ...`` and ``["X-Api-Key", ...]``."""
    at = m.start()
    before = _before(text, at, done)
    if text[at] == "=":
        before = before[: before.rindex(" ")]
    elif text[at] == "\n":
        before = before.rstrip("\r")
    quoted = before.rstrip("\\\"'")
    name, rest = _named(quoted)
    if text[at] == "\n":  # for "name: PASSWORD", the name is the last word
        name = name.rpartition(" ")[2]
        rest = quoted[: len(quoted) - len(name)]
    found = _valued(text, at + 1)
    if found is None or not is_secret(name):
        return None
    if _named_by(rest):
        # If the value has no key of its own, it is the next field.
        return found.span("value") if text[at] == "=" or _has_key(text, at, found) else None
    opened = rest.rstrip("\\\"'")
    if opened[-1:] in ("[", "(") and opened != rest and found["open"] and proof(found["value"]):
        return found.span("value") if _pair_ends(text, found.end("value")) else None
    return None


def _has_key(text: str, at: int, found: re.Match[str]) -> bool:
    return text[at + 1 : found.start("value")].rstrip(" \\\"'")[-1:] in (":", "=")


def cell(is_secret: IsSecret, text: str, m: re.Match[str], done: int) -> Span | None:
    """Judge ``| password | ... |``, if the cell beside the name is not a word."""
    at = m.start()
    name, rest = _named(_before(text, at, done).rstrip(_EDGES))
    if rest.rstrip(_EDGES)[-1:] not in ("", "|", "\n") or not is_secret(name.strip()):
        return None
    found = _cell(text, at + 1)
    value = found[0].strip(_EDGES) if found else ""
    if not found or " " in value or value.isdigit() or len(value) < _SHORT or not proof(value):
        return None
    start = found.start() + found[0].index(value)
    return start, start + len(value)


def encoded_url(text: str, m: re.Match[str], scheme: str) -> Span | None:
    """Judge ``postgres%3A%2F%2Fann%3Apw%40host``, which is replaced as a whole."""
    user = text[m.start() + 9 : m.end("encoded_url")]
    if "%3a" not in user.lower() and not scheme.lower().startswith("http"):
        return None
    found = _encoded(text, m.end("encoded_url"))
    return m.start() - len(scheme), found.end() if found else m.end()


def webhook(_: str, text: str, m: re.Match[str], __: int) -> Span | None:
    """Judge the address of a webhook, whose path is the secret."""
    found = _path(text, m.end("webhook"))
    return (m.start() + 1, found.end()) if found else None
