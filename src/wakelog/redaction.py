"""Redaction: what must not be written is replaced before anything is written.

Every string is read once, by one expression per configuration. Each kind of secret has a
character that it cannot do without (``@``, a digit, ``=``); the expression skips to the next such
character and matches no more than bounded evidence there. A *judge* then decides, and only what
it accepts is read to its end. So an ordinary string costs one scan, and a hostile one costs time
linear in its length.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cached_property, lru_cache
from os import PathLike, fspath
from string import ascii_letters
from typing import Any, Final, Protocol, cast, runtime_checkable

from wakelog.errors import ConfigurationError, RedactionError

# ruff: noqa: SIM905 - a table of short words is read, and compared, best as a text

CYCLE_MARKER: Final = "[CYCLE]"
DEPTH_MARKER: Final = "[TOO DEEP]"
MAX_DEPTH: Final = 100

_SECRET_FIELDS: Final = tuple(
    "password passwd pwd passphrase secret token api_key apikey access_key account_key private_key "
    "secret_key authorization auth cookie set_cookie client_secret credentials connection_string "
    "database_url db_url".split()
)
_PERSONAL_FIELDS: Final = tuple(
    "email email_address phone phone_number ssn iban national_id card_number cvv".split()
)
# Secret in a query string, too ordinary to be secret as a field.
_QUERY_SECRETS: Final = frozenset(
    "key sig signature credential jwt sid sessionid jsessionid phpsessid awsaccesskeyid sharedkey "
    "xamzsignature xamzcredential xgoogsignature xgoogcredential assertion samlresponse".split()
)


@runtime_checkable
class RedactionStrategy(Protocol):
    """What a sensitive value becomes."""

    def transform(self, value: str, category: str) -> str:
        """Return the text that is written instead of ``value``."""


@runtime_checkable
class RedactionDetector(Protocol):
    """A caller's own search for sensitive values; it runs before the built-in ones."""

    def redact(self, value: str, strategy: RedactionStrategy) -> str:
        """Return ``value`` with every sensitive part passed through ``strategy``."""


@dataclass(frozen=True, slots=True)
class ReplacementStrategy:
    """Replaces every sensitive value with the same text."""

    replacement: str = "[REDACTED]"

    def transform(self, value: str, category: str) -> str:  # noqa: ARG002 - the protocol's
        """Return the replacement."""
        return self.replacement


@dataclass(frozen=True, slots=True)
class HashStrategy:
    """Replaces a value with ``length`` (8 to 64) digits of its salted SHA-256.

    Equal values stay recognisably equal. Without a salt, short ones (phones) can be guessed.
    """

    salt: bytes = b""
    length: int = 16

    def __post_init__(self) -> None:
        _check_length("HashStrategy", self.length)

    def transform(self, value: str, category: str) -> str:
        """Return ``[HASH:<category>:<digest>]``."""
        from hashlib import sha256

        digest = sha256(self.salt + value.encode("utf-8", "surrogatepass")).hexdigest()
        return f"[HASH:{category}:{digest[: self.length]}]"


@dataclass(frozen=True, slots=True)
class TokenizationStrategy:
    """Replaces a value with ``length`` (8 to 64) digits of its HMAC-SHA-256 under ``key``."""

    key: bytes
    length: int = 20

    def __post_init__(self) -> None:
        if not self.key:
            msg = "TokenizationStrategy: key is empty; give at least one byte, better 32 random"
            raise ConfigurationError(msg)
        _check_length("TokenizationStrategy", self.length)

    def __repr__(self) -> str:
        """Leave the key out: it must not reach a log by way of a traceback."""
        return f"TokenizationStrategy(key=..., length={self.length})"

    def transform(self, value: str, category: str) -> str:
        """Return ``[TOKEN:<category>:<token>]``."""
        from hmac import new as hmac

        token = hmac(self.key, value.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
        return f"[TOKEN:{category}:{token[: self.length]}]"


def _check_length(owner: str, length: int) -> None:
    if not 8 <= length <= 64:  # noqa: PLR2004 - a SHA-256 has 64 hexadecimal digits
        msg = f"{owner}: length is {length}; it must be between 8 and 64"
        raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class RegexDetector:
    """Passes whatever ``pattern`` matches to the strategy, as ``category``."""

    category: str
    pattern: re.Pattern[str]

    def redact(self, value: str, strategy: RedactionStrategy) -> str:
        """Return ``value`` with every match replaced."""
        return self.pattern.sub(lambda m: strategy.transform(m[0], self.category), value)


@dataclass(frozen=True)
class RedactionConfig:
    """What is redacted, and what it becomes: ``replacement``, unless a ``strategy`` is given.

    ``redact_api_keys`` covers PEM private keys and ``token=...`` in texts too,
    ``redact_connection_strings`` credentials in URLs and ``password=...`` in texts.
    ``sensitive_field_names`` are compared without regard to case and separators, with a whole key
    or its last words (``user_password``); the values of such keys are replaced whole.
    """

    replacement: str = "[REDACTED]"
    strategy: RedactionStrategy | None = None
    detectors: tuple[RedactionDetector, ...] = ()
    redact_emails: bool = True
    redact_phone_numbers: bool = True
    redact_international_phone_numbers: bool = True
    redact_ssns: bool = True
    redact_international_ids: bool = True
    redact_ibans: bool = True
    redact_jwts: bool = True
    redact_bearer_tokens: bool = True
    redact_api_keys: bool = True
    redact_connection_strings: bool = True
    redact_signed_urls: bool = True
    sensitive_field_names: tuple[str, ...] = _SECRET_FIELDS + _PERSONAL_FIELDS
    redact_payment_cards: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.sensitive_field_names, str):
            msg = "sensitive_field_names is a string; give a tuple of names, such as ('password',)"
            raise ConfigurationError(msg)

    @property
    def active_strategy(self) -> RedactionStrategy:
        """The strategy that is used: the given one, or replacement."""
        return ReplacementStrategy(self.replacement) if self.strategy is None else self.strategy

    @cached_property
    def _engine(self) -> _Engine:
        return _Engine(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the compiled form behind: it is a cache."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_DEFAULT: Final = RedactionConfig()


def redact(value: Any, config: RedactionConfig | None = None) -> Any:
    """Return ``value`` with everything sensitive replaced; ``value`` itself is never changed.

    Args:
        value: Anything. Mappings become dicts; lists and tuples keep their type; sets become
            lists; dataclasses and objects with ``model_dump()`` or ``dict()`` become dicts;
            numbers, dates and UUIDs stay; other objects become their redacted ``str()``.
        config: What to redact; the defaults if absent.

    Returns:
        The redacted value, or the same object (not a copy) if nothing had to be replaced. A cycle
        becomes ``CYCLE_MARKER``, what is deeper than ``MAX_DEPTH`` ``DEPTH_MARKER``.

    Raises:
        RedactionError: If a detector, a strategy or an object's own conversion failed.
    """
    engine = (_DEFAULT if config is None else config)._engine  # noqa: SLF001 - this module's own
    try:
        return engine.value(value, ())
    except RecursionError as error:
        msg = "cannot redact: no stack is left, because the value or its caller is nested deeply"
        raise RedactionError(msg) from error


# --- Rules ------------------------------------------------------------------------------------
# The flag that switches it, the characters of which it needs one, and the expression that applies
# right after that character. Its last group names the kind. What it reads there is bounded, or
# begins at a boundary that a run of characters has only once.

_SURE_PREFIXES: Final = tuple(
    "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- pypi- whsec_ xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- "
    "xapp- shpat_ dop_v1_ sk_live_ sk_test_ rk_live_ rk_test_ lsv2_pt_ lsv2_sk_".split()
)
_LIKELY_PREFIXES: Final = ("sk-", "hf_", "r8_", "npm_", "gsk_", "xai-", "pplx-", "tvly-")
_IBAN_LENGTHS: Final = (
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24"
    "FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32"
    "LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24"
    "RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"
)


def _edge(width: int) -> str:
    """Return an expression for "no letter or digit before the last ``width`` characters"."""
    # The n of an escaped line break, in JSON within a text, is no letter.
    dots = "." * width
    return rf"(?:(?<![0-9A-Za-z]{dots})|(?<=\\[nrt]{dots}))"


def _after(prefixes: Iterable[str]) -> str:
    """Return an expression for "right after one of these", with one look-behind per width."""
    by_width: dict[int, list[str]] = {}
    for word in prefixes:
        by_width.setdefault(len(word), []).append(re.escape(word))
    return "|".join(f"(?<={'|'.join(same)}){_edge(width)}" for width, same in by_width.items())


_NUMBERS: Final = (
    (
        "redact_international_phone_numbers",
        "international_phone",
        r"\+[1-9](?:[ .()-]{0,2}\d){7,14}",
    ),
    (
        "redact_payment_cards",
        "payment_card",
        r"[2-6]\d{3}(?:(?: \d{4}){3}|(?:-\d{4}){3}|[ -]\d{6}[ -]\d{4,5}|\d{10,12}(?![A-Za-z_]))",
    ),
    ("redact_ssns", "us_ssn", r"\d{3}(?:-\d\d-\d{4}|(?: \d\d |\d\d)\d{4}(?![A-Za-z_]))"),
    (
        "redact_international_ids",
        "canada_sin",
        r"\d{3}-\d{3}-\d{3}|(?<!\d )\d{3} \d{3} \d{3}(?! \d)",
    ),
    ("redact_international_ids", "brazil_cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    (
        "redact_phone_numbers",
        "us_phone",
        r"(?:1[ .-])?(?:\([2-9]\d\d\)[ .-]?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}",
    ),
)
_NUMBER_BEGINS: Final = rf"[0-9+(]{_edge(1)}(?<![0-9][-.].)(?=[0-9 .-])"
# "(?<=(?=X).)" applies X from the character itself; not part of a longer number or id.
_NUMBER_FRAME: Final = r"(?<=(?=(?:%s)(?![0-9]|[-.][0-9])).)"
_AFTER_LETTERS: Final = "[0-9](?<=[A-Za-z][A-Za-z ].)"
_RULES: Final = (
    (
        "redact_emails",
        "[@]",
        r"(?<=[\w.+%-]@)[\w-]{1,63}+(?:\.[\w-]{1,63}+){0,7}?\.[^\W\d_]{2}(?P<email>)",
    ),
    (
        "redact_international_ids",
        _AFTER_LETTERS,
        r"(?:(?<=[A-Za-z]{2}.)|(?<=[A-Z]{2} .))\d ?\d\d ?\d\d ?[A-Da-d](?P<uk_nino>)(?![0-9A-Za-z])",
    ),
    (
        "redact_ibans",
        _AFTER_LETTERS,
        rf"(?<=[A-Za-z]{{2}}.){_edge(3)}\d(?: ?[0-9A-Za-z]){{11}}(?P<iban>)",
    ),
    ("redact_jwts", "[J]", r"(?<=eyJ)(?<![\w-]eyJ)[\w-]{7,}+\.\.?(?P<jwt>[\w-]{4,}+)"),
    (
        "redact_bearer_tokens",
        f"[Bb]{_edge(1)}",
        r"(?:[Ee][Aa][Rr][Ee][Rr]|[Aa][Ss][Ii][Cc])\s{1,3}[\"']?(?P<bearer_token>[\w.~+/=-]{3})",
    ),
    ("redact_api_keys", r"[B](?<=-----.)", r"EGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?P<private_key>)"),
    (
        "redact_api_keys",
        f"[A]{_edge(1)}",
        r"[KS]IA[A-Z0-9]{16}(?![A-Z0-9])(?P<aws_access_key>)",
    ),
    ("redact_api_keys", f"[A]{_edge(1)}", r"Iza[\w-]{30}(?P<google_api_key>)"),
    (
        "redact_api_keys",
        r"[_\-](?<=[0-9a-z].)",
        rf"(?=[\w-]{{16}}(?P<api_key>))(?:{_after(_SURE_PREFIXES + _LIKELY_PREFIXES)})",
    ),
    ("redact_connection_strings", "[:]", r"//[^\s/?#\"'<>\\]{1,256}@(?P<connection_string>)"),
    ("redact_signed_urls", "[?&#]", r"(?P<signed_url>[\w.~%-]{1,64}+)=[^\s&#\"'<>)\]\\]"),
)


class _Lazy:
    """A compiled expression's ``match`` or other method, compiled when it is first needed."""

    def __init__(self, pattern: str, method: str = "match") -> None:
        self.pattern = pattern
        self.method = method

    def __call__(self, text: str, *where: int) -> Any:
        return self._call(text, *where)

    @cached_property
    def _call(self) -> Callable[..., Any]:
        return cast("Callable[..., Any]", getattr(re.compile(self.pattern), self.method))


# How many characters a match began before its character, and how far it goes on once accepted.
_RUNS: Final = {
    kind: (back, _Lazy(run))
    for kind, back, run in (
        ("api_key", 0, r"[\w-]*+"),
        ("aws_access_key", 0, r"(?:[\s:,;\"'=]{1,4}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))?"),
        ("bearer_token", 0, r"[\w.~+/=-]*+"),
        ("connection_string", 0, r"[^\s\"'<>]*+"),
        ("email", 0, r"[\w-]*+(?:\.[\w-]+)*+"),
        ("google_api_key", 0, r"[\w-]*+"),
        ("jwt", 2, r"(?:\.[\w-]*+){0,3}"),
        ("private_key", 5, r"(?:[^-]|-(?!----END))*+(?:-----END[^-]{0,60}-----)?"),
        ("signed_url", 0, r"=[^\s&#\"'<>)\]\\]*+"),
    )
}
_ASSIGNED: Final = _Lazy(
    r"[=>]?(?P<space>\s{0,3})(?P<open>\\{0,3}[\"'])?(?P<value>(?(open)"
    r"(?:(?!(?<!\\)(?P=open))[^\r\n]){1,4096}+|[^\s\"'&;,<>(){}\[\]\\|]{1,4096}+))"
)
_WORDS: Final = _Lazy(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7f]+", "findall")
_EDGE_BEFORE: Final = _Lazy(_edge(0))
_FIELD: Final = _Lazy(r"[\w -]*+")
_LOCAL_PART: Final = _Lazy(r"[\w.+%-]*+")
_SCHEME: Final = _Lazy(r"(?:(?<=\\)[nrt])?([A-Za-z][A-Za-z0-9+.-]*|)\Z", "search")
_KEY_PREFIX: Final = _Lazy(r"(?:github_|[a-z0-9]+_(?=live|test|pt|sk|v1))?[a-z0-9]+.\Z", "search")
_RANDOM_PART: Final = _Lazy(r"[^\W_]{20}|(?=[A-Za-z]{0,63}[0-9])[^\W_]{10}", "search")
_PROOF: Final = _Lazy(r"[0-9!@#$%^*+/=~]|.{20}", "search")
_ISSUERS: Final = _Lazy(  # of 16, 15 and 14 digits
    r"(?=.{16}\Z)(?:4|5[1-5]|2[2-7]|6011|6[245]|35)|(?=.{15}\Z)3[47]|(?=.{14}\Z)3(?:0[0-5]|6|8)"
)
_SOCIAL: Final = _Lazy(r"(?i)(?<![a-z])(?:ssn|social)(?![a-z])", "search")
_WEB: Final = frozenset({"http", "https", "ws", "wss", "ftp", "ftps", "sftp", "ssh", "git"})
_NOT_VALUES: Final = frozenset(
    {"none", "null", "true", "false", "undefined", "bearer", "basic", "digest"}
)
_LINE: Final = _Lazy(r"[^\r\n\"']{0,4096}+")
_BEARER_PROOF: Final = _Lazy(r"[0-9._=+]|.{20}", "search")
_IBAN_SHAPES: Final = {
    length: _Lazy(f"[0-9A-Za-z](?: ?[0-9A-Za-z]){{{length - 1}}}(?![0-9A-Za-z])")
    for length in range(15, 34)
}
_BASE_36: Final = {ord(c): str(int(c, 36)) for c in ascii_letters}
_DOUBLED: Final = str.maketrans("123456789", "246813579")
_SHORTEST: Final = 6  # characters of a secret without quotation marks
_MANY: Final = 16
_KNOWN_NAMES: Final = 4096
_LONGEST_NAME: Final = 64
_Span = tuple[int, int]
_PLAIN: Final = frozenset({int, float, bool, complex, type(None)})
_PLAIN_MODULES: Final = frozenset({"datetime", "uuid", "decimal", "fractions", "zoneinfo"})


# --- Judges: the span to replace; one of no width to go on behind it; None for "it is not" ------


def _extended(kind: str, text: str, m: re.Match[str], _: int) -> _Span:
    back, run = _RUNS[kind]
    rest = run(text, m.end(kind))
    return m.start() - back, rest.end() if rest else m.end(kind)


def _number(kind: str, text: str, m: re.Match[str], _: int) -> _Span | None:
    start, end = m.span(kind)
    sure = True
    if kind == "us_ssn":
        sure = text[start + 3] == "-" or _SOCIAL(text, max(0, start - 40), start) is not None
    elif kind in {"payment_card", "canada_sin"}:
        digits = m[kind].replace(" ", "").replace("-", "")
        # The last digit is a check digit: ISO/IEC 7812-1, annex B (Luhn).
        weighed = digits[-1::-2] + digits[-2::-2].translate(_DOUBLED)
        sure = not sum(map(int, weighed)) % 10
        sure = sure and (kind != "payment_card" or _ISSUERS(digits) is not None)
    return (start, end) if sure else None


def _iban(_: str, text: str, m: re.Match[str], __: int) -> _Span | None:
    """Judge by country, its length and the check digits (ISO 13616, ISO 7064 mod 97-10)."""
    start = m.start() - 2
    at = _IBAN_LENGTHS.find(text[start : start + 2].upper())
    found = _IBAN_SHAPES[int(_IBAN_LENGTHS[at + 2 : at + 4])](text, start) if at >= 0 else None
    if not found:
        return None
    code = found[0].replace(" ", "")
    if code.islower() and not code[2:].isdigit() and not code.strip("0123456789abcdef"):
        return None  # the id of a span
    return found.span() if int((code[4:] + code[:4]).translate(_BASE_36)) % 97 == 1 else None


def _uk_nino(kind: str, text: str, m: re.Match[str], __: int) -> _Span | None:
    start = m.start() - (3 if text[m.start() - 1] == " " else 2)
    return (start, m.end(kind)) if _EDGE_BEFORE(text, start) else None


def _email(kind: str, text: str, m: re.Match[str], done: int) -> _Span | None:
    at, (_, end) = m.start(), _extended(kind, text, m, done)
    local = _LOCAL_PART(text[max(done, at - 256) : at][::-1])[0]
    if not local or (local == "tig" and text[end : end + 1] in (":", "/")):
        return None  # `git@host:path` is an address for `git clone`, not a person's
    return at - len(local), end


def _connection_string(kind: str, text: str, m: re.Match[str], done: int) -> _Span | None:
    """Judge ``scheme://user:password@host``: on the web the credentials go, elsewhere all of it."""
    colon = m.start()
    scheme = _SCHEME(text[max(done, colon - 24) : colon])[1]
    if ":" not in text[colon + 3 : m.end(kind)] and not scheme.lower().startswith("http"):
        return None  # a user's name; on http it may well be a token
    if scheme.lower().rpartition("+")[2] in _WEB:
        return colon + 3, m.end(kind) - 1
    _, end = _extended(kind, text, m, done)
    return colon - len(scheme), end - len(text[colon:end]) + len(text[colon:end].rstrip(".,;)]}"))


def _bearer_token(kind: str, text: str, m: re.Match[str], done: int) -> _Span | None:
    start, end = _extended(kind, text, m, done)
    value = text[m.start(kind) : end].rstrip(".")
    if text[start + 1] in "eE":
        named = text[max(0, start - 24) : start].rstrip(" :=\"'").lower().endswith("authorization")
        return (start, end) if named or _BEARER_PROOF(value) else None
    try:
        return (start, end) if b":" in a2b_base64(value[:512]) else None
    except ValueError:
        return None


def _api_key(kind: str, text: str, m: re.Match[str], done: int) -> _Span | None:
    body = m.start() + 1
    _, end = _extended(kind, text, m, done)
    if text.endswith(_LIKELY_PREFIXES, 0, body) and not _RANDOM_PART(text, body, end):
        return end, end
    return _KEY_PREFIX(text, max(done, body - 11), body).start(), end


_JUDGES: Final[Mapping[str, Callable[..., _Span | None]]] = {
    **dict.fromkeys((kind for _, kind, _ in _NUMBERS), _number),
    "iban": _iban,
    "uk_nino": _uk_nino,
    "email": _email,
    "connection_string": _connection_string,
    "bearer_token": _bearer_token,
    "api_key": _api_key,
}


class _Engine:
    """The compiled form of one configuration."""

    def __init__(self, config: RedactionConfig) -> None:
        self.config = config
        self.strategy = config.active_strategy
        self.detectors = tuple(config.detectors)
        self.fields = {"".join(_WORDS(name)).lower() for name in config.sensitive_field_names}
        self.search = self._compile(config)
        # Whether a text needs a closer look; with detectors of the caller's own, each does.
        self.suspect = (lambda _: True) if self.detectors else self.search
        self.judges = {**_JUDGES, "credential": self._credential, "signed_url": self._signed_url}
        self.keys: dict[str, bool] = {}  # a cache: is this key, whose text is clean, sensitive?
        self.is_secret = lru_cache(_KNOWN_NAMES)(self._is_secret)

    def _compile(self, config: RedactionConfig) -> Callable[..., re.Match[str] | None]:
        by_chars: dict[str, list[str]] = {}
        shapes = [f"(?P<{kind}>{shape})" for flag, kind, shape in _NUMBERS if getattr(config, flag)]
        if shapes:
            by_chars[_NUMBER_BEGINS] = [_NUMBER_FRAME % "|".join(shapes)]
        for flag, chars, body in _RULES:
            if getattr(config, flag):
                by_chars.setdefault(chars, []).append(body)
        names = [n for n in _SECRET_FIELDS if "".join(_WORDS(n)) in self.fields]
        if names and (config.redact_api_keys or config.redact_connection_strings):
            ends = "|".join({"".join(f"[{c}{c.upper()}]" for c in name[-3:]) for name in names})
            looks = (rf"(?<=(?:{ends}){then})" for then in (".", r"[\"' ].", r"\\[\"']."))
            by_chars[r"[:=](?<=[A-Za-z\"' ].)"] = [f"(?:{'|'.join(looks)})(?P<credential>)"]
        rules = (f"{chars}(?={'|'.join(bodies)})" for chars, bodies in by_chars.items())
        needed = "".join(chars[1 : chars.index("]")] for chars in by_chars)
        return re.compile(f"[{needed}](?<=(?:{'|'.join(rules)}))" if needed else "(?!)").search

    def value(self, item: Any, above: tuple[int, ...]) -> Any:
        """Return the redacted ``item``; ``above`` are the ids of the containers that hold it."""
        kind = type(item)
        if kind is str:
            return self.text(item) if self.suspect(item) else item
        if kind in _PLAIN:
            return item
        if kind is not dict and kind is not list and kind is not tuple:
            return self._other(item, above)
        if id(item) in above:
            return CYCLE_MARKER
        if len(above) >= MAX_DEPTH:
            return DEPTH_MARKER
        return (self._dict if kind is dict else self._items)(item, (*above, id(item)))

    def _dict(self, item: dict[Any, Any], above: tuple[int, ...]) -> dict[Any, Any]:
        keys, suspect, changed = self.keys, self.suspect, None
        for key, child in item.items():
            sensitive = keys.get(key)
            if sensitive is None:
                sensitive = self._key(key)
            if sensitive is False:
                kind = type(child)
                if kind in _PLAIN or (kind is str and not suspect(child)):
                    continue
                new = self.value(child, above)
            elif sensitive:
                new = self._hidden(child)
            else:
                return self._rekeyed(item, above)
            if new is not child:
                if changed is None:
                    changed = item.copy()
                changed[key] = new
        return item if changed is None else changed

    def _key(self, key: Any) -> bool | None:
        """Return whether ``key`` names something sensitive; None if its own text must change."""
        if type(key) in _PLAIN:
            return False
        name = key if isinstance(key, str) else self._str(key)
        if self.text(name) != name:
            return None
        sensitive = self.is_secret(name[-_LONGEST_NAME:])
        if type(key) is str and len(key) <= _LONGEST_NAME:
            if len(self.keys) >= _KNOWN_NAMES:
                self.keys.clear()
            self.keys[key] = sensitive
        return sensitive

    def _is_secret(self, name: str, whole_names: frozenset[str] = frozenset()) -> bool:
        words = [word.lower() for word in _WORDS(name)]
        if len(words) > 1 and words[-1].isdigit() and words[-1][0] != "0":
            words.pop()  # password2
        endings = ["".join(words[at:]) for at in range(len(words))]
        return not self.fields.isdisjoint(endings) or "".join(words) in whole_names

    def _rekeyed(self, item: dict[Any, Any], above: tuple[int, ...]) -> dict[Any, Any]:
        """Return ``item`` anew, in order: two keys that become the same text must both stay."""
        result: dict[Any, Any] = {}
        for key, child in item.items():
            sensitive, name = self._key(key), key
            if sensitive is None:
                text = self._str(key)
                sensitive, name = self.is_secret(text[-_LONGEST_NAME:]), self.text(text)
            taken, count = name, 1
            while name in result or (name is not key and name in item):
                count += 1
                name = f"{taken}#{count}"
            result[name] = self._hidden(child) if sensitive else self.value(child, above)
        return result

    def _items(self, items: Sequence[Any], above: tuple[int, ...]) -> Sequence[Any]:
        if len(items) > _MANY and _PLAIN.issuperset(map(type, items)):
            return items  # an embedding
        changed: list[Any] | None = None
        for at, child in enumerate(items):
            new = self.value(child, above)
            if new is not child:
                if changed is None:
                    changed = list(items)
                changed[at] = new
        if changed is None:
            return items
        return tuple(changed) if isinstance(items, tuple) else changed

    def _other(self, item: Any, above: tuple[int, ...]) -> Any:
        if isinstance(item, str):
            plain = str.__str__(item)
            text = self.text(plain)
            return item if text == plain else text
        if isinstance(item, (int, float, complex)) or type(item).__module__ in _PLAIN_MODULES:
            return item
        if isinstance(item, (bytes, bytearray, memoryview)):
            plain = bytes(item).decode("utf-8", "surrogateescape")
            text = self.text(plain)
            return item if text is plain else text.encode("utf-8", "surrogateescape")
        if id(item) in above or len(above) >= MAX_DEPTH:
            return CYCLE_MARKER if id(item) in above else DEPTH_MARKER
        content = self._content(item)
        new = self.value(content, (*above, id(item)))
        # A model's dict is new each time; what only wraps its content can stay as it is.
        return item if new is content and isinstance(item, (dict, tuple, Enum, PathLike)) else new

    def _content(self, item: Any) -> Any:
        """Return ``item`` as a dict, list, tuple or string; nothing of ``item`` itself is left."""
        try:
            if isinstance(item, Mapping):
                return dict(item)
            if isinstance(item, (Enum, PathLike)):
                return item.value if isinstance(item, Enum) else fspath(item)
            if is_dataclass(item) and not isinstance(item, type):
                return {field.name: getattr(item, field.name) for field in fields(item)}
            if not isinstance(item, type):
                for name in ("model_dump", "dict", "tolist"):
                    if callable(convert := getattr(item, name, None)):
                        return convert()
            if isinstance(item, tuple):
                return tuple(item)
            if isinstance(item, (Sequence, AbstractSet)) and not isinstance(item, range):
                return list(item)
        except Exception as error:
            raise _failed(f"the conversion of a {type(item).__name__}", error) from error
        return self._str(item)

    @staticmethod
    def _str(item: Any) -> str:
        try:
            return str(item)
        except Exception:  # noqa: BLE001 - a broken __str__ must cost the text and not the event
            return f"<{type(item).__module__}.{type(item).__qualname__} object>"

    def text(self, text: str) -> str:
        """Return ``text`` with everything found in it replaced; the same object if nothing is."""
        for detector in self.detectors:
            try:
                found = detector.redact(text, self.strategy)
            except Exception as error:
                raise _failed(f"the detector {_name(detector)}", error) from error
            if not isinstance(found, str):
                raise _failed(f"the detector {_name(detector)}", f"{type(found).__name__} returned")
            text = found
        pieces: list[str] = []
        done = 0
        found_at = self.search(text)
        while found_at is not None:
            category = found_at.lastgroup or ""
            span = self.judges.get(category, _extended)(category, text, found_at, done)
            resume = found_at.start() + 1
            if span is not None:
                start, end = max(span[0], done), span[1]
                # The n of an escaped line break belongs to the JSON around the secret.
                start += text[start - 1 : start] == "\\" and text[start] in "nrt"
                resume = max(resume, end)
                if start < end:
                    quoted = category == "signed_url" or text[max(0, start - 3) : start] == "://"
                    new = self._transformed(text[start:end], category, quoted=quoted)
                    pieces += text[done:start], new
                    done = end
            found_at = self.search(text, resume)
        return "".join((*pieces, text[done:])) if pieces else text

    def _transformed(self, value: str, category: str, *, quoted: bool = False) -> str:
        """Return what the strategy makes of ``value``, in a URL (``quoted``) with its escapes."""
        if quoted:
            from urllib.parse import quote, unquote

            value = unquote(value)
        try:
            new = self.strategy.transform(value, category)
        except Exception as error:
            raise _failed(f"the strategy {_name(self.strategy)}, {category},", error) from error
        if not isinstance(new, str):
            raise _failed(f"the strategy {_name(self.strategy)}", f"{type(new).__name__} returned")
        return quote(new, safe="") if quoted else new

    def _hidden(self, child: Any) -> str:
        if type(self.strategy) is ReplacementStrategy:
            return self.strategy.replacement  # whatever it is, and however long its str() takes
        return self._transformed(self._str(child), "sensitive_field")

    def _signed_url(self, kind: str, text: str, m: re.Match[str], done: int) -> _Span | None:
        if not self.is_secret(m[kind], _QUERY_SECRETS):
            return None
        return m.end(kind) + 1, _extended(kind, text, m, done)[1]

    def _credential(self, _: str, text: str, m: re.Match[str], done: int) -> _Span | None:
        """Judge ``password=...``, ``"api_key": "..."`` and the like within a text."""
        at = m.start()
        before = text[max(done, at - 48) : at].rstrip(" \\\"'")[::-1]
        name = before[: _FIELD(before).end()][::-1]
        is_password = "pass" in name.lower() or "pwd" in name.lower()
        flag = "redact_connection_strings" if is_password else "redact_api_keys"
        if not getattr(self.config, flag) or not self.is_secret(name):
            return None
        found = _ASSIGNED(text, at + 1)
        if found is None:
            return None
        value, (start, end) = found["value"], found.span("value")
        if found["open"] is None:
            if value.lower() in _NOT_VALUES or text[end : end + 1] in ("(", "["):
                return None  # `password=None`, `token=get_token()`
            if text[at] == "=" and (is_password or not found["space"]):
                likely = is_password or len(value) >= _SHORTEST
            else:
                likely = len(value) >= _SHORTEST and _PROOF(value) is not None
            if not likely:
                return None
            if name.lower().endswith("cookie") and (line := _LINE(text, end)):
                end = line.end()
        return start, end


def _name(owner: object) -> str:
    category = getattr(owner, "category", None)
    return type(owner).__name__ + (f"({category!r})" if isinstance(category, str) else "")


def _failed(what: str, why: object) -> RedactionError:
    # Only the kind of an exception is named: its message may quote the value itself.
    reason = type(why).__name__ if isinstance(why, Exception) else why
    return RedactionError(
        f"redaction failed in {what}: {reason}. The value was not passed on unredacted; "
        "fix it, or take it out of the RedactionConfig."
    )
