"""The rules, and the one expression that finds all candidates of a configuration."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from string import ascii_lowercase
from typing import TYPE_CHECKING, Final

from wakelog.redaction._fields import SECRET_FIELDS
from wakelog.redaction._names import compact, words_of

if TYPE_CHECKING:
    from wakelog.redaction import RedactionConfig

# ruff: noqa: SIM905 - a table of short words is read, and compared, best as a text

# Sensitive as a whole field only, because with another word they differ (``gpio_pin``).
WHOLE_FIELDS: Final = frozenset({"pin", "bearer"})
CODES: Final = frozenset({"pin", "otp"})  # their values are a few digits
# Sensitive in a query string only, because they are too common as fields.
QUERY_SECRETS: Final = frozenset(
    "key sig signature credential jwt sid sessionid jsessionid phpsessid awsaccesskeyid sharedkey "
    "xamzsignature xamzcredential xgoogsignature xgoogcredential assertion samlresponse".split()
)
# --- Rules ------------------------------------------------------------------------------------
# The setting that enables the rule, the characters one of which it requires, and the expression
# that applies right after that character. Its last group names the kind. Its length is bounded, or
# it begins at a boundary that occurs only once in a sequence of characters.

SURE_PREFIXES: Final = tuple(
    "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- pypi- whsec_ xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- "
    "xapp- shpat_ dop_v1_ sk_live_ sk_test_ rk_live_ rk_test_ lsv2_pt_ lsv2_sk_ glptt- gldt- glrt- "
    "xoxc- xoxd- shpss_ shpca_ dor_v1_ dckr_pat_ sq0atp- sq0csp- AGE-SECRET-KEY-".split()
)
LIKELY_PREFIXES: Final = tuple(
    "sk- hf_ r8_ npm_ gsk_ xai- pplx- tvly- glsa_ sbp_ figd_ ntn_ sntrys_ lin_api_ nvapi- pcsk_ "
    "rubygems_ nfp_ sntryu_ phx_ GOCSPX- PMAK- ghes_ csk- jina_ fly_ vcp_ pul- key- tskey- rpa_".split()
)
_IBANS: Final = (
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24"
    "FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32"
    "LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24"
    "RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"
)
IBAN_LENGTHS: Final = {
    _IBANS[at : at + 2]: int(_IBANS[at + 2 : at + 4]) for at in range(0, len(_IBANS), 4)
}


# Zero-width characters and non-breaking spaces.
_NO_WIDTH: Final = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
_SPACES: Final = "\u00a0\u2007\u202f"
INVISIBLE: Final = _NO_WIDTH + _SPACES
_no_width: Final = re.compile(f"[{_NO_WIDTH}]+").sub
_spaces: Final = re.compile(f"[{_SPACES}]").sub


def visible(text: str) -> str:
    """Return a text without zero-width characters, and with plain spaces."""
    return _spaces(" ", _no_width("", text))


def edge(width: int) -> str:
    """Return an expression for "no letter or digit before the last ``width`` characters"."""
    # The n of an escaped line break, in JSON within a text, does not count as a letter.
    dots = "." * width
    return rf"(?:(?<![0-9A-Za-z]{dots})|(?<=\\[nrt]{dots}))"


def _after(prefixes: Collection[str]) -> str:
    """Return an expression for "right after one of these", with one look-behind per width."""
    by_width: dict[int, list[str]] = {}
    for word in prefixes:
        by_width.setdefault(len(word), []).append(re.escape(word))
    ways = (f"(?<={'|'.join(same)}){edge(width)}" for width, same in by_width.items())
    # A fast check: most other words end in letters that no prefix ends in.
    first, last = ("".join(sorted({word[at] for word in prefixes})) for at in (-3, -2))
    pairs: dict[str, set[str]] = {}
    for word in prefixes:
        pairs.setdefault(word[-3], set()).add(word[-2])
    pair = "|".join(f"{one}[{''.join(sorted(two))}]." for one, two in sorted(pairs.items()))
    return f"(?<=[{first}][{last}].)(?<={pair})(?:{'|'.join(ways)})"


_D3, _D4 = "[0-9][0-9][0-9]", "[0-9][0-9][0-9][0-9]"
# The expressions that follow three digits.
NUMBERS: Final = (
    (
        "redact_payment_cards",
        "payment_card",
        rf"[0-9](?<=[2-6]...)(?:[ -]{_D3}{_D3}[ -]{_D4}[0-9]?|{_D4}[0-9]{{6,8}}(?![A-Za-z_])|%s)"
        % "|".join(sep + sep.join([_D4] * 3) for sep in " -"),
    ),
    (
        "redact_ssns",
        "us_ssn",
        rf"(?:-[0-9][0-9]-{_D4}|(?: [0-9][0-9] |[0-9][0-9]){_D4}(?![A-Za-z_]))",
    ),
    (
        "redact_international_ids",
        "canada_sin",
        rf"(?:-{_D3}-{_D3}| (?<![0-9] ....){_D3} {_D3}(?! [0-9]))",
    ),
    ("redact_international_ids", "brazil_cpf", rf"\.{_D3}\.{_D3}-[0-9][0-9]"),
    (
        "redact_phone_numbers",
        "us_phone",
        rf"(?<=[2-9]..)(?:[ .-]|\)[ .-]?)[2-9][0-9][0-9][ .-]{_D4}",
    ),
)
_NO_MORE_DIGITS: Final = "(?![0-9]|[-.][0-9])"
_NUMBER: Final = (
    rf"(?=[0-9][0-9](?:[0-9]|[ .)-][0-9 .-])){edge(1)}(?:(?<![0-9][-.].)"
    # The country code of a US phone number.
    rf"|(?<=1[-.].)(?<![0-9][-.]...){edge(3)}(?=[0-9][0-9][ .-]{_D3}[ .-]{_D4}))"
    rf"[0-9][0-9](?:%s){_NO_MORE_DIGITS}"
)
# Two letters that are not part of a longer word.
_AFTER_LETTERS: Final = (
    f"[0-9](?<=[A-Za-z][A-Za-z ].)(?:{edge(3)}|(?<= .){edge(4)})(?=[0-9][0-9A-Za-z ]{{5}})"
)
_LETTER: Final = rf"[ABSb](?=[Aa][Ss]|[Ee][AGa]|[KS]I|Iz|G\.){edge(1)}"
RULES: Final = (
    (
        "redact_international_phone_numbers",
        rf"[+](?=[1-9][0-9 .()-]{{7}}){edge(1)}(?<![0-9][-.].)",
        "[1-9]" + 7 * "[ .()-]{0,2}+[0-9]" + "(?:[ .()-]{0,2}+[0-9]){0,7}"
        rf"(?P<international_phone>){_NO_MORE_DIGITS}",
    ),
    (
        "redact_emails",
        r"[@](?<=[\w.+%-]@)",
        r"[\w-]{1,63}+\.(?:[\w-]{1,63}+\.){0,7}?[^\W\d_]{2}(?P<email>)",
    ),
    (
        "redact_international_ids",
        _AFTER_LETTERS,
        (
            r"[0-9](?:(?<=[A-Za-z]{2}..)|(?<=[A-Z]{2} ..)) ?[0-9][0-9] ?[0-9][0-9] ?"
            r"[A-Da-d](?P<uk_nino>)(?![0-9A-Za-z])"
        ),
    ),
    (
        "redact_ibans",
        _AFTER_LETTERS,
        r"[0-9](?<=[A-Za-z]{2}..)[0-9A-Za-z ]{11}(?P<iban>)",
    ),
    ("redact_jwts", "[J]", r"(?<=eyJ)(?<![\w-]eyJ)[\w-]{7,}+\.\.?(?P<jwt>[\w-]{4,}+)"),
    (
        "redact_bearer_tokens",
        _LETTER,
        (
            r"[EeAa](?<=[Bb].)(?:[Aa][Rr][Ee][Rr]|[Ss][Ii][Cc])\s{1,3}[\"']?"
            r"(?P<bearer_token>[\w.~+/=-]{3})"
        ),
    ),
    ("redact_api_keys", _LETTER, r"E(?<=-----BE)GIN [A-Z0-9 ]{0,40}PRIVATE KEY(?P<private_key>)"),
    ("redact_api_keys", _LETTER, r"[KS](?<=A.)IA[A-Z0-9]{16}(?![A-Z0-9])(?P<aws_access_key>)"),
    ("redact_api_keys", _LETTER, r"I(?<=A.)za[\w-]{30}(?P<google_api_key>)"),
    ("redact_api_keys", _LETTER, r"G(?<=S.)\.[\w-]{16,32}\.[\w-]{16}(?P<sendgrid_key>)"),
    (
        "redact_api_keys",
        r"[_\-]",
        rf"{_after(SURE_PREFIXES + LIKELY_PREFIXES)}[\w-]{{16}}(?P<api_key>)",
    ),
    (
        "redact_api_keys",
        "[.]",
        (
            r"(?<=[v2][s9].)(?<=hvs.|a29.)(?:(?<![\w.]hvs.)(?<=hvs.)|(?<=ya29.)(?<![\w.]ya29.))"
            r"[\w-]{20}(?P<dotted_key>)"
        ),
    ),
    (
        "redact_api_keys",
        "[/]",
        (
            r"(?:(?<=hooks\.slack\.com.)(?:services|workflows|triggers)/|(?<=hooks\.zapier\.com.)hooks/catch/"
            r"|(?<=discord\.com.|cordapp\.com.)api/webhooks/|(?<=api\.telegram\.org.)bot[0-9]"
            r"|(?<=webhook\.office\.com.)webhookb2/)(?P<webhook>)"
        ),
    ),
    (
        "redact_connection_strings",
        "[%]",
        (
            r"(?<=[A-Za-z0-9]%)3[Aa]%2[Ff]%2[Ff]"
            r"(?:(?!%2[Ff]|%40)[^\s/?#&\"'<>]){1,256}+%40(?P<encoded_url>)"
        ),
    ),
    ("redact_connection_strings", "[:]", r"//[^\s/?#\"'<>\\]{1,256}@(?P<connection_string>)"),
)


_LETTERS: Final = 3  # the number of last letters of a name that are checked first


def _either_case(word: str) -> str:
    return "".join(f"[{c}{c.upper()}]" if c in ascii_lowercase else r"[^A-Za-z]" for c in word)


def _assignment(names: Collection[str]) -> tuple[str, str]:
    """Return the rule for ``password=...``: the characters it needs, and the rest.

    The name has to end like one of ``names``: in its last four letters, or in its last three after
    the beginning of its last word.
    """
    ends: dict[str, str] = {}
    for name in names:
        words = words_of(name)
        before = "".join(words)[:-3][-1:]
        allowed = before + before.upper() if before else r"\s\S"
        if len(words) > 1 and len(words[-1]) == _LETTERS:
            allowed += r"_ \-"
        ends[name[-3:]] = allowed + ends.get(name[-3:], "")
    end = "|".join(f"[{allowed}]{_either_case(three)}" for three, allowed in sorted(ends.items()))
    short = "|".join(_either_case(name) for name in names if len(name) == _LETTERS)
    third, second, last = (
        "".join(sorted({three[at] + three[at].upper() for three in ends})) for at in range(_LETTERS)
    )
    ways = (
        rf"(?<=[{last}]{then})(?<=(?:{end}){then})" + (short and rf"|(?<=\A(?:{short}){then})")
        for then in (".", r"[\"' `].", r"\\[\"'].", r"\\{3}[\"'].", r"\\{7}[\"'].", r"\*\*.")
    )
    likely = (
        rf"(?<=(?:[{third}][{second}][{last}]|[{second}][{last}][\"' `]|[{last}](?:\\[\"']|\*\*)"
        rf"|\\\\[\"']).)"
    )
    return f"[:=]{likely}", f"(?:{'|'.join(ways)})(?P<credential>)"


def _beside(names: Collection[str]) -> dict[str, str]:
    """Return the rules for a value that follows its name, by the character they require."""
    three = "|".join(sorted({_either_case(name[-3:]) for name in names}))
    last = "".join(sorted({end for name in names for end in (name[-1], name[-1].upper())}))
    spaced = "|".join(
        f"(?<=[{last}]{then})(?<=(?:{three}){then})" for then in (".", " .", "[`*] .", r"\*\* .")
    )
    return {
        "[>]": f"(?<=[{last}].)(?<=(?:{three}).)(?P<element>)",
        "[;]": f"(?<=[{last}]&gt.)(?<=(?:{three})&gt.)(?P<escaped_element>)",
        "[|]": f"(?:{spaced})(?P<cell>)",
        "[,]": rf"(?:(?<=[{last}][\"'].)(?<=(?:{three})[\"'].)|(?<=(?:{three})\\[\"'].)"
        rf"|(?<=(?:{three})\\\\\\[\"'].))\s{{0,40}}\\{{0,7}}[\"'](?P<pair>)",
        "[=]": rf"(?<=[\"'] [Vv]alue.)(?<=(?:{three})[\"'] [Vv]alue.)[\"'](?P<attribute>)",
        "[\n]": rf"(?=[ v])(?<=[{last}\"']\n)(?:(?<=(?:{three})\n)|(?<=(?:{three})[\"']\n))[ ]{{0,40}}value:(?P<setting>)",
        r"[\-]": r"(?=[A-Za-z])(?<=--)(?<![\w.-]--)(?P<flag>[A-Za-z][\w-]{2,40}+)(?=[ \\\"'])"
        r"|[upa](?<=[\s\"']-.)(?=[\w \"'])(?P<short_flag>)",
    }


def _parameter(names: Collection[str]) -> tuple[str, str]:
    """Return the rule for ``?token=...`` in the same way, by the last three letters of names."""
    ends: dict[str, str] = {}
    for name in names:
        third = name[-3:-2]
        third = third + third.upper() if third in set(ascii_lowercase) else r"\s\S"
        ends[name[-2:]] = third + ends.get(name[-2:], "_.~-")
    last = "".join(sorted({end[-1:] for name in names for end in (name, name.upper())}))
    end = "|".join(f"[{third}]{_either_case(two)}" for two, third in sorted(ends.items()))
    likely = rf"(?:(?<=[{last}]=)(?<=(?:{end})=)|(?<=[^A-Za-z]=))"
    shortest = min(map(len, names), default=0)
    if shortest < _LETTERS:
        likely = ""  # too short to distinguish them from other names
    return "[?&#]", (
        rf"(?P<signed_url>[\w.~%-]{{{min(shortest, _LETTERS) or 1},64}}+)={likely}"
        r"[^\s&#\"'<>)\]\\]"
    )


def _inner(by_chars: Collection[str]) -> str:
    return "".join(chars[1 : chars.index("]")] for chars in by_chars)


def expression(config: RedactionConfig, fields: AbstractSet[str]) -> re.Pattern[str]:
    """Return the expression that finds candidates; the last group of a match names the kind.

    Args:
        config: The settings, which enable the kinds.
        fields: The compact forms of the sensitive names (``apikey``).
    """
    by_chars: dict[str, list[str]] = {}
    shapes = [f"{shape}(?P<{kind}>)" for flag, kind, shape in NUMBERS if getattr(config, flag)]
    if shapes:
        by_chars["[0-9]"] = [_NUMBER % "|".join(shapes)]
    for flag, chars, body in RULES:
        if getattr(config, flag):
            by_chars.setdefault(chars, []).append(body)
    names = [name for name in SECRET_FIELDS if compact(name) in fields]
    if "password" in names:
        names += sorted(WHOLE_FIELDS)
    beside: dict[str, str] = {}
    if names and (config.redact_api_keys or config.redact_connection_strings):
        chars, body = _assignment(names)
        by_chars[chars] = [body]
        beside = _beside(names)
        by_chars.setdefault(r"[_\-]", []).append(beside.pop(r"[\-]"))
    if config.redact_signed_urls:
        chars, body = _parameter(fields | QUERY_SECRETS)
        by_chars[chars] = [body]
    if by_chars:
        by_chars[f"[{INVISIBLE}]"] = [
            f"(?<![{INVISIBLE}].)(?P<invisible>)"
        ]  # the text is then scanned again without them
    if not by_chars:
        return re.compile("(?!)")
    rules = "|".join(f"{chars}(?={'|'.join(bodies)})" for chars, bodies in by_chars.items())
    if beside:
        # As one rule, they cost only one comparison at the characters of other rules.
        few = "|".join(f"{chars}(?={body})" for chars, body in beside.items())
        rules = f"{rules}|(?=[{_inner(beside)}])(?:{few})"
    needed = _inner(by_chars) + _inner(beside)
    # Most digits are in sequences, and only the first digits of a sequence can begin a candidate.
    return re.compile(f"[{needed}](?<![0-9][0-9])(?<=(?:{rules}))")
