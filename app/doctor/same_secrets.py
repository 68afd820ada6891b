"""Checks whether the gateways behind a URL have the secrets of this command.

The command signs something with its own secret, and asks a gateway by HTTP whether it
accepts that. Gateways could publish a hash of each secret in Redis instead. But then
anybody who reads Redis could try weak secrets against the hash, for as long as they
like. Nobody can sign in with what is sent here:

- A token that expired in 1970. A gateway checks the signature first. So its answer says
  whether the signature is wrong, or only the time. Over plain HTTP, a listener could
  try weak secrets against it, as against the tokens of clients.
- A session of the operators' page that ends soon. It is sent only if nobody can read it
  on the way. The service key itself is never sent.

Several gateways may be behind one URL. So each question is asked several times, each
time on a new connection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

import urllib3

from app.doctor.findings import Finding, ok, problem
from app.doctor.http import STATUS_PATH, ask
from app.operator_sessions import COOKIE, PATH, short_session
from app.tokens import EXPIRED, issue_token
from config import Settings

SUBJECT = "secrets"
CALLS = 8
"""How often each question is asked."""
USER = "doctor"
"""The `sub` of the tokens. They are refused, so this user is never stored."""
JWT_SECRET = "PRESENCE_JWT_SECRET"  # noqa: S105 - the name of the setting
SERVICE_KEY = "PRESENCE_SERVICE_KEY"
SIGN_IN_FORM = b'name="key"'
"""A part of the page on which operators sign in."""
MAX_TEXT = 150
"""The most characters of an answer in a line."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OTHER_CLAIM = re.compile(r'audience|issuer|"(aud|iss)"', re.IGNORECASE)
"""What a gateway says if the signature is right, but not the audience or the issuer.
These two settings are compared in `app.doctor.gateways`."""


class Answer(NamedTuple):
    """What a gateway says to a question. `is_same` is None if the answer says nothing
    about the secret."""

    is_same: bool | None
    why: str = ""


Question = Callable[[], Answer]


def check_secrets_at(settings: Settings, base: str) -> Iterator[Finding]:
    """Compare each secret with that of the gateways behind the URL `base`."""
    same, unknown = [], []
    for name, question in _questions(settings, base):
        answers = [_asked(question) for _ in range(CALLS)]
        different = [one for one in answers if one.is_same is False]
        if different:
            yield _difference(base, name, different)
        elif answers[0].is_same:
            same.append(name)
        else:
            unknown.append(f"{name} ({answers[0].why})")
    if same:
        yield ok(SUBJECT, f"the same at {base}: {', '.join(same)}")
    if unknown:
        yield ok(SUBJECT, f"not compared with {base}: {', '.join(unknown)}")


def _questions(settings: Settings, base: str) -> Iterator[tuple[str, Question]]:
    """The name of each secret, with the question about it."""
    several = len(settings.jwt_secrets) > 1
    for number, secret in enumerate(settings.jwt_secrets, 1):
        alone = replace(settings, jwt_secret=secret)
        token = issue_token(alone, USER, 1, issued_at=1)
        name = f"secret {number} of {JWT_SECRET}" if several else JWT_SECRET
        yield name, partial(_about_token, base, token)
    yield SERVICE_KEY, partial(_about_key, base, settings.service_key)


def _asked(question: Question) -> Answer:
    try:
        return question()
    except urllib3.exceptions.HTTPError as error:
        return Answer(None, f"no answer: {error}"[:MAX_TEXT])


def _difference(base: str, name: str, answers: list[Answer]) -> Finding:
    where = f"the web process at {base}"
    advice = "Give all processes the same value, and restart those with another one"
    if len(answers) < CALLS:
        where = f"some of the web processes at {base}"
        advice += ". To find them, run this with each server's own address as --url"
    return problem(SUBJECT, f"{name} differs in {where}: {answers[0].why}", advice)


def _about_token(base: str, token: str) -> Answer:
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    status, _, body = ask("GET", base + STATUS_PATH, headers)
    message = _message(body, "not_authenticated")
    if message is None:
        return Answer(None, f"{STATUS_PATH} answers {status}")
    is_same = message == EXPIRED or bool(_OTHER_CLAIM.search(message))
    return Answer(is_same, f"it refuses a token of this command: {message}")


def _about_key(base: str, key: str | None) -> Answer:
    headers = {"Connection": "close"}
    if key is not None:
        parts = urlsplit(base)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            return Answer(None, "the URL has no https")
        headers["Cookie"] = f"{COOKIE}={short_session(key)}"
    path = f"{PATH}/state"
    status, _, body = ask("GET", base + path, headers)
    if status == HTTPStatus.UNAUTHORIZED and SIGN_IN_FORM in body:
        if key is None:
            return Answer(is_same=False, why="it has one, and this command has none")
        return Answer(is_same=False, why="it has another one")
    if status == HTTPStatus.NOT_FOUND and _message(body, "not_found"):
        return Answer(key is None, "it has none")
    if status == HTTPStatus.OK and key is not None:
        return Answer(is_same=True)
    return Answer(None, f"{path} answers {status}")


def _message(body: bytes, code: str) -> str | None:
    """The message of an answer of Greendot with this error code. None if `body` is
    something else."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"])[:MAX_TEXT] if error["code"] == code else None
    except (ValueError, LookupError, TypeError):
        return None
