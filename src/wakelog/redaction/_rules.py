"""What is looked for in a text, and the judges of what is found."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from string import ascii_letters
from typing import Any, Final, cast

# ruff: noqa: SIM905 - a table of short words is read, and compared, best as a text

SECRET_FIELDS: Final = tuple(
    "password passwd pwd passphrase secret token api_key apikey access_key account_key private_key "
    "secret_key authorization auth cookie set_cookie client_secret credentials connection_string "
    "database_url db_url".split()
)
# Secret in a query string, too ordinary to be secret as a field.
QUERY_SECRETS: Final = frozenset(
    "key sig signature credential jwt sid sessionid jsessionid phpsessid awsaccesskeyid sharedkey "
    "xamzsignature xamzcredential xgoogsignature xgoogcredential assertion samlresponse".split()
)
# --- Rules ------------------------------------------------------------------------------------
# The flag that switches it, the characters of which it needs one, and the expression that applies
# right after that character. Its last group names the kind. What it reads there is bounded, or
# begins at a boundary that a run of characters has only once.

_SURE_PREFIXES: Final = tuple(
    "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- pypi- whsec_ xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- "
    "xapp- shpat_ dop_v1_ sk_live_ sk_test_ rk_live_ rk_test_ lsv2_pt_ lsv2_sk_".split()
)
_LIKELY_PREFIXES: Final = tuple(
    "sk- hf_ r8_ npm_ gsk_ xai- pplx- tvly- glsa_ sbp_ figd_ ntn_ sntrys_ lin_api_".split()
)
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


NUMBERS: Final = (
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
NUMBER_BEGINS: Final = rf"[0-9+(]{_edge(1)}(?<![0-9][-.].)(?=[0-9 .-])"
# "(?<=(?=X).)" applies X from the character itself; not part of a longer number or id.
NUMBER_FRAME: Final = r"(?<=(?=(?:%s)(?![0-9]|[-.][0-9])).)"
_AFTER_LETTERS: Final = "[0-9](?<=[A-Za-z][A-Za-z ].)"
RULES: Final = (
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
    ("redact_api_keys", f"[S]{_edge(1)}", r"G\.[\w-]{16,32}\.[\w-]{16}(?P<sendgrid_key>)"),
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
        ("sendgrid_key", 0, r"[\w-]*+"),
        ("email", 0, r"[\w-]*+(?:\.[\w-]+)*+"),
        ("google_api_key", 0, r"[\w-]*+"),
        ("jwt", 2, r"(?:\.[\w-]*+){0,3}"),
        ("private_key", 5, r"(?:[^-]|-(?!----END))*+(?:-----END[^-]{0,60}-----)?"),
        ("signed_url", 0, r"=[^\s&#\"'<>)\]\\]*+"),
    )
}
ASSIGNED: Final = _Lazy(
    r"[=>]?(?P<space>\s{0,3})(?P<open>\\{0,3}[\"'])?(?P<value>(?(open)"
    r"(?:(?!(?<!\\)(?P=open))[^\r\n]){1,4096}+|[^\s\"'&;,<>(){}\[\]\\|]{1,4096}+))"
)
WORDS: Final = _Lazy(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7f]+", "findall")
_EDGE_BEFORE: Final = _Lazy(_edge(0))
FIELD: Final = _Lazy(r"[\w -]*+")
_LOCAL_PART: Final = _Lazy(r"[\w.+%-]*+")
_SCHEME: Final = _Lazy(r"(?:(?<=\\)[nrt])?([A-Za-z][A-Za-z0-9+.-]*|)\Z", "search")
_KEY_PREFIX: Final = _Lazy(
    r"(?:github_|[a-z0-9]+_(?=live|test|pt|sk|v1|api))?[a-z0-9]+.\Z", "search"
)
_RANDOM_PART: Final = _Lazy(r"[^\W_]{20}|(?=[A-Za-z]{0,63}[0-9])[^\W_]{10}", "search")
PROOF: Final = _Lazy(r"[0-9!@#$%^*+/=~]|.{20}", "search")
_ISSUERS: Final = _Lazy(  # of 16, 15 and 14 digits
    r"(?=.{16}\Z)(?:4|5[1-5]|2[2-7]|6011|6[245]|35)|(?=.{15}\Z)3[47]|(?=.{14}\Z)3(?:0[0-5]|6|8)"
)
_SOCIAL: Final = _Lazy(r"(?i)(?<![a-z])(?:ssn|social)(?![a-z])", "search")
_WEB: Final = frozenset({"http", "https", "ws", "wss", "ftp", "ftps", "sftp", "ssh", "git"})
NOT_VALUES: Final = frozenset(
    {"none", "null", "true", "false", "undefined", "bearer", "basic", "digest"}
)
LINE: Final = _Lazy(r"[^\r\n\"']{0,4096}+")
_BEARER_PROOF: Final = _Lazy(r"[0-9._=+]|.{20}", "search")
_IBAN_SHAPES: Final = {
    length: _Lazy(f"[0-9A-Za-z](?: ?[0-9A-Za-z]){{{length - 1}}}(?![0-9A-Za-z])")
    for length in range(15, 34)
}
_BASE_36: Final = {ord(c): str(int(c, 36)) for c in ascii_letters}
_DOUBLED: Final = str.maketrans("123456789", "246813579")
SHORTEST: Final = 6  # characters of a secret without quotation marks
MANY: Final = 16
KNOWN_NAMES: Final = 4096
LONGEST_NAME: Final = 64
Span = tuple[int, int]
PLAIN: Final = frozenset({int, float, bool, complex, type(None)})
PLAIN_MODULES: Final = frozenset({"datetime", "uuid", "decimal", "fractions", "zoneinfo"})


# --- Judges: the span to replace; one of no width to go on behind it; None for "it is not" ------


def extended(kind: str, text: str, m: re.Match[str], _: int) -> Span:
    back, run = _RUNS[kind]
    rest = run(text, m.end(kind))
    return m.start() - back, rest.end() if rest else m.end(kind)


def _number(kind: str, text: str, m: re.Match[str], _: int) -> Span | None:
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


def _iban(_: str, text: str, m: re.Match[str], __: int) -> Span | None:
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


def _uk_nino(kind: str, text: str, m: re.Match[str], __: int) -> Span | None:
    start = m.start() - (3 if text[m.start() - 1] == " " else 2)
    return (start, m.end(kind)) if _EDGE_BEFORE(text, start) else None


def _email(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    at, (_, end) = m.start(), extended(kind, text, m, done)
    local = _LOCAL_PART(text[max(done, at - 256) : at][::-1])[0]
    if not local or (local == "tig" and text[end : end + 1] in (":", "/")):
        return None  # `git@host:path` is an address for `git clone`, not a person's
    return at - len(local), end


def _connection_string(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    """Judge ``scheme://user:password@host``: on the web the credentials go, elsewhere all of it."""
    colon = m.start()
    scheme = _SCHEME(text[max(done, colon - 24) : colon])[1]
    if ":" not in text[colon + 3 : m.end(kind)] and not scheme.lower().startswith("http"):
        return None  # a user's name; on http it may well be a token
    if scheme.lower().rpartition("+")[2] in _WEB:
        return colon + 3, m.end(kind) - 1
    _, end = extended(kind, text, m, done)
    return colon - len(scheme), end - len(text[colon:end]) + len(text[colon:end].rstrip(".,;)]}"))


def _bearer_token(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    start, end = extended(kind, text, m, done)
    value = text[m.start(kind) : end].rstrip(".")
    if text[start + 1] in "eE":
        named = text[max(0, start - 24) : start].rstrip(" :=\"'").lower().endswith("authorization")
        return (start, end) if named or _BEARER_PROOF(value) else None
    try:
        return (start, end) if b":" in a2b_base64(value[:512]) else None
    except ValueError:
        return None


def _api_key(kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
    body = m.start() + 1
    _, end = extended(kind, text, m, done)
    if text.endswith(_LIKELY_PREFIXES, 0, body) and not _RANDOM_PART(text, body, end):
        return end, end
    return _KEY_PREFIX(text, max(done, body - 11), body).start(), end


JUDGES: Final[Mapping[str, Callable[..., Span | None]]] = {
    **dict.fromkeys((kind for _, kind, _ in NUMBERS), _number),
    "iban": _iban,
    "uk_nino": _uk_nino,
    "email": _email,
    "connection_string": _connection_string,
    "bearer_token": _bearer_token,
    "api_key": _api_key,
}
