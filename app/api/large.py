"""Which calls of the admin routes are so large that a gateway must not serve them."""

from __future__ import annotations

from typing import Any

import orjson
from flask import request
from sqlalchemy import func, select

from app.services import services
from models.identifiers import USER_ID
from models.sql.audience import participants_of
from models.sql.conversation import participant_table
from models.sql.sql_arrays import among, text_list

MOST_PAIRS = 5_000
"""Pairs of users that a gateway works out itself: some 30 ms, in which it does nothing
else."""
MOST_BYTES = 8 * 1024
"""Of a bulk call that a gateway serves itself: some hundred rows."""
MOST_MEMBERS = 100
"""Of all the conversations in such a call, before it and after it."""


def is_large_conversation(conversation_id: str) -> bool:
    """Whether the current call makes many users begin or cease to see each other by
    this conversation. Who comes or goes counts with everybody in it."""
    if not _ids([conversation_id]):
        return False
    new = _ids(_fields().get("participants"))
    with services().database.connect() as reader:
        old = participants_of(reader, conversation_id) or set()
    return len(old ^ new) * max(len(old), len(new)) > MOST_PAIRS


def is_large_bulk() -> bool:
    """Whether the current call is a bulk call that is too much for a gateway."""
    if len(request.get_data()) > MOST_BYTES:
        return True
    named = _fields().get("conversations")
    listed = named if isinstance(named, list) else []
    records = [one for one in listed if isinstance(one, dict)]
    new = sum(len(_ids(one.get("participants"))) for one in records)
    ids = _ids([one.get("id") for one in records])
    return new > MOST_MEMBERS or _members_of(ids) > MOST_MEMBERS


def _members_of(conversation_ids: set[str]) -> int:
    if not conversation_ids:
        return 0
    count = (
        select(func.count())
        .select_from(participant_table)
        .where(among(participant_table.c.conversation_id, text_list("ids")))
    )
    with services().database.connect() as reader:
        found: int = reader.scalar(count, {"ids": list(conversation_ids)}) or 0
    return found


def _fields() -> dict[str, Any]:
    """The body, as far as it is one: what is wrong with it is for the route to say."""
    try:
        fields = orjson.loads(request.get_data() or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _ids(values: object) -> set[str]:
    """Those of `values` that are ids."""
    listed = values if isinstance(values, list) else []
    texts = [value for value in listed if isinstance(value, str)]
    return set(filter(USER_ID.fullmatch, texts))
