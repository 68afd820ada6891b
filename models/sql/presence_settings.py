"""The users' presence settings: who may see whom, and what they are shown as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    String,
    delete,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.detail import NO_LAYERS, NOTHING_SET, Layer, Layers
from models.emoji import MAX_LENGTH
from models.events import Availability
from models.sql.db import Base, Identifier, execute_many, table_of, upsert
from models.sql.sql_arrays import among, text_list
from models.sql.statements import Reader, Statement
from models.sql.user import User
from models.visibility import Frozen, FrozenByGroup, PresenceSettings, Visible

MAX_EXCEPTIONS = 1_000
"""Ids in the exceptions of one user."""
TEXT_LENGTH = 140
ALWAYS, NEVER = "always", "never"


class StoredSettings(Base):
    """The settings of one user. A user without a row has the default ones.

    The `friends_...` and `others_...` columns are what friends and other viewers are
    shown who have no row in `frozen_statuses`. See `models.visibility.FrozenByGroup`.
    The `manual_...` and `host_...` columns are the user's and the host's layer. See
    `models.detail`.
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
    manual_availability: Mapped[str | None] = mapped_column(String(8))
    manual_text: Mapped[str | None] = mapped_column(String(TEXT_LENGTH))
    manual_emoji: Mapped[str | None] = mapped_column(String(MAX_LENGTH))
    manual_since: Mapped[int | None] = mapped_column(BigInteger)
    manual_expires_at: Mapped[int | None] = mapped_column(BigInteger, index=True)
    host_availability: Mapped[str | None] = mapped_column(String(8))
    host_text: Mapped[str | None] = mapped_column(String(TEXT_LENGTH))
    host_emoji: Mapped[str | None] = mapped_column(String(MAX_LENGTH))
    host_since: Mapped[int | None] = mapped_column(BigInteger)
    host_expires_at: Mapped[int | None] = mapped_column(BigInteger, index=True)

    @property
    def frozen_by_group(self) -> FrozenByGroup:
        """The `friends_...` and `others_...` columns."""
        return FrozenByGroup(
            frozen_of(
                self.friends_timestamp, self.friends_last_seen, self.friends_until
            ),
            frozen_of(self.others_timestamp, self.others_last_seen, self.others_until),
        )

    @frozen_by_group.setter
    def frozen_by_group(self, frozen: FrozenByGroup) -> None:
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
    columns = (getattr(stored, column.name) for column in _LAYER_COLUMNS)
    return PresenceSettings(
        Visible(stored.visibility),
        Visible(stored.last_seen),
        frozenset(kinds[ALWAYS]),
        frozenset(kinds[NEVER]),
        _layers(*columns),
    )


def ensure_settings(session: Session, user_id: str) -> None:
    """Store the default settings of a user who exists and has none. The caller
    commits."""
    statement = upsert(session, settings_table).on_conflict_do_nothing()
    session.execute(statement, {"user_id": user_id})


def put_settings(session: Session, user_id: str, settings: PresenceSettings) -> None:
    """Store the settings of a user who exists. The caller commits."""
    values = {
        "visibility": settings.visibility.value,
        "last_seen": settings.last_seen.value,
        **_layer_values(settings.layers),
    }
    insert = upsert(session, settings_table)
    statement = insert.on_conflict_do_update(
        index_elements=["user_id"],
        set_={name: insert.excluded[name] for name in values},
    )
    session.execute(statement, {"user_id": user_id, **values})
    session.expire_all()  # the row may have been read before
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


def layers_of(reader: Reader, user_ids: Iterable[str]) -> dict[str, Layers]:
    """The layers of those of `user_ids` who have settings."""
    rows = _LAYERS.rows(reader, {"ids": list(user_ids)})
    return {user_id: _layers(*columns) for user_id, *columns in rows}


def ended_layers(
    reader: Reader, now: int, limit: int, after: str = ""
) -> dict[str, Layers]:
    """At most `limit` users with a layer that has ended at the time `now` (ms), and
    their layers. In the order of their ids, from the first id after `after`."""
    ends = (settings_table.c.manual_expires_at, settings_table.c.host_expires_at)
    rows = reader.execute(
        select(settings_table.c.user_id, *_LAYER_COLUMNS)
        .where(or_(*(end <= now for end in ends)), settings_table.c.user_id > after)
        .order_by(settings_table.c.user_id)
        .limit(limit)
    )
    return {user_id: _layers(*columns) for user_id, *columns in rows}


def remove_ended_layers(session: Session, user_ids: Iterable[str], now: int) -> None:
    """Remove those layers of `user_ids` that have ended at the time `now` (ms). The
    caller commits."""
    for name in Layers._fields:
        statement = update(settings_table).where(
            among(settings_table.c.user_id, text_list("ids")),
            settings_table.c[f"{name}_expires_at"] <= now,
        )
        session.execute(
            statement.values(_values_of(name, NOTHING_SET)), {"ids": sorted(user_ids)}
        )


_LAYER_COLUMNS = tuple(
    settings_table.c[f"{layer}_{field}"]
    for layer in Layers._fields
    for field in Layer._fields
)
_LAYERS = Statement(
    select(settings_table.c.user_id, *_LAYER_COLUMNS).where(
        among(settings_table.c.user_id, text_list("ids"))
    )
)


def _layers(*columns: Any) -> Layers:  # noqa: ANN401 - as the database returns them
    if not any(columns):
        return NO_LAYERS
    half = len(columns) // 2
    return Layers(_layer(*columns[:half]), _layer(*columns[half:]))


def _layer(
    availability: str | None,
    text: str | None,
    emoji: str | None,
    since: int | None,
    expires_at: int | None,
) -> Layer:
    known = None if availability is None else Availability(availability)
    return Layer(known, text, emoji, since or 0, expires_at)


def _layer_values(layers: Layers) -> dict[str, object]:
    pairs = zip(Layers._fields, layers, strict=True)
    return {
        column: value
        for name, layer in pairs
        for column, value in _values_of(name, layer).items()
    }


def _values_of(name: str, layer: Layer) -> dict[str, object]:
    """The columns of the layer `name`. Empty ones are null, so that an index on the end
    of layers has few rows."""
    return {f"{name}_{key}": value or None for key, value in layer._asdict().items()}


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
        {
            "user_id": user_id,
            "viewer_id": viewer_id,
            "timestamp": timestamp,
            "last_seen": last_seen,
            "until": visible_since,
        }
        for viewer_id, (timestamp, last_seen, visible_since) in sorted(frozen.items())
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
