"""Removes secrets from texts that leave the process: log lines and error reports.

Greendot logs no secret on purpose. But the text of an error may contain one: a URL with
a password, or a token. So this is the last step before a line is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from config import Settings

HIDDEN = "[hidden]"
LEAST_LENGTH = 16
"""Characters of a secret that is searched for. A shorter one might be an ordinary
word."""

_PATTERNS = {
    # The password in a URL. kombu writes asterisks in its place.
    "@": r"(://[^\s/@:\"']*:)(?!\*+@)[^\s/@\"']+(?=@)",
    "earer": r"((?i:\bbearer)(?:[ +]|%20)+)[\w.~+/=-]+",
    "?": r"([?&](?i:ticket|token|access_token|key|secret|password)=)[^\s&\"'\\]+",
    "presence_token=": r"(\bpresence_token=)[^\s;\"'\\]+",
    "eyJ": r"()\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",  # a token
    "whsec_": r"()\bwhsec_[\w+/=-]{8,}",  # a secret of webhooks
}
"""What looks like a secret, by a text that it contains. Looking for that text first is
much faster. The group of each pattern is kept."""

Redact = Callable[[str], str]


def secrets_of(settings: Settings) -> set[str]:
    """All secrets in `settings` that are long enough to be searched for."""
    found = {settings.jwt_secret, *settings.jwt_secrets, settings.service_key or ""}
    found.update(settings.webhook_secrets)
    for url in settings.webhook_urls:  # its path may be a secret
        parts = urlsplit(url)
        found.add(parts.path + ("?" + parts.query if parts.query else ""))
    return {one for one in found if len(one) >= LEAST_LENGTH}


def redactor(secrets: Iterable[str] = ()) -> Redact:
    """A function that hides `secrets`, and all that looks like a secret, in a text."""
    # A secret may also be in a text in the form of JSON.
    forms = {form for one in secrets for form in (one, json.dumps(one)[1:-1])}
    longest_first = sorted(forms, key=len, reverse=True)
    patterns = [(sign, re.compile(pattern)) for sign, pattern in _PATTERNS.items()]

    def redact(text: str) -> str:
        for secret in longest_first:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        for sign, pattern in patterns:
            if sign in text:
                text = pattern.sub(rf"\g<1>{HIDDEN}", text)
        return text

    return redact


def redact_all(redact: Redact, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """`value` with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: redact_all(redact, item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(redact, item) for item in value]
    return value
