"""What Schemathesis must know of Greendot: formats, and a check that is stricter than
its own."""

from __future__ import annotations

import base64

import schemathesis
from hypothesis import strategies as st

from models.identifiers import USER_ID
from models.sql.presence_settings import TEXT_LENGTH
from tests.rest_document import RestDocument, is_shown_text

_documents: list[RestDocument] = []


def _cursor(user_id: str) -> str:
    """The cursor of a page that begins after `user_id`."""
    return base64.urlsafe_b64encode(user_id.encode()).decode()


schemathesis.openapi.format("emoji", st.sampled_from(["🧮", "👩‍🚀", "🇫🇷", "1️⃣", "👋🏽"]))
schemathesis.openapi.format(
    "shown-text",
    st.text(min_size=1, max_size=TEXT_LENGTH).filter(is_shown_text),
)
schemathesis.openapi.format(
    "cursor", st.from_regex(USER_ID, fullmatch=True).map(_cursor)
)


@schemathesis.check
def only_described_fields(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case,
) -> None:
    """An answer has no field, and an error no code, that the document does not name."""
    if not _documents:
        _documents.append(RestDocument(dict(case.operation.schema.raw_schema)))
    headers = {name: values[0] for name, values in response.headers.items()}
    path, status = case.operation.path, response.status_code
    _documents[0].check(case.method, path, status, headers, response.content)
