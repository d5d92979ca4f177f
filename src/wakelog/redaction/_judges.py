"""The judges, which decide about candidates.

A judge returns the span to replace, an empty span after which the scan continues, or None.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from string import ascii_letters
from typing import TYPE_CHECKING, Final

from wakelog.redaction import _forms
from wakelog.redaction._names import KNOWN_NAMES, Names, words_of
from wakelog.redaction._rules import (
    CODES,
    IBAN_LENGTHS,
    LIKELY_PREFIXES,
    NUMBERS,
    QUERY_SECRETS,
    SURE_PREFIXES,
    edge,
)

if TYPE_CHECKING:
    from wakelog.redaction import RedactionConfig

Span = tuple[int, int]
# The kind, the text, the match, and the end of the part that is finished.
Judge = Callable[[str, str, re.Match[str], int], Span | None]

# The number of characters before the matched one, and the expression for the rest of the secret.
_RUNS: Final = {
    kind: (back, re.compile(run).match)
    for kind, back, run in (
        ("api_key", 0, r"[\w-]*+"),
        ("aws_access_key", 0, r"(?:[\s:,;\"'=]{1,4}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))?"),
        ("bearer_token", 0, r"[\w.~+/=-]*+"),
        ("connection_string", 0, r"[^\s\"'<>]*+"),
        ("sendgrid_key", 0, r"[\w-]*+"),
        ("dotted_key", 0, r"[\w.-]*+"),
        ("email", 0, r"[\w-]*+(?:\.[\w-]+)*+"),
        ("google_api_key", 0, r"[\w-]*+"),
        ("jwt", 2, r"(?:\.[\w-]*+){0,3}"),
        ("private_key", 5, r"(?:[^-]|-(?!----END))*+(?:-----END[^-]{0,60}-----)?"),
        ("signed_url", 0, r"=[^\s&#\"'<>)\]\\]*+"),
    )
}


def _extended(kind: str, text: str, m: re.Match[str], _: int) -> Span:
    back, run = _RUNS[kind]
    end = m.end(kind)
    rest = run(text, end)
    return m.start() - back, rest.end() if rest else end


def _ending(run: Callable[[str], re.Match[str] | None], text: str) -> str:
    """Return the end of ``text`` that ``run`` matches backwards."""
    found = run(text[::-1])
    return found[0][::-1] if found else ""


_edge_before: Final = re.compile(edge(0)).match
_country_code: Final = re.compile(rf"1[ .-](?<![0-9][-.]..){edge(2)}").match
_social: Final = re.compile(r"[Ss](?:[Ss][Nn]|[Oo][Cc][Ii][Aa][Ll])(?![A-Za-z])").search
_issuer: Final = re.compile(  # of 16, 15 and 14 digits
    r"(?=.{16}\Z)(?:4|5[1-5]|2[2-7]|6011|6[245]|35)|(?=.{15}\Z)3[47]|(?=.{14}\Z)3(?:0[0-5]|6|8)"
).match
_DOUBLED: Final = bytes.maketrans(b"123456789", b"246813579")


def _checked(digits: str) -> bool:
    """Return whether the last of ``digits`` is the check digit: ISO/IEC 7812-1, annex B (Luhn)."""
    code = digits.encode()
    doubled = sum(code[-2::-2].translate(_DOUBLED))
    return (sum(code[-1::-2]) + doubled - len(code) * ord("0")) % 10 == 0


def _number(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    start, end = m.start(), m.end(kind)
    sure = True
    if kind == "us_ssn":
        sure = text[start + 3] == "-" or _after_social(text, start)
    elif kind in {"payment_card", "canada_sin"}:
        digits = text[start:end].replace(" ", "").replace("-", "")
        sure = _checked(digits) and (kind == "canada_sin" or _issuer(digits) is not None)
    elif kind == "us_phone":
        if text[start + 3] == ")":
            start -= 1
            sure = text[start] == "(" and _edge_before(text, start) is not None
        if start >= done + 2 and _country_code(text, start - 2):
            start -= 2
    return (start, end) if sure else None


def _after_social(text: str, start: int) -> bool:
    begin = max(0, start - 40)
    word = _social(text, begin, start)
    while word and word.start() and text[word.start() - 1] in ascii_letters:
        word = _social(text, word.end(), start)
    return word is not None


@cache
def _iban_shape(length: int) -> Callable[[str, int], re.Match[str] | None]:
    return re.compile(f"[0-9A-Za-z](?: ?[0-9A-Za-z]){{{length - 1}}}(?![0-9A-Za-z])").match


_BASE_36: Final = {ord(c): str(int(c, 36)) for c in ascii_letters}


def _iban(_: str, text: str, m: re.Match[str], __: int) -> Span | None:
    """Judge by the country's length and the check digits (ISO 13616, ISO 7064 mod 97-10)."""
    start = m.start() - 2
    length = IBAN_LENGTHS.get(text[start : start + 2].upper())
    found = _iban_shape(length)(text, start) if length else None
    if not found:
        return None
    code = found[0].replace(" ", "")
    if code.islower() and not code[2:].isdigit() and not code.strip("0123456789abcdef"):
        return None  # the id of a span
    return found.span() if int((code[4:] + code[:4]).translate(_BASE_36)) % 97 == 1 else None


def _uk_nino(kind: str, text: str, m: re.Match[str], __: int) -> Span | None:
    start = m.start() - (3 if text[m.start() - 1] == " " else 2)
    return (start, m.end(kind)) if _edge_before(text, start) else None


_local_part: Final = re.compile(r"[\w.+%-]*+").match


def _email(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    at, (_, end) = m.start(), _extended(kind, text, m, done)
    local = _ending(_local_part, text[max(done, at - 256) : at])
    if not local or (local == "git" and text[end : end + 1] in (":", "/")):
        return None  # `git@host:path` is an address for `git clone`, not a person's
    return at - len(local), end


_scheme: Final = re.compile(r"[A-Za-z0-9+.-]*(?<=[A-Za-z])|").match
_WEB: Final = frozenset({"http", "https", "ws", "wss", "ftp", "ftps", "sftp", "ssh", "git"})


def _scheme_before(text: str, begin: int, colon: int) -> str:
    scheme = _ending(_scheme, text[begin:colon])
    at = colon - len(scheme)
    if text[at : at + 1] in ("n", "r", "t") and at > begin and text[at - 1] == "\\":
        return scheme[1:]  # an escaped line break
    return scheme


def _connection_string(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    """Judge ``scheme://user:password@host``: only the credentials of web URLs are replaced."""
    colon = m.start()
    scheme = _scheme_before(text, max(done, colon - 24), colon)
    if ":" not in text[colon + 3 : m.end(kind)] and not scheme.lower().startswith("http"):
        return None  # a user name; with http it may be a token
    if scheme.lower().rpartition("+")[2] in _WEB:
        return colon + 3, m.end(kind) - 1
    _, end = _extended(kind, text, m, done)
    return colon - len(scheme), end - len(text[colon:end]) + len(text[colon:end].rstrip(".,;)]}"))


def _dotted_key(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    prefix = 4 if text[m.start() - 1] == "9" else 3
    return m.start() - prefix, _extended(kind, text, m, done)[1]


def _encoded_url(_: str, text: str, m: re.Match[str], done: int) -> Span | None:
    percent = m.start()
    return _forms.encoded_url(text, m, _scheme_before(text, max(done, percent - 24), percent))


_bearer_proof: Final = re.compile(r"[0-9._=+]|.{20}").search


def _bearer_token(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    start, end = _extended(kind, text, m, done)
    value = text[m.start(kind) : end].rstrip(".")
    if text[start + 1] in "eE":
        if _bearer_proof(value):
            return start, end
        named = text[max(0, start - 24) : start].rstrip(" :=\"'").lower().endswith("authorization")
        return (start, end) if named else None
    try:
        return (start, end) if b":" in a2b_base64(value[:512]) else None
    except ValueError:
        return None


# Called only at the beginning of a sequence of letters and digits.
_random_part: Final = re.compile(
    r"(?<![^\W_])(?:[^\W_]{20}|(?=[A-Za-z]{0,63}[0-9])[^\W_]{10})"
).search
_LIKELY: Final = {**dict.fromkeys(SURE_PREFIXES, False), **dict.fromkeys(LIKELY_PREFIXES, True)}
_WIDTHS: Final = sorted({len(prefix) for prefix in _LIKELY}, reverse=True)


def _api_key(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    body = m.start() + 1
    _, end = _extended(kind, text, m, done)
    for width in _WIDTHS:
        likely = _LIKELY.get(text[max(0, body - width) : body])
        if likely is not None:
            break
    if likely and not _random_part(text, body, end):
        return end, end
    return body - width, end


_JUDGES: Final[Mapping[str, Judge]] = {
    **dict.fromkeys(_RUNS, _extended),
    **dict.fromkeys((kind for _, kind, _ in NUMBERS), _number),
    "international_phone": _number,
    "iban": _iban,
    "uk_nino": _uk_nino,
    "email": _email,
    "connection_string": _connection_string,
    "bearer_token": _bearer_token,
    "api_key": _api_key,
    "dotted_key": _dotted_key,
    "encoded_url": _encoded_url,
    "webhook": _forms.webhook,
}
_BESIDE: Final = {
    "element": _forms.element,
    "escaped_element": _forms.element,
    "cell": _forms.cell,
    "pair": _forms.pair,
    "attribute": _forms.pair,
    "setting": _forms.pair,
    "flag": _forms.flag,
    "short_flag": _forms.short_flag,
}

_assigned: Final = re.compile(
    r"[=>]?(?:\*\*)?(?P<space>\s{0,3})`?(?P<open>\\{0,7}[\"'])?(?P<value>(?(open)"
    r"(?:(?!(?<!\\)(?P=open))[^\r\n]){1,4096}+|[^\s\"'`&;,<>(){}\[\]\\|]{1,4096}+))"
).match
# `token = get_token()`, `token = os.environ["T"]`; longer texts are not names of functions.
_called: Final = re.compile(r"[^\s\"'&;,<>(){}\[\]\\|]{1,128}+[(\[]").match
_field: Final = re.compile(r"[\w -]*+").match
_line: Final = re.compile(r"[^\r\n\"']{0,4096}+").match
_SHORTEST: Final = 6  # characters of a secret without quotation marks
_LONGEST_FIELD: Final = 24  # including the characters between a name and its colon
_NOT_VALUES: Final = frozenset(
    {"none", "null", "true", "false", "undefined", "bearer", "basic", "digest"}
)
_NOTHING, _KEY, _PASSWORD, _COOKIE, _CODE = 0, 1, 2, 4, 8
_code: Final = re.compile(r"[0-9]{4,8}(?![\w.:-])").match


class _Named:
    """Judges values by their names: ``password=...``, ``?token=...``."""

    def __init__(self, config: RedactionConfig, names: Names) -> None:
        self._keys, self._passwords = config.redact_api_keys, config.redact_connection_strings
        self._names = names
        self._in_queries = Names(config.sensitive_field_names, QUERY_SECRETS)
        self._kind_of = lru_cache(KNOWN_NAMES)(self._judged)

    def _judged(self, backwards: str) -> int:
        name = backwards[::-1]
        small = name.lower()
        words = words_of(small)
        if self._keys and words and words[-1] in CODES and self._names.has(words[-1]):
            return _CODE
        is_password = "pass" in small or "pwd" in small
        wanted = self._passwords if is_password else self._keys
        if not wanted or not self._names.has_words_of(name):
            return _NOTHING
        kind = _PASSWORD if is_password else _KEY
        return kind | _COOKIE if "eikooc" in backwards[:8].lower() else kind

    def signed_url(self, kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
        if not self._in_queries.known(m[kind]):
            return None
        return m.end(kind) + 1, _extended(kind, text, m, done)[1]

    def credential(self, _: str, text: str, m: re.Match[str], done: int) -> Span | None:
        """Judge ``password=...``, ``"api_key": "..."`` and similar forms in a text."""
        at = m.start()
        before = text[max(done, at - _LONGEST_FIELD) : at].rstrip(" \\\"'`*")
        name = _field(before[::-1])
        kind = self._kind_of(name[0]) if name else _NOTHING
        if kind == _NOTHING:
            return None
        found = _assigned(text, at + 1)
        if found is None:
            return None
        start, end = found.span("value")
        if kind == _CODE:
            return (start, code.end()) if (code := _code(text, start)) else None
        if found["open"] is None:
            value = found["value"]
            if value.lower() in _NOT_VALUES or _called(text, start):
                return None
            if text[at] == "=" and (kind & _PASSWORD or not found["space"]):
                likely = kind & _PASSWORD or end - start >= _SHORTEST
            else:
                likely = end - start >= _SHORTEST and _forms.proof(value) is not None
            if not likely:
                return None
            if kind & _COOKIE and (line := _line(text, end)):
                end = line.end()
        return start, end

    def beside(self, kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
        """Judge a secret that follows its name in another form than ``password=...``."""
        return _BESIDE[kind](self._is_secret, text, m, done)

    def _is_secret(self, name: str) -> bool:
        return self._kind_of(name[::-1]) != _NOTHING


def judges(config: RedactionConfig, names: Names) -> dict[str, Judge]:
    """Return the judge of each kind."""
    named = _Named(config, names)
    beside = dict.fromkeys(_BESIDE, named.beside)
    return {**_JUDGES, **beside, "credential": named.credential, "signed_url": named.signed_url}
