"""Forms in which secrets stand in what agents handle, and what only has the same form.

What goes stands between « and »; a value may also be a structure. ``scripts/measure_redaction.py`` counts
them by form.
"""

from __future__ import annotations

from typing import Any, Final

FORMS_THAT_GO: Final[list[tuple[str, Any]]] = [
    *(("flag", text) for text in (
        "mysql --user root --password «hunter2» shop", "deploy --token «a8f5f167f44f4964»", "x --api-key «k1-9a8b7c»",
        "az login --password '«S3 cret!»' -u me", 'gh --secret "«wJ8xyz12»"', "tool --client-secret «8xyz~AbC.dEf»",
        "curl -u admin:«hunter2» https://e.com", "curl --user ann:«s3cr3t» -X POST https://e.com/x",
        "curl -s -u 'svc:«p@ss w0rd»' https://e.com", "sshpass -p «hunter2» ssh me@host.local ls", "mysql -uroot -p«t00r» shop",
        "redis-cli -h cache -a «f00bar» ping", '["mysql", "--password", "«hunter2»", "shop"]', "psql --db-password «hunter2»\n",
        "docker login --username u --password «dckr123» reg.io", "run --passphrase «hunter22» && ls", "x --auth-token «abc123def»",
        "java -jar a.jar --access-key «ZZ19ab»",
    )),
    ("flag", ["mysql", "--password", "«hunter2»", "shop"]), ("flag", ["curl", "-u", "«admin:hunter2»", "https://e.com"]),
    ("flag", ["tool", "--api-key", "«whatever»"]), ("flag", {"args": ("--token", "«opensesame»")}),
    ("headers", [["X-Api-Key", "«plainvalue»"], ["Accept", "text/html"]]), ("headers", [("Authorization", "«Token x»")]),
    ("headers", {"headers": [("cookie", "«sid=abc»"), ("host", "e.com")]}), ("headers", [(b"authorization", b"\xc2\xabToken abcdef\xc2\xbb")]),
    ("headers", '[["X-Api-Key", "«a1b2c3d4»"], ["Accept", "*/*"]]'), ("headers", "[('x-api-key', '«a1b2c3d4»')]"),
    ("headers", "curl -H 'X-Api-Key: «a1b2c3d4»' https://e.com"), ("headers", ["X-Auth-Token: «a1b2c3d4»", "Accept: */*"]),
    ("name and value", {"name": "password", "value": "«hunter»"}), ("name and value", {"key": "API_KEY", "value": "«abc»"}),
    ("name and value", [{"Name": "DB_PASSWORD", "Value": "«x y»"}]), ("name and value", {"key": "auth.token", "value": {"stringValue": "«abc»"}}),
    ("name and value", {"header": "X-Api-Key", "value": "«abc»"}), ("name and value", {"field": "password", "content": "«abc»"}),
    ("name and value", '{"name": "password", "value": "«hunter»"}'), ("name and value", '{"name":"API_KEY","value":"«abc»"}'),
    ("name and value", '<add key="password" value="«hunter»"/>'), ("name and value", "<param name='token' value='«abcdef»'>"),
    ("name and value", r'"{\"key\": \"db_password\", \"value\": \"«hunter»\"}"'), ("name and value", "- name: DB_PASSWORD\n  value: «hunter22»\n"),
    ("xml", "<password>«hunter»</password>"), ("xml", "<user>ann</user><ns:apiKey>«abcdef»</ns:apiKey>"), ("xml", "<Token>«abc def»</Token>"),
    ("xml", "<client_secret>\n  «abcdef»\n</client_secret>"), ("xml", "&lt;password&gt;«hunter»&lt;/password&gt;"), ("xml", '<wsse:Password Type="x">«hunter»</wsse:Password>'),
    ("encoded url", "url=«postgres%3A%2F%2Fapp%3As3cr3t%40db.internal%3A5432%2Fshop»&x=1"), ("encoded url", "next=«mongodb%3a%2f%2fu%3ap%40h%2fdb»"),
    ("encoded url", "DSN «https%3A%2F%2Fabc123%40sentry.io%2F1»"), ("encoded url", "amqp «amqps%3A%2F%2Fsvc%3Ap%2540ss%40mq.example»"),
    ("nested json", r'{"a": "{\"password\": \"«hunter»\"}"}'), ("nested json", r'"{\"a\": \"{\\\"password\\\": \\\"«hunter»\\\"}\"}"'),
    ("nested json", r'\\\"api_key\\\":\\\"«abcdef»\\\"'), ("nested json", r'\\\\\\\"token\\\\\\\":\\\\\\\"«abcdef»\\\\\\\"'),
    ("nested json", {"body": r'{"x": "{\"y\": \"{\\\"secret\\\": \\\"«abcdef»\\\"}\"}"}'}),
    *(("plural or container", {name: value}) for name, value in (
        ("passwords", ["«aq7»"]), ("tokens", ["«bq7»", "«c»"]), ("api_keys", {"x": "«abc»"}), ("secrets", {"db": "«abc»"}), ("bearer", "«abc»"),
        ("pin", "«4821»"), ("otp", "«123456»"), ("sms_otp", "«123456»"), ("passcode", "«0000»"), ("credential", "«abc»"), ("cookies", {"a": "«bq7»"}),
        ("access_tokens", ["«aq7»"]), ("refreshTokens", ["«aq7»"]), ("privateKeys", ["«aq7»"]), ("user_passwords", "«a,b»"), ("webhook_url", "«https://h/x»"),
        ("dsn", "«host=h user=u»"), ("jwt", "«abc»"), ("mfa_code", "«123456»"), ("security_code", "«123»"), ("recovery_codes", ["«ab-cd»"]),
        ("signing_key", "«abc»"), ("encryption_key", "«abc»"), ("totp_secret", "«abc»"), ("card_pin", "«4821»"),
    )),
    ("plural or container", '{"passwords": ["«hunter», «two»"]}'), ("plural or container", '"otp": "«123456»"'), ("plural or container", "otp=«123456»"),
    ("plural or container", "PIN: «4821»"), ("plural or container", "passcode: «482193»"),
    *(("webhook", text) for text in (
        "post to https://hooks.slack.com/«services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX»", "https://discord.com/«api/webhooks/123456789012345678/AbC-dEf_123»",
        "https://discordapp.com/«api/webhooks/1234/abcd»!", "https://api.telegram.org/«bot123456:ABC-DEF1234ghIkl/sendMessage»",
        "https://hooks.zapier.com/«hooks/catch/123456/abcdef/»", "https://acme.webhook.office.com/«webhookb2/1b2c3d@4e/IncomingWebhook/5f»",

    )),
    *(("key", f"key «{prefix}{'aB3dE6gH9jK2mN5pQ8sT1vW4'}» used") for prefix in (
        "nvapi-", "pcsk_", "glptt-", "gldt-", "glrt-", "xoxc-", "xoxd-", "shpss_", "shpca_", "rubygems_", "nfp_", "sntryu_", "phx_",
        "GOCSPX-", "PMAK-", "ghes_", "csk-", "jina_", "fly_", "vcp_", "sq0atp-", "sq0csp-", "dckr_pat_", "pul-", "key-", "sk-lf-", "tskey-", "rpa_",
        "dor_v1_", "hf_", "gsk_",
    )),
    ("key", "databricks «dapi0123456789abcdef0123456789abcdef»"), ("key", "vault «hvs.CAESIAbCdEfGhIjKlMnOpQrStUvWxYz0123456789»"),
    ("key", "google «ya29.a0AfH6SMBxyz0123456789abcdefgh»"), ("key", "age «AGE-SECRET-KEY-1QL3Z7HJY54PW3HYWW5AYYFG7ZQGVC7W3J2ELW8ZMRJ2KG5SFN9»"),
    ("invisible", "pass\u200bword=«hunter2»"), ("invisible", "password\u00a0=\u00a0«hunter2»"), ("invisible", "to«ken»: «abc123def456»".replace("«ken»", "\u200dken")),
    ("invisible", "api\u2060_key=«abcdef12»"), ("invisible", "key «ghp_16C7e42F292c6912E7710c838347Ae178B4a»".replace("ghp_", "ghp\ufeff_")), ("invisible", "mail «bob@\u200bexample.com»"),
    ("invisible", "card «4111\u00a01111\u00a01111\u00a01111»"), ("invisible", "call «+44\u202f20\u202f7946\u202f0958»"),
    ("markdown", "| password | «hunter2» |"), ("markdown", "| user | ann |\n| API key | «a1b2c3d4e5» |"), ("markdown", "|token|«abc123def»|"),
    ("markdown", "| **password** | `«hunter2»` |"), ("markdown", "- **Password:** «hunter2»"), ("markdown", "| Client secret | `«8xyz~AbC.dEf»` | x |"),
    ("markdown", "`password`: `«hunter2»`"),
]  # fmt: skip

FORMS_THAT_STAY: Final[list[tuple[str, Any]]] = [
    *(("flag", text) for text in (
        "use the --password flag to log in", "--token is required", "--password <password>", "--api-key $API_KEY", "--token-limit 4096", "--max-tokens 4096",
        "docker run -u 1000:1000 img", "python -u main.py", "pass --secret, or --token, to it", "tar -p -x a", "mkdir -p a/b1", "cp -a x1 y", "sort -u a:b", "--no-password --verbose",
        "options: --password --user --host", "--tokenizer cl100k_base", "curl -X POST https://e.com:80/a", "--password TEXT  The password.", "ssh -p 2222 host", "--auth none --x 1",
    )),
    ("flag", ["git", "log", "-p"]), ("flag", ["--password"]), ("flag", ["--token-limit", "4096"]), ("flag", ["-u", "main.py"]), ("flag", ["--password", "--user", "x"]),
    ("headers", ["username", "password", "email"]), ("headers", ("token", "cookie")), ("headers", '["username", "password", "email1"]'), ("headers", '["password", "email"]'),
    ("headers", [["Accept", "text/html"], ["Host", "e.com"]]), ("headers", "Content-Type: application/json"),
    ("name and value", {"name": "temperature", "value": "0.7"}), ("name and value", {"name": "password", "type": "string"}), ("name and value", {"key": "max_tokens", "value": 4096}),
    ("name and value", '{"name": "password", "type": "string"}'), ("name and value", '{"name": "city", "value": "Lisbon 2"}'), ("name and value", '<input name="q" value="x1"/>'), ("name and value", {"name": "token_count", "value": 3}),
    ("xml", "<tokens>812</tokens>"), ("xml", "<password/>"), ("xml", "<password></password>"), ("xml", "<b>token</b> of 1 thing"), ("xml", "if a<token>b: pass1"), ("xml", "<label>Password</label><input>"), ("xml", "<author>Ann 1</author>"),
    ("encoded url", "https%3A%2F%2Fe.com%2Fa"), ("encoded url", "redirect=https%3A%2F%2Fe.com%2F%40ann"), ("encoded url", "100%3A%2F"),
    ("nested json", r'{"a": "{\"max_tokens\": \"4096\"}"}'), ("nested json", r'{\"city\": \"Lisbon 2\"}'),
    *(("plural or container", {name: value}) for name, value in (
        ("tokens", 812), ("input_tokens", 812), ("total_tokens", 5), ("max_tokens", 4096), ("prompt_tokens_details", {"cached_tokens": 1}), ("passwords", 3), ("token_count", 5), ("gpio_pin", 13),
        ("pinned", True), ("spin", 1), ("output_tokens", [1, 2]), ("completion_tokens", "17"), ("keys", ["a", "b"]), ("key", "a"), ("bearer_of_news", "x"), ("options", "a"), ("secretary", "Ann"), ("codes", [1]), ("code", 200), ("status_code", 404), ("keywords", "x"),
    )),
    *(("plural or container", text) for text in (
        "spin: 4821", "the pin: red", "pins: 4000", "tokens: 81234567", "total_tokens=1234567", "secrets: see below", "pinned: 12345", "pin 13", "two passwords: one for each",
        "option: 482193", "cookies: enabled", "opt=123456", "shopping: 4821",
    )),
    *(("webhook", text) for text in (
        "https://api.slack.com/messaging/webhooks", "https://discord.com/developers/docs", "https://core.telegram.org/bots/api", "https://hooks.slack.com/", "https://e.com/hooks/catch/1", "https://discord.com/channels/1/2",
    )),
    *(("key", text) for text in (
        "key-value-pair-of-something-long", "fly_to_the_moon_and_back_again", "jina_embeddings_documentation", "pul-", "phx_airport_to_somewhere_else", "monkey-business-in-the-forest-again", "a csk-like-thing-in-a-sentence",
        "vcp_", "nvapi-docs", "dapi", "hvs.py", "tskey-authentication-documentation", "rpa_robotic_process_automation_tool", "key-based-authentication-is-recommended",
    )),
    *(("invisible", text) for text in (
        "bonjour\u00a0!", "\u200bhello", "👩\u200d💻 at work", "1\u202f000\u202f000 rows", "soft\u00adhyphen", "می\u200cخواهم", "pass\u200bport: required", "20\u00a0%", "\ufeff{}",
    )),
    *(("markdown", text) for text in (
        "| password | string | required |", "| token | count |", "|---|---|", "| tokens | 81234 |", "| name | type |\n|---|---|\n| password | str |", "| Token usage | 12345 |", "a || b | c", "| `password` | The password to use. |",
        "**Password:** required", "`token`: `str`", "| secret | no |", "| max_tokens | 4096 |",
    )),
    *(("prose", text) for text in (
        "She kept the secret for years, and told nobody.", "A token of my gratitude: flowers.", "The bearer of this letter is my friend.", "Pin it to the board at 10:30.", "My cookies: chocolate, oats & raisins.",
        "Password rules: at least 12 characters, one digit.", "Please reset my password - I forgot it.", "Our key result: 12 % more users.", "Authorization: see chapter 4.", "The credentials were checked by the clerk.",
        "Tokens are counted, and 5,000 tokens cost $1.", "He has the key | she has the lock.", "The secret -- if there is one -- is patience.", "A pass-through -u flag is unbuffered.", "The plan (secret, or not) has 3 parts.",
        "An auth server, a token server, and 2 caches.", '"Password", he said, "is 1 word."', "Der Token: ein Zeichen.", "Le mot de passe\u00a0: oublié.", "Session 12: cookies and privacy.", "Use <token> as a placeholder.",
        "Bring your passport, 2 photos and the form.", "The otp gene: a short history.", "Pay with a card or cash; 20 % off.", "Discord and Slack have webhooks.", "Read the docs/api-key.md file first.",
    )),
]  # fmt: skip


def opened(value: Any) -> tuple[Any, list[Any]]:
    """Return a case without its marks, and the secrets that were marked."""
    secrets: list[Any] = []

    def walk(item: Any) -> Any:
        if isinstance(item, bytes):
            return walk(item.decode()).encode()
        if isinstance(item, dict):
            return {key: walk(child) for key, child in item.items()}
        if isinstance(item, list | tuple):
            return type(item)(walk(child) for child in item)
        if not isinstance(item, str):
            return item
        secrets.extend(part.partition("»")[0] for part in item.split("«")[1:])
        return item.replace("«", "").replace("»", "")

    return walk(value), secrets


def text_of(value: Any) -> str:
    """Return a text in which a secret of the value is found as it is."""
    return value if isinstance(value, str) else repr(value)
