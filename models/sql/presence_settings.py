"""The users' presence settings: who may see whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    String,
    delete,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.sql.db import Base, Identifier, execute_many, table_of, upsert
from models.sql.sql_arrays import among, text_list
from models.sql.user import User
from models.visibility import Frozen, FrozenForAll, PresenceSettings, Visible

MAX_EXCEPTIONS = 1_000
"""Ids in the exceptions of one user."""
ALWAYS, NEVER = "always", "never"


class StoredSettings(Base):
    """The settings of one user. A user without a row has the default ones.

    The `friends_...` and `others_...` columns are what friends and other viewers are
    shown who have no row in `frozen_statuses`. See `models.visibility.FrozenForAll`.
    """

    __tablename__ = "presence_settings"

    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )
    visibility: Mapped[str] = mapped_column(
        String(16), server_default=Visible.EVERYONE.value
    )
    last_seen: Mapped[str] = mapped_column(
        String(16), server_default=Visible.EVERYONE.value
    )
    friends_timestamp: Mapped[int | None] = mapped_column(BigInteger)
    friends_last_seen: Mapped[int | None] = mapped_column(BigInteger)
    friends_until: Mapped[int | None] = mapped_column(BigInteger)
    others_timestamp: Mapped[int | None] = mapped_column(BigInteger)
    others_last_seen: Mapped[int | None] = mapped_column(BigInteger)
    others_until: Mapped[int | None] = mapped_column(BigInteger)

    @property
    def frozen_for_all(self) -> FrozenForAll:
        """The `friends_...` and `others_...` columns."""
        return FrozenForAll(
            frozen_of(
                self.friends_timestamp, self.friends_last_seen, self.friends_until
            ),
            frozen_of(self.others_timestamp, self.others_last_seen, self.others_until),
        )

    @frozen_for_all.setter
    def frozen_for_all(self, frozen: FrozenForAll) -> None:
        nothing = (None, None, None)
        (
            self.friends_timestamp,
            self.friends_last_seen,
            self.friends_until,
        ) = frozen.friends or nothing
        (
            self.others_timestamp,
            self.others_last_seen,
            self.others_until,
        ) = frozen.others or nothing


class StoredException(Base):
    """One viewer who is an exception to the visibility of `user_id`."""

    __tablename__ = "presence_exceptions"

    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )
    # No foreign key: the host may create this user later.
    viewer_id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))


class FrozenStatus(Base):
    """What one viewer is shown of `user_id`. See `models.visibility.Frozen`."""

    __tablename__ = "frozen_statuses"

    user_id: Mapped[str] = mapped_column(
        Identifier, ForeignKey(User.id, ondelete="CASCADE"), primary_key=True
    )
    viewer_id: Mapped[str] = mapped_column(Identifier, primary_key=True)
    timestamp: Mapped[int] = mapped_column(BigInteger)
    last_seen: Mapped[int | None] = mapped_column(BigInteger)
    until: Mapped[int | None] = mapped_column(BigInteger)


def frozen_of(
    timestamp: int | None, last_seen: int | None, until: int | None
) -> Frozen | None:
    """The frozen status in three columns, or None if they are empty."""
    return None if timestamp is None else Frozen(timestamp, last_seen, until)


settings_table = table_of(StoredSettings)
exception_table = table_of(StoredException)
frozen_table = table_of(FrozenStatus)


def read_settings(session: Session, user_id: str) -> PresenceSettings:
    """The settings of the user; the default ones if none are stored."""
    stored = session.get(StoredSettings, user_id)
    if stored is None:
        return PresenceSettings()
    kinds: dict[str, set[str]] = {ALWAYS: set(), NEVER: set()}
    rows = session.execute(
        select(exception_table.c.viewer_id, exception_table.c.kind).where(
            exception_table.c.user_id == user_id
        )
    )
    for viewer_id, kind in rows:
        kinds[kind].add(viewer_id)
    return PresenceSettings(
        Visible(stored.visibility),
        Visible(stored.last_seen),
        frozenset(kinds[ALWAYS]),
        frozenset(kinds[NEVER]),
    )


def put_settings(session: Session, user_id: str, settings: PresenceSettings) -> None:
    """Store the settings of a user who exists. The caller commits."""
    insert = upsert(session, settings_table)
    statement = insert.on_conflict_do_update(
        index_elements=["user_id"],
        set_={
            "visibility": insert.excluded.visibility,
            "last_seen": insert.excluded.last_seen,
        },
    )
    session.execute(
        statement,
        {
            "user_id": user_id,
            "visibility": settings.visibility.value,
            "last_seen": settings.last_seen.value,
        },
    )
    _put_exceptions(session, user_id, settings)


def _put_exceptions(session: Session, user_id: str, settings: PresenceSettings) -> None:
    kinds = dict.fromkeys(settings.always, ALWAYS) | dict.fromkeys(
        settings.never, NEVER
    )
    mine = exception_table.c.user_id == user_id
    session.execute(
        delete(exception_table).where(
            mine, ~among(exception_table.c.viewer_id, text_list("ids"))
        ),
        {"ids": sorted(kinds)},
    )
    insert = upsert(session, exception_table)
    execute_many(
        session,
        insert.on_conflict_do_update(
            index_elements=["user_id", "viewer_id"],
            set_={"kind": insert.excluded.kind},
        ),
        [
            {"user_id": user_id, "viewer_id": viewer_id, "kind": kinds[viewer_id]}
            for viewer_id in sorted(kinds)
        ],
    )


def put_frozen(session: Session, user_id: str, frozen: Mapping[str, Frozen]) -> None:
    """Store what the viewers in `frozen` are shown. The caller commits."""
    insert = upsert(session, frozen_table)
    statement = insert.on_conflict_do_update(
        index_elements=["user_id", "viewer_id"],
        set_={
            name: insert.excluded[name] for name in ("timestamp", "last_seen", "until")
        },
    )
    rows = [
        {"user_id": user_id, "viewer_id": viewer_id, **frozen[viewer_id]._asdict()}
        for viewer_id in sorted(frozen)
    ]
    execute_many(session, statement, rows)


def remove_frozen(session: Session, user_id: str, viewer_ids: Iterable[str]) -> None:
    """Delete rows of `frozen_statuses`. The caller commits."""
    session.execute(
        delete(frozen_table).where(
            frozen_table.c.user_id == user_id,
            among(frozen_table.c.viewer_id, text_list("ids")),
        ),
        {"ids": sorted(viewer_ids)},
    )
