"""Tokens: what is accepted, what is not, and what is remembered of them."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode

import gevent
import jwt
import pytest

from app import jwks
from app.jwks import KeysUnavailable
from app.revocations import Revocations
from app.tokens import BadToken, Identity, Tokens, issue_token
from config import Settings
from models.sql.db import make_engine, session_factory
from models.sql.revocations import next_issue, revoke
from tests.databases import sqlite_file
from tests.tokens import (
    ES256,
    PUBLIC,
    RS256,
    private_key,
    public_jwk,
    public_pem,
    running_provider,
)
from tests.tokens import (
    signed as signed_by,
)


@pytest.fixture
def settings() -> Settings:
    return Settings.from_env({"PRESENCE_JWT_SECRET": "s" * 32})


@pytest.fixture
def engine(tmp_path):
    engine = make_engine(f"sqlite:///{sqlite_file(tmp_path)}")
    yield engine
    engine.dispose()


@pytest.fixture
def reader(engine):
    """Makes a reader of tokens from environment variables."""

    def make(**environ: str) -> Tokens:
        return Tokens(Settings.from_env(environ), Revocations(engine))

    return make


@pytest.fixture
def tokens(settings, engine) -> Tokens:
    return Tokens(settings, Revocations(engine))


def test_a_token_that_was_good_expires(settings, tokens, monkeypatch):
    token = issue_token(settings, "ann", 60)
    identity = tokens.read(token)
    assert identity.user_id == "ann"
    assert tokens.read(token) == identity
    monkeypatch.setattr(time, "time", lambda: identity.expires_at)
    with pytest.raises(BadToken, match="expired"):
        tokens.read(token)


def test_a_token_is_good_for_its_own_secret_only(settings, tokens, reader):
    token = issue_token(settings, "ann", 60)
    assert isinstance(tokens.read(token), Identity)
    other = reader(PRESENCE_JWT_SECRET="t" * 32)
    with pytest.raises(BadToken, match="not valid"):
        other.read(token)


def signed(**claims: object) -> str:
    return jwt.encode({"sub": "ann", **claims}, "s" * 32, algorithm="HS256")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_hosts_clock_may_be_a_minute_ahead(tokens, claim):
    assert tokens.read(signed(**{claim: time.time() + 50})).user_id == "ann"
    with pytest.raises(BadToken, match=f"not valid yet: its {claim}"):
        tokens.read(signed(**{claim: time.time() + 70}))


def test_exp_has_no_leeway(tokens):
    with pytest.raises(BadToken, match="expired"):
        tokens.read(signed(exp=time.time() - 1))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_what_time_changes_is_not_remembered(tokens, monkeypatch, claim):
    at = time.time() + 1000
    token = signed(**{claim: at})
    with pytest.raises(BadToken):
        tokens.read(token)
    monkeypatch.setattr(time, "time", lambda: at)
    assert tokens.read(token).user_id == "ann"
    monkeypatch.setattr(time, "time", lambda: at - 61)  # the clock was set back
    with pytest.raises(BadToken):
        tokens.read(token)


@pytest.mark.parametrize(
    ("subject", "user_id"),
    [
        (42, "42"),
        (0, "0"),
        (-7, "-7"),
        (2**70, str(2**70)),
        ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("ann+x@example.com", "ann+x@example.com"),
        ("a" * 128, "a" * 128),
    ],
)
def test_the_subjects_of_identity_providers(tokens, subject, user_id):
    assert tokens.read(signed(sub=subject)).user_id == user_id


@pytest.mark.parametrize(
    "subject",
    [True, 42.0, 1.5, None, [], ["ann"], {}, "", "a b", "a" * 129, 10**400, -(10**128)],
)
def test_what_is_no_subject(tokens, subject):
    # Past jwt.encode, which refuses some of these.
    payload = json.dumps({"sub": subject}).encode()
    token = jwt.api_jws.encode(payload, "s" * 32, algorithm="HS256")
    with pytest.raises(BadToken, match="not valid"):
        tokens.read(token)


def test_a_head_nested_without_end_is_refused_like_any_other(tokens):
    head = urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")
    with pytest.raises(BadToken, match="not valid"):
        tokens.read(f"{head}.e30.e30")


# Several secrets


def test_every_secret_verifies_and_the_first_one_signs(reader):
    old, new = "o" * 32, "n" * 32
    both = reader(PRESENCE_JWT_SECRET=f" {new} , {old},")
    for secret in (old, new):
        token = jwt.encode({"sub": "ann"}, secret, algorithm="HS256")
        assert both.read(token).user_id == "ann"
    issued = issue_token(
        Settings.from_env({"PRESENCE_JWT_SECRET": f"{new},{old}"}), "ann", 60
    )
    assert reader(PRESENCE_JWT_SECRET=new).read(issued).user_id == "ann"
    with pytest.raises(BadToken):
        reader(PRESENCE_JWT_SECRET=old).read(issued)
    with pytest.raises(BadToken, match="PRESENCE_JWT_SECRET"):
        both.read(jwt.encode({"sub": "ann"}, f"{new},{old}", algorithm="HS256"))


@pytest.mark.parametrize("short", ["a", "x" * 31])
def test_a_secret_with_a_comma_and_a_short_part_is_one_secret(reader, short):
    long = "l" * 32
    whole = f"{short}, {long}"
    tokens = reader(PRESENCE_JWT_SECRET=whole)
    token = jwt.encode({"sub": "ann"}, whole, algorithm="HS256")
    assert tokens.read(token).user_id == "ann"
    for part in (short, long):
        with pytest.raises(BadToken):
            tokens.read(forged(part.encode()))


# Public keys


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_public_key_verifies_the_tokens_of_its_private_key(reader, algorithm):
    tokens = reader(PRESENCE_JWT_PUBLIC_KEY=public_pem(algorithm))
    identity = tokens.read(signed_by(algorithm, iat=1_700_000_000))
    assert (identity.user_id, identity.issued_at) == ("ann", 1_700_000_000)
    with pytest.raises(BadToken, match="not signed with the public key"):
        tokens.read(signed_by(algorithm, number=1))
    # On platforms without line ends in variables.
    escaped = reader(PRESENCE_JWT_PUBLIC_KEY=public_pem(algorithm).replace("\n", "\\n"))
    assert escaped.read(signed_by(algorithm)).user_id == "ann"


def encoded(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")


def crafted(header: dict) -> bytes:
    """Head and content of a token. PyJWT refuses to make some of these."""
    parts = (header, {"sub": "ann"})
    return b".".join(encoded(json.dumps(part).encode()) for part in parts)


def unsigned(algorithm: str) -> str:
    return crafted({"alg": algorithm}).decode() + "."


def forged(secret: bytes, algorithm: str = "HS256", **header: object) -> str:
    """A token that is signed by HMAC with `secret`, whatever its head says."""
    text = crafted({"alg": algorithm, **header})
    return (text + b"." + encoded(hmac.digest(secret, text, "sha256"))).decode()


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_the_header_of_a_token_does_not_choose_the_algorithm(reader, algorithm):
    pem = public_pem(algorithm)
    tokens = reader(PRESENCE_JWT_PUBLIC_KEY=pem)
    attacks = [
        unsigned("none"),
        unsigned(algorithm),
        *(
            forged(secret.encode(), name)
            for secret in (pem, pem.strip())
            for name in ("HS256", algorithm)
        ),
        *(signed_by(other) for other in PUBLIC if other != algorithm),
    ]
    if algorithm == RS256:
        key = private_key(RS256)
        attacks += [
            jwt.encode({"sub": "ann"}, key, algorithm=other)
            for other in ("RS512", "PS256")
        ]
    for attack in attacks:
        with pytest.raises(BadToken):
            tokens.read(attack)


def test_a_secret_takes_no_other_algorithm(tokens):
    attacks = [unsigned("none"), unsigned("HS256")]
    attacks += [signed_by(algorithm) for algorithm in PUBLIC]
    attacks += [jwt.encode({"sub": "ann"}, "s" * 64, algorithm="HS512")]
    for attack in attacks:
        with pytest.raises(BadToken):
            tokens.read(attack)


# Audience and issuer


def test_the_audience_and_the_issuer_must_be_right_where_they_are_set(reader):
    secret = "s" * 32
    expected = {
        "PRESENCE_JWT_SECRET": secret,
        "PRESENCE_JWT_AUDIENCE": "presence",
        "PRESENCE_JWT_ISSUER": "https://login.example.com/",
    }
    strict, lax = reader(**expected), reader(PRESENCE_JWT_SECRET=secret)
    good = {"aud": "presence", "iss": "https://login.example.com/"}
    assert strict.read(signed(**good)).user_id == "ann"
    assert strict.read(signed(**good | {"aud": ["other", "presence"]})).user_id == "ann"
    assert strict.read(issue_token(Settings.from_env(expected), "ann", 60))
    for wrong in (
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"iss": "https://login.example.com"},
        {"iss": ""},
    ):
        token = signed(**good | wrong)
        assert lax.read(token).user_id == "ann"
        with pytest.raises(BadToken):
            strict.read(token)
    for missing in good:
        rest = {name: value for name, value in good.items() if name != missing}
        with pytest.raises(BadToken, match=missing):
            strict.read(signed(**rest))


# JWKS


@pytest.fixture
def provider():
    keys = [public_jwk(algorithm, algorithm) for algorithm in PUBLIC]
    with running_provider(*keys) as provider:
        yield provider


@pytest.fixture
def of_provider(reader, provider) -> Tokens:
    return reader(PRESENCE_JWKS_URL=provider.url)


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_published_keys_verify_tokens(of_provider, provider, algorithm):
    for _ in range(3):
        token = signed_by(algorithm, kid=algorithm)
        assert of_provider.read(token).user_id == "ann"
    assert provider.reads == 1


def test_a_token_must_be_signed_with_the_key_that_it_names(of_provider):
    attacks = [
        signed_by(RS256, kid=ES256),
        signed_by(ES256, kid=RS256),
        signed_by(RS256, kid=RS256, number=1),
        signed_by(RS256, kid="unknown"),
        signed_by(RS256),
        forged(public_pem(RS256).encode(), kid=RS256),
        forged(json.dumps(public_jwk(RS256, RS256)).encode(), kid=RS256),
        forged(public_pem(RS256).encode(), kid=["x"]),
    ]
    for attack in attacks:
        with pytest.raises(BadToken):
            of_provider.read(attack)


def test_a_published_secret_or_weak_key_is_no_key(reader):
    secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0" * 6, "alg": "HS256"}
    other = {**public_jwk(RS256, "512"), "alg": "RS512"}
    encrypts = {**public_jwk(RS256, "enc"), "use": "enc"}
    with running_provider(
        secret, other, encrypts, public_jwk(ES256, "good")
    ) as provider:
        tokens = reader(PRESENCE_JWKS_URL=provider.url)
        assert tokens.read(signed_by(ES256, kid="good")).user_id == "ann"
        for attack in (
            forged(b"secret" * 6, kid="secret"),
            signed_by(RS256, kid="512"),
            signed_by(RS256, kid="enc"),
        ):
            with pytest.raises(BadToken, match="has no key"):
                tokens.read(attack)


def test_a_new_key_works_at_once_and_an_old_one_until_the_next_read(
    of_provider, provider, monkeypatch
):
    old = signed_by(RS256, kid=RS256)
    assert of_provider.read(old)
    provider.keys = [public_jwk(ES256, "new", 1)]
    assert of_provider.read(signed_by(ES256, number=1, kid="new")).user_id == "ann"
    with pytest.raises(BadToken, match="has no key"):
        of_provider.read(old)
    # The same name, another key.
    provider.keys = [public_jwk(ES256, "new", 2)]
    replaced = signed_by(ES256, number=2, kid="new")
    with pytest.raises(BadToken):
        of_provider.read(replaced)
    monkeypatch.setattr(jwks, "LIFETIME", 0.0)
    assert of_provider.read(replaced).user_id == "ann"


def test_names_that_nobody_knows_cause_few_reads(of_provider, provider):
    assert of_provider.read(signed_by(RS256, kid=RS256))
    refused = []
    for number in range(50):
        for _ in range(2):
            with pytest.raises((BadToken, KeysUnavailable)) as error:
                of_provider.read(signed_by(ES256, kid=f"unknown {number}"))
            refused.append(error.type)
    assert refused[0] is BadToken
    assert provider.reads <= jwks.FETCHES_AT_ONCE
    assert of_provider.read(signed_by(ES256, kid=ES256)).user_id == "ann"


@pytest.mark.parametrize("answer", [None, b"no json", b"[]", b'{"keys": []}', b"{}"])
def test_known_keys_work_while_the_provider_does_not(
    of_provider, provider, monkeypatch, answer
):
    assert of_provider.read(signed_by(RS256, kid=RS256))
    monkeypatch.setattr(jwks, "LIFETIME", 0.0)
    provider.answer = answer
    if answer is None:
        provider.stop()
    for _ in range(5):
        assert of_provider.read(signed_by(ES256, kid=ES256)).user_id == "ann"
    # Its key may be a new one, so this is no final refusal.
    with pytest.raises(KeysUnavailable):
        of_provider.read(signed_by(ES256, kid="new"))


def test_a_provider_that_is_away_at_the_start_is_asked_again(reader):
    with running_provider(public_jwk(RS256, RS256)) as provider:
        provider.stop()
        tokens = reader(PRESENCE_JWKS_URL=provider.url)
        token = signed_by(RS256, kid=RS256)
        with pytest.raises(KeysUnavailable):
            tokens.read(token)
        provider.start()
        assert tokens.read(token).user_id == "ann"


def test_many_tokens_at_once_cause_one_read(of_provider, provider):
    """The reads are greenlets, as in a gateway."""
    provider.delay = 0.2
    readers = [
        gevent.spawn(of_provider.read, signed_by(ES256, kid=ES256)) for _ in range(20)
    ]
    gevent.joinall(readers, raise_error=True)
    assert provider.reads == 1


# Revocations


def test_a_revocation_refuses_what_was_issued_up_to_that_second(tokens, engine):
    now = int(time.time())
    with session_factory(engine)() as session:
        revoke(session, "ann", now)
        session.commit()
    for token in (
        signed(),
        signed(iat=now - 10),
        signed(iat=now),
        signed(iat=now + 0.9),
    ):
        with pytest.raises(BadToken, match="revoked"):
            tokens.read(token)
    assert tokens.read(signed(iat=now + 1)).user_id == "ann"
    assert tokens.read(signed(sub="bob")).user_id == "bob"


def test_a_revocation_is_found_by_the_next_read_and_an_older_one_changes_nothing(
    tokens, engine
):
    now = int(time.time())
    token = signed(iat=now - 50)
    assert tokens.read(token)
    for at, expected in ((now - 40, ["ann"]), (now - 45, []), (now, ["ann"])):
        with session_factory(engine)() as session:
            revoke(session, "ann", at)
            session.commit()
        assert tokens.revocations.read() == expected
        with pytest.raises(BadToken, match="revoked"):
            tokens.read(token)
    assert tokens.revocations.read() == []
    with session_factory(engine)() as session:
        assert next_issue(session, "ann", now) == now + 1
        assert next_issue(session, "ann", now + 5) == now + 5
        assert next_issue(session, "bob", now) == now
