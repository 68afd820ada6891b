"""Names, friendships and conversations for the demo page. Other pages get them from
their own host application.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.sql.audience import friends_of, relevant_users
from models.sql.conversation import conversation_table, participant_table
from models.sql.sql_arrays import among, text_list
from models.sql.user import user_table

# A list with more users is hard to choose from. A host's database may have millions.
MAX_USERS = 200

Person = dict[str, str]


def everybody(session: Session) -> list[Person]:
    """The first users by name, each with `id` and `display_name`."""
    names = user_table.c.display_name
    rows = session.execute(
        select(user_table.c.id, names).order_by(names).limit(MAX_USERS)
    )
    return [{"id": key, "display_name": name} for key, name in rows.tuples()]


def name_of(session: Session, user_id: str) -> str | None:
    """The user's display name, or None if the user is unknown."""
    return session.scalar(
        select(user_table.c.display_name).where(user_table.c.id == user_id)
    )


def people_of(session: Session, user_id: str) -> dict[str, object]:
    """All users relevant to `user_id`, by name, and the conversations with them."""
    relevant = relevant_users(session, [user_id])[user_id]
    friends = friends_of(session, [user_id])[user_id]
    names = _names(session, relevant)
    return {
        "user": {"id": user_id, "display_name": name_of(session, user_id) or user_id},
        "people": [
            {"id": key, "display_name": name, "friend": key in friends}
            for key, name in sorted(names.items(), key=lambda item: item[1])
        ],
        "conversations": _conversations(session, user_id, relevant),
    }


def _names(session: Session, user_ids: set[str]) -> dict[str, str]:
    rows = session.execute(
        select(user_table.c.id, user_table.c.display_name).where(
            among(user_table.c.id, text_list("ids"))
        ),
        {"ids": sorted(user_ids)},
    )
    return dict(rows.tuples().all())


def _conversations(
    session: Session, user_id: str, relevant: set[str]
) -> list[dict[str, object]]:
    mine = participant_table.alias()
    rows = session.execute(
        select(
            conversation_table.c.id,
            conversation_table.c.title,
            participant_table.c.user_id,
        )
        .join_from(
            mine,
            conversation_table,
            conversation_table.c.id == mine.c.conversation_id,
        )
        .join(
            participant_table,
            participant_table.c.conversation_id == mine.c.conversation_id,
        )
        .where(mine.c.user_id == user_id)
        .order_by(conversation_table.c.title, conversation_table.c.id)
    )
    titles: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for key, title, member in rows.tuples():
        titles[key] = title
        others = members.setdefault(key, [])
        if member in relevant:  # not the user itself, and nobody in a blocked pair
            others.append(member)
    return [
        {"id": key, "title": titles[key] or key, "participants": sorted(members[key])}
        for key in titles
    ]
