"""What Schemathesis must know of Greendot: formats, how a user signs in, and a check
that is stricter than its own."""

from __future__ import annotations

import base64
import json
import os
from typing import Any, TypeAlias
from urllib.request import Request, urlopen

import schemathesis
from hypothesis import strategies as st

from models.identifiers import USER_ID
from models.sql.presence_settings import TEXT_LENGTH
from tests.rest_document import RestDocument, is_shown_text

CALLER = "the-caller"
"""The user whose token the calls have."""
Case: TypeAlias = schemathesis.Case[Any]
FRIENDS = ["ann", "bob", "cleo"]
_TALKS = ["lunch", "talk-of-the-caller"]

_documents: list[RestDocument] = []


schemathesis.openapi.format("emoji", st.sampled_from(["🧮", "👩‍🚀", "🇫🇷", "1️⃣", "👋🏽"]))
schemathesis.openapi.format(
    "shown-text",
    st.text(min_size=1, max_size=TEXT_LENGTH).filter(is_shown_text),
)
# The data of cursors: the last id of a page, or a place in the set of users online.
_IDS = st.from_regex(USER_ID, fullmatch=True)
_NUMBERS = st.integers() | st.sampled_from([0, -1, 0.5, 2**64, None, True])
_PLACES = st.tuples(_NUMBERS, _NUMBERS.map(str) | _NUMBERS, _IDS | _NUMBERS)
schemathesis.openapi.format(
    "cursor",
    (_IDS | _PLACES.map(json.dumps)).map(
        lambda data: base64.urlsafe_b64encode(data.encode()).decode()
    ),
)


@schemathesis.auth().apply_to(path_regex="^/api/admin")
class ServiceKey:
    """The credentials of the host."""

    def get(self, _case: Case, _context: schemathesis.AuthContext) -> str:
        """The service key."""
        return os.environ["FUZZ_SERVICE_KEY"]

    def set(self, case: Case, key: str, _context: schemathesis.AuthContext) -> None:
        """Send the service key."""
        case.headers["Authorization"] = f"Bearer {key}"


@schemathesis.auth(refresh_interval=1).apply_to(path_regex=r"^/api/(?!admin)")
class Token:
    """The token of the caller. It is new every second, because some calls revoke the
    caller's tokens, or take the caller's friends and conversations away."""

    def get(self, _case: Case, _context: schemathesis.AuthContext) -> str:
        """Store the caller as the host does, and sign in."""
        names = [CALLER, *FRIENDS]
        talks = [{"id": talk, "participants": names} for talk in _TALKS]
        stored = [*names, "dan", "eve"]
        users = [{"id": name, "display_name": name} for name in stored]
        _host("/bulk", {"users": users, "conversations": talks})
        answer = _host(f"/users/{CALLER}/ticket", {"friends": FRIENDS})
        token: str = answer["token"]
        return token

    def set(self, case: Case, token: str, _context: schemathesis.AuthContext) -> None:
        """Send the token."""
        case.headers["Authorization"] = f"Bearer {token}"


def _host(path: str, body: object) -> Any:
    request = Request(  # noqa: S310 - the URL of the test
        f"{os.environ['FUZZ_URL']}/api/admin{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {os.environ['FUZZ_SERVICE_KEY']}"},
    )
    with urlopen(request, timeout=20) as answer:  # noqa: S310
        return json.load(answer)["data"]


@schemathesis.check
def only_described_fields(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: Case,
) -> None:
    """An answer has no field, and an error no code, that the document does not name."""
    if not _documents:
        _documents.append(RestDocument(dict(case.operation.schema.raw_schema)))
    headers = {name: values[0] for name, values in response.headers.items()}
    path, status = case.operation.path, response.status_code
    _documents[0].check(case.method, path, status, headers, response.content)
