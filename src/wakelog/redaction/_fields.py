"""The names of fields whose values are sensitive, whatever they are."""

from __future__ import annotations

from typing import Final

# ruff: noqa: SIM905 - a table of short words is read, and compared, best as a text

SECRET_FIELDS: Final = tuple(
    "password passwd pwd passphrase secret token api_key apikey access_key account_key private_key "
    "secret_key authorization auth cookie set_cookie client_secret credentials connection_string "
    "database_url db_url otp webhook_url signing_key encryption_key".split()
)
# Sensitive as fields only, because in texts too many other words end like them.
ONLY_FIELDS: Final = tuple(
    "credential dsn jwt passcode pin_code card_pin user_pin mfa_code security_code recovery_code".split()
)
PERSONAL_FIELDS: Final = tuple(
    "email email_address phone phone_number ssn iban national_id card_number cvv".split()
)
