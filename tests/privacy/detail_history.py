"""Random histories in which users also set details, are idle, and restart things."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

from tests.privacy.detail_model import (
    EMPTY,
    DetailWorld,
    Layer,
    changed,
    sets_something,
)
from tests.privacy.history import Change, History
from tests.privacy.watcher import Frame, Watcher, call_as, patch
from tests.system import SERVICE_KEY, System, wait_until

DETAIL = "?detail=1"
CLOSE_TO_AN_END = 400
"""Milliseconds. So close to the end of a layer nothing is compared or changed."""
OWN = {"presence_settings_changed", "welcome"}


def now_ms() -> int:
    """The time."""
    return time.time_ns() // 1_000_000


class DetailWatcher(Watcher):
    """A client that wants details, and keeps them as docs/PROTOCOL.md says."""

    def __init__(self, system: System, user_id: str, web: int = 0) -> None:
        self.details: dict[str, Layer | None] = {}
        self.newest: dict[str, int] = {}
        super().__init__(system, user_id, web, DETAIL)

    def _take(self, frame: Frame) -> None:
        super()._take(frame)
        if frame.event == "presence_snapshot":
            statuses = frame.data["statuses"]
            self.details = {user: one["detail"] for user, one in statuses.items()}
            self.newest = {
                user: time for user, time in self.newest.items() if user in statuses
            }
        elif frame.event in {"friend_status_changed", "friend_detail_changed"}:
            user, timestamp = frame.data["user_id"], frame.data["timestamp"]
            if timestamp <= self.newest.get(user, -1):
                self.went_back.append((user, f"{self.newest[user]}: {frame.raw}"))
                return
            self.newest[user] = timestamp
            known = self.map.get(user)
            is_status = frame.event == "friend_status_changed"
            if is_status or (known is not None and known.status == "online"):
                self.details[user] = frame.data["detail"]


class DetailHistory(History):
    """A history of `History`, with details. `hurts` are faults that may happen."""

    def __init__(
        self, system: System, seed: int, users: int, hurts: tuple[str, ...] = ()
    ) -> None:
        super().__init__(system, seed, users)
        self.name = f"d{seed}"
        self.world: DetailWorld = DetailWorld(**vars(self.world))
        self.states = [self.world]
        self.hurts = hurts
        self.idle: set[Watcher] = set()
        self.visible_from: dict[tuple[str, str], int] = {}
        """Since when a viewer sees a user who was hidden."""
        self._began = 0

    def step(self) -> None:
        self._began = now_ms()
        if self.hurts and self.random.random() < 0.15:
            self.states, self.moved = [self.world.copy()], set(self.users)
            self._answers.clear()
            what = self.random.choice(self.hurts)
            self.log.append(what)
            getattr(self, f"_{what}")()
            self._make(self._any_change())
            self._settle()
            return
        super().step()

    # Changes

    def _any_change(self) -> Change:
        if self.random.random() < 0.5:
            return super()._any_change()
        if self.watchers and self.random.random() < 0.45:
            return self._activity()
        return self._detail()

    def _connect(self) -> Change:
        user = self.random.choice(self.users)
        web = self.random.randrange(2)
        kind: Callable[[System, str, int], Watcher] = self.random.choice(
            (DetailWatcher, DetailWatcher, Watcher)
        )
        self.moved.add(user)

        def connect() -> None:
            self.watchers.append(kind(self.system, user, web).opened())

        return f"connect {user} {web}", connect, lambda world: world.online.add(user)

    def _activity(self) -> Change:
        watcher = self.random.choice(self.watchers)
        idle = self.random.random() < 0.6

        def say() -> None:
            watcher.say_idle(idle=idle)
            (self.idle.add if idle else self.idle.discard)(watcher)

        return f"idle {watcher.user_id} {idle}", say, lambda _: None

    def _detail(self) -> Change:
        user = self.random.choice(self.users)
        name = self.random.choice(("manual", "manual", "host"))
        fields: Layer = {}
        if self.random.random() < 0.6:
            fields["availability"] = self.random.choice(
                ("away", "dnd", "dnd", "active", None)
            )
        if not fields or self.random.random() < 0.4:
            fields["text"] = self.random.choice((f"t{now_ms()}", None))
        if self.random.random() < 0.3:
            fields["emoji"] = self.random.choice(("🌴", "🧮", None))
        before = getattr(self.world, name).get(user, EMPTY)
        if sets_something(changed(before, fields, now_ms())) and (
            self.random.random() < 0.35
        ):
            fields["expires_at"] = now_ms() + 1200
        web = self.random.randrange(2)

        def change() -> None:
            if "expires_at" in fields:  # another change may have waited before this one
                fields["expires_at"] = now_ms() + 1200
            if name == "manual":
                patch(self.system, user, fields, web=web)
                return
            path = f"/api/admin/users/{user}/presence"
            status, answer = self.system.request(
                "PATCH", path, fields, token=SERVICE_KEY, web=web
            )
            assert status == 200, answer

        def in_the_model(world: Any) -> None:
            layers = getattr(world, name)
            layers[user] = changed(layers.get(user, EMPTY), fields, now_ms())

        return f"detail {name} {user} {fields}", change, in_the_model

    def _make(self, change: Change) -> None:
        self._pass_ends()
        super()._make(change)

    def _make_two_at_once(self) -> None:
        self._pass_ends()
        super()._make_two_at_once()

    def _pass_ends(self) -> None:
        """Wait while some layer is about to end."""
        while any(
            end - now_ms() < CLOSE_TO_AN_END
            for end in self.world.ends_after(now_ms() - 100)
        ):
            time.sleep(0.05)

    # Faults

    def _flush(self) -> None:
        self.system.redis.flushall()
        wait_until(lambda: self.system.redis.exists("presence:epoch"), 30)
        time.sleep(2)  # each gateway notices the loss at its next flush

    def _kill_worker(self) -> None:
        self.system.processes["worker"].kill()
        self.system.start_process("worker")

    def _restart_web(self) -> None:
        web = self.random.randrange(2)
        self.sentinel.close()
        self.system.processes[f"web{web}"].stop()
        for watcher in [one for one in self.watchers if one.web == web]:
            self._check_frames(watcher, watcher.pump())
            self.watchers.remove(watcher)
            watcher.close()
        self.world.online = {one.user_id for one in self.watchers}
        self.system.start_web(web)
        self.system.wait_ready(web)

    # Checks

    def _settle(self) -> None:
        self._note_visible()
        super()._settle()
        self._compare_details()
        ends = self.world.ends_after(now_ms())
        if ends and self.random.random() < 0.5:
            time.sleep(max(0, ends[-1] - now_ms()) / 1000)
            for watcher in self.watchers:
                self._wait(
                    partial(self._is_right, watcher),
                    f"{watcher.user_id} does not know that a layer has ended",
                    watcher,
                )
            self._compare_details()
        self.check()

    def _note_visible(self) -> None:
        for viewer, subject in permutations(self.users, 2):
            if not self.world.can_see(viewer, subject):
                self.visible_from.pop((viewer, subject), None)
            elif any(not one.can_see(viewer, subject) for one in self.states) and all(
                one.is_relevant(viewer, subject) for one in self.states
            ):
                self.visible_from[viewer, subject] = self._began

    def _is_idle(self, user: str) -> bool:
        devices = [one for one in self.watchers if one.user_id == user]
        return bool(devices) and all(one in self.idle for one in devices)

    def _expected(self, viewer: str) -> dict[str, Layer | None]:
        now = now_ms()
        return {
            user: self.world.detail(viewer, user, now, is_idle=self._is_idle(user))
            for user in self.world.map_of(viewer)
        }

    def _is_right(self, watcher: Watcher) -> bool:
        if not super()._is_right(watcher):
            return False
        return not isinstance(watcher, DetailWatcher) or _without_since(
            self._known(watcher)
        ) == self._expected(watcher.user_id)

    def _known(self, watcher: DetailWatcher) -> dict[str, Layer | None]:
        return {
            user: detail
            for user, detail in watcher.details.items()
            if user != self.sentinel.user_id
        }

    def _map(self, watcher: Watcher) -> dict[str, Any]:
        found: dict[str, Any] = super()._map(watcher)
        return found

    def _note_difference(self, watcher: Watcher) -> None:
        super()._note_difference(watcher)
        if isinstance(watcher, DetailWatcher):
            expected = self._expected(watcher.user_id)
            self.faults.append(f"{self._known(watcher)}, not {expected}")

    def _compare_details(self) -> None:
        """REST, a fresh snapshot and the maps of all clients say the same."""
        self._pass_ends()
        for viewer in self.users:
            known = [
                one
                for one in self.watchers
                if one.user_id == viewer and isinstance(one, DetailWatcher)
            ]
            found = [self._of_rest(viewer), *map(self._known, known)]
            expected = self._expected(viewer)
            for one in found:
                if _without_since(one) != expected:
                    self.faults.append(f"{viewer}: {one}, not {expected}")
                if one != found[0]:
                    self.faults.append(f"{viewer} knows {one}, REST {found[0]}")
            for user, detail in found[0].items():
                since = self.visible_from.get((viewer, user), 0)
                if detail and not since <= detail["since"] <= now_ms() + 1000:
                    self.faults.append(f"{viewer} {user}: {detail}, not {since}")
        self.check()

    def _of_rest(self, viewer: str) -> dict[str, Layer | None]:
        found: dict[str, Layer | None] = {}
        for path in ("/api/friends/online-status", "/api/conversations/online-status"):
            web = self.random.randrange(2)
            answer = call_as(self.system, viewer, "GET", path + DETAIL, web=web)
            found |= answer.json["data"]["details"]
        found.pop(self.sentinel.user_id, None)
        for user in found:
            path = f"/api/users/{user}/status{DETAIL}"
            detail = call_as(self.system, viewer, "GET", path).json["data"]["detail"]
            if detail != found[user]:
                self.faults.append(f"{viewer}: {path} has {detail}, not {found[user]}")
        return found

    def _check_frames(self, watcher: Watcher, frames: list[Frame]) -> None:
        super()._check_frames(watcher, frames)
        viewer = watcher.user_id
        for frame in frames:
            if not watcher.query and frame.event not in OWN and "detail" in frame.raw:
                self.faults.append(f"a plain client of {viewer} got {frame.raw}")
            if frame.event != "friend_detail_changed":
                continue
            user = frame.data["user_id"]
            if user == self.sentinel.user_id or frame.data["detail"] is None:
                self.faults.append(f"{viewer} got {frame.raw}")
            elif not any(
                one.is_relevant(viewer, user)
                and one.can_see(viewer, user)
                and (user in one.online or user in self.moved)
                for one in self.states
            ):
                self.faults.append(f"{viewer} heard of a hidden one: {frame.raw}")

    def compare_fresh_clients(self) -> None:
        """A new client's snapshot has the same details as the map of an old client."""
        self._pass_ends()
        super().compare_fresh_clients()
        for old in [one for one in self.watchers if isinstance(one, DetailWatcher)]:
            new = DetailWatcher(self.system, old.user_id, 1 - old.web).opened()
            self._wait(
                partial(self._agree, old, new),
                f"a new client of {old.user_id} was shown {self._known(new)}, "
                f"the old one knows {self._known(old)}",
                old,
            )
            new.leave()
            # The new device was not idle, so the user of two devices is back for a
            # moment. That is told and over before the next step.
            self._wait(partial(self._is_right, old), f"{old.user_id} is wrong", old)
        for watcher in self.watchers:
            self._wait(partial(self._is_right, watcher), "wrong", watcher)
            self._check_frames(watcher, watcher.frames[watcher.checked :])  # type: ignore[attr-defined]
        self.check()

    def _agree(self, old: DetailWatcher, new: DetailWatcher) -> bool:
        old.pump()
        new.pump()
        return self._known(old) == self._known(new)


def _without_since(details: dict[str, Layer | None]) -> dict[str, Layer | None]:
    return {
        user: detail and {name: one for name, one in detail.items() if name != "since"}
        for user, detail in details.items()
    }
