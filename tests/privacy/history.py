"""Random histories: changes over the wire, and what every client must have heard."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations, permutations
from typing import Any

from tests.privacy.model import Settings, World
from tests.privacy.watcher import Answer, Frame, Sentinel, Watcher, call_as, patch
from tests.system import System, wait_until

Change = tuple[str, Callable[[], object], Callable[[World], object]]
"""What it is, the call over the wire, and the same for the model."""

CHOICES = ("everyone", "friends", "nobody")


class History:
    """A system and a model that go through the same changes. A step is one change or
    several without a wait between them. `states` are those that the model may have had
    at any time during the step."""

    def __init__(self, system: System, seed: int, users: int) -> None:
        self.system = system
        self.random = random.Random(seed)  # noqa: S311 - a history is no secret
        self.name = f"h{seed}"
        self.users = tuple(f"{self.name}-u{n}" for n in range(users))
        self.sentinel = Sentinel(system, f"{self.name}-sentinel")
        self.world = World(self.users)
        self.watchers: list[Watcher] = []
        self.states: list[World] = [self.world]
        self.moved: set[str] = set()
        """Users who came or went during the step, so that either status may be told."""
        self.log: list[str] = []
        self.faults: list[str] = []
        self._answers: dict[tuple[str, str], Answer] = {}
        self._blurred: set[tuple[str, str]] = set()
        """Viewer and subject whose `last_seen` was ever hidden: the time of an offline
        subject may be that of any snapshot."""
        system.befriend(self.sentinel.user_id, *self.users)
        for one, other in combinations(self.users, 2):
            if self.random.random() < 0.5:
                path = f"/friendships/{one}/{other}"
                system.admin("PUT", path, {"status": "accepted"})
                self.world.friendships[frozenset((one, other))] = "accepted"
        name = f"{self.name}-c0"
        members = self.random.sample(self.users, 4)
        system.admin("PUT", f"/conversations/{name}", {"participants": members})
        self.world.conversations[name] = set(members)

    # Steps

    def step(self) -> None:
        """Make one to three changes. Sometimes two at the same time."""
        self.states, self.moved = [self.world.copy()], set()
        for watcher in self.watchers:
            if self.random.random() < 0.2:
                watcher.beat()
        if self.random.random() < 0.25:
            self._make_two_at_once()
        else:
            for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))):
                self._make(self._any_change())
        self._settle()

    def _make(self, change: Change) -> None:
        what, over_the_wire, in_the_model = change
        self.log.append(what)
        over_the_wire()
        in_the_model(self.world)
        self.states.append(self.world.copy())

    def _make_two_at_once(self) -> None:
        """Two changes of different things, in two threads."""
        one, other = self._any_change(), self._any_change()
        kinds = {what.split(" ")[0] for what, _, _ in (one, other)}
        if len(kinds) < 2 or "leave" in kinds or "close" in kinds:
            self._make(one)  # the other may not be possible any more
            return
        self.log.append(f"{one[0]}  AT ONCE WITH  {other[0]}")
        with ThreadPoolExecutor(2) as threads:
            for made in [threads.submit(one[1]), threads.submit(other[1])]:
                made.result()
        for first, second in ((one, other), (other, one)):
            state = self.states[0].copy()
            first[2](state)
            self.states.append(state.copy())
            second[2](state)
            self.states.append(state)
        self.world = self.states[-1].copy()

    # Changes

    def _any_change(self) -> Change:
        kinds = [self._connect] * 3 + [self._patch] * 5 + [self._friendship] * 3
        kinds += [self._conversation]
        if self.watchers:
            kinds += [self._leave] * 2 + [self._close]
        return self.random.choice(kinds)()

    def _connect(self) -> Change:
        user = self.random.choice(self.users)
        web = self.random.randrange(2)
        self.moved.add(user)

        def connect() -> None:
            self.watchers.append(Watcher(self.system, user, web))

        return f"connect {user} {web}", connect, lambda world: world.online.add(user)

    def _leave(self) -> Change:
        return self._end("leave", Watcher.leave)

    def _close(self) -> Change:
        return self._end("close", Watcher.close)

    def _end(self, what: str, end: Callable[[Watcher], None]) -> Change:
        watcher = self.random.choice(self.watchers)
        user = watcher.user_id
        self.moved.add(user)

        def go() -> None:
            self._check_frames(watcher, watcher.pump())
            self.watchers.remove(watcher)
            end(watcher)

        def in_the_model(world: World) -> None:
            if not any(one.user_id == user for one in self.watchers):
                world.online.discard(user)

        return f"{what} {user} {watcher.web}", go, in_the_model

    def _patch(self) -> Change:
        user = self.random.choice(self.users)
        fields: dict[str, Any] = {}
        new: dict[str, Any] = {}
        if self.random.random() < 0.6:
            new["visibility"] = fields["visibility"] = self.random.choice(CHOICES)
        if self.random.random() < 0.07:
            new["last_seen"] = fields["last_seen"] = self.random.choice(CHOICES)
        if not fields or self.random.random() < 0.4:
            others = [other for other in self.users if other != user]
            always = set(self.random.sample(others, self.random.randrange(3)))
            never = set(self.random.sample(others, self.random.randrange(3))) - always
            new |= {"always": always, "never": never}
            fields["exceptions"] = {"always": sorted(always), "never": sorted(never)}

        def in_the_model(world: World) -> None:
            world.settings[user] = Settings(**{**vars(world.of(user)), **new})

        web = self.random.randrange(2)
        change = partial(patch, self.system, user, fields, web=web)
        return f"patch {user} {fields}", change, in_the_model

    def _friendship(self) -> Change:
        one, other = self.random.sample(self.users, 2)
        status = self.random.choice(
            ("accepted", "accepted", "accepted", "blocked", "pending", None)
        )
        path = f"/friendships/{one}/{other}"

        def in_the_model(world: World) -> None:
            world.friendships.pop(frozenset((one, other)), None)
            if status is not None:
                world.friendships[frozenset((one, other))] = status

        change = (
            partial(self.system.admin, "DELETE", path)
            if status is None
            else partial(self.system.admin, "PUT", path, {"status": status})
        )
        return f"friendship {one} {other} {status}", change, in_the_model

    def _conversation(self) -> Change:
        name = f"{self.name}-c{self.random.randrange(3)}"
        path = f"/conversations/{name}"
        if self.random.random() < 0.3:
            delete = partial(self.system.admin, "DELETE", path)
            return (
                f"conversation {name} deleted",
                delete,
                lambda world: world.conversations.pop(name, None),
            )
        members = self.random.sample(self.users, self.random.randint(2, 4))
        put = partial(self.system.admin, "PUT", path, {"participants": members})
        return (
            f"conversation {name} {members}",
            put,
            lambda world: world.conversations.update({name: set(members)}),
        )

    # Checks

    def _settle(self) -> None:
        """Wait until nothing is on its way and every map is right."""
        self._blurred |= {
            (viewer, subject)
            for state in self.states
            for viewer, subject in permutations(self.users, 2)
            if state.last_seen_hidden_by(viewer, subject)
        }
        for user in self.users:
            self._wait(partial(self._is_true, user), f"Redis is wrong about {user}")
        for watcher in self.watchers:
            watcher.opened()
        self.sentinel.pass_by(*self.watchers)
        for watcher in self.watchers:
            self._wait(
                partial(self._is_right, watcher),
                f"the map of {watcher.user_id} is wrong",
                watcher,
            )
        for watcher in self.watchers:
            checked = getattr(watcher, "checked", 0)
            self._check_frames(watcher, watcher.frames[checked:])
        self._check_rest()
        self.check()

    def check(self) -> None:
        """Fail if there was a fault, with the whole history."""
        assert not self.faults, "\n".join((*self.log, "", *self.faults))

    def _wait(
        self,
        condition: Callable[[], bool],
        message: str,
        watcher: Watcher | None = None,
    ) -> None:
        try:
            wait_until(condition, 20)
        except AssertionError:
            self.faults.append(message)
            if watcher is not None:
                self._note_difference(watcher)
                self.faults += [frame.raw for frame in watcher.frames[-12:]]
            self.check()

    def _note_difference(self, watcher: Watcher) -> None:
        wanted = self.world.map_of(watcher.user_id)
        self.faults.append(f"{self._map(watcher)}, not {wanted}")

    def _is_true(self, user: str) -> bool:
        return self.system.is_online(user) == (user in self.world.online)

    def _is_right(self, watcher: Watcher) -> bool:
        return self._map(watcher) == self.world.map_of(watcher.user_id)

    def _map(self, watcher: Watcher) -> dict[str, str]:
        watcher.pump()
        statuses = {user: known.status for user, known in watcher.map.items()}
        statuses.pop(self.sentinel.user_id, None)
        return statuses

    def _check_frames(self, watcher: Watcher, frames: list[Frame]) -> None:
        watcher.checked = len(watcher.frames)  # type: ignore[attr-defined]
        viewer = watcher.user_id
        for frame in frames:
            if frame.event == "presence_snapshot":
                for user, entry in frame.data["statuses"].items():
                    self._check_status(viewer, user, entry["status"], frame)
            elif frame.event == "friend_status_changed":
                user = frame.data["user_id"]
                self._check_status(viewer, user, frame.data["status"], frame)
                self._check_cause(viewer, user, frame)
        self.faults += [
            f"time went back: {what}"
            for user, what in watcher.went_back
            if (viewer, user) not in self._blurred
        ]

    def _check_status(self, viewer: str, user: str, status: str, frame: Frame) -> None:
        if user == self.sentinel.user_id:
            return
        relevant = [one for one in self.states if one.is_relevant(viewer, user)]
        if not relevant:
            self.faults.append(f"{viewer} heard of {user}, a stranger: {frame.raw}")
        elif status == "online" and not any(
            one.can_see(viewer, user) and (user in one.online or user in self.moved)
            for one in relevant
        ):
            self.faults.append(f"{viewer} heard that {user} is online: {frame.raw}")
        elif status == "offline" and not any(
            one.shown(viewer, user) == "offline" or user in self.moved
            for one in relevant
        ):
            self.faults.append(f"{viewer} heard that {user} is offline: {frame.raw}")

    def _check_cause(self, viewer: str, user: str, frame: Frame) -> None:
        """An event needs a change of the status that is shown to the viewer."""
        if user == self.sentinel.user_id:
            return
        shown = {one.shown(viewer, user) for one in self.states}
        hidden = not any(one.can_see(viewer, user) for one in self.states)
        if len(shown) == 1 and (hidden or user not in self.moved):
            self.faults.append(f"{viewer} heard of {user} for no cause: {frame.raw}")

    def _check_rest(self) -> None:
        world = self.world
        for viewer in self.users:
            web = self.random.randrange(2)
            ask = partial(call_as, self.system, viewer, "GET", web=web)
            friends = {
                **world.friends_map(viewer),
                self.sentinel.user_id: self.system.is_online(self.sentinel.user_id),
            }
            self._expect(viewer, ask("/api/friends/online-status"), friends)
            partners = world.partners_map(viewer)
            self._expect(viewer, ask("/api/conversations/online-status"), partners)
            for name in world.conversations:
                path = f"/api/conversations/{name}/online-status"
                statuses = world.conversation_map(viewer, name)
                self._expect(viewer, ask(path), statuses)
            for subject in self.users:
                if subject != viewer:
                    answer = ask(f"/api/users/{subject}/status")
                    self._check_user(viewer, subject, answer)

    def _expect(
        self, viewer: str, answer: Answer, statuses: dict[str, bool] | None
    ) -> None:
        told = answer.json["data"]["statuses"] if answer.status == 200 else None
        if told != statuses:
            self.faults.append(f"REST for {viewer}: {answer}, not {statuses}")

    def _check_user(self, viewer: str, subject: str, answer: Answer) -> None:
        before = self._answers.pop((viewer, subject), None)
        status = self.world.shown(viewer, subject)
        fault = partial("REST for {} on {}: {} {}".format, viewer, subject, answer)
        if status is None:
            if answer.status != 403:
                self.faults.append(fault("of a stranger"))
            return
        self._answers[viewer, subject] = answer
        data = answer.json["data"] if answer.status == 200 else {}
        if data.get("status") != status:
            self.faults.append(fault(f"is not {status}"))
            return
        hidden_by = self.world.last_seen_hidden_by(viewer, subject)
        if hidden_by and (data["last_seen"], data["updated_at"]) != (None, None):
            self.faults.append(fault("tells a time"))
        if hidden_by == {"you"} and data.get("last_seen_hidden_by") != "you":
            self.faults.append(fault("does not say why"))
        if "you" not in hidden_by and "last_seen_hidden_by" in data:
            self.faults.append(fault("says why"))
        shown = {one.shown(viewer, subject) for one in self.states}
        hides = {
            frozenset(one.last_seen_hidden_by(viewer, subject)) for one in self.states
        }
        quiet = subject not in self.moved or not any(
            one.can_see(viewer, subject) for one in self.states
        )
        stays = before and quiet and shown == {"offline"} and len(hides) == 1
        if before and stays and before.body != answer.body:
            self.faults.append(fault(f"was {before.body}, and nothing changed"))
        if data["status"] == "online" and not hidden_by and data["last_seen"] is None:
            self.faults.append(fault("is online and was never seen"))

    def compare_fresh_clients(self) -> None:
        """A new client's snapshot says the same as the map of an old client."""
        for old in list(self.watchers):
            new = Watcher(self.system, old.user_id, 1 - old.web).opened()
            old.pump()
            for user, known in new.map.items():
                offline = known.status == "offline"
                if user == self.sentinel.user_id or (
                    offline and (old.user_id, user) in self._blurred
                ):
                    continue
                if old.map.get(user) != known:
                    self.faults.append(
                        f"{old.user_id} knows of {user} {old.map.get(user)}, and a new "
                        f"client {known}"
                    )
            new.leave()
        self.check()

    def close(self) -> None:
        """Close all sockets."""
        for watcher in self.watchers:
            watcher.close()
        self.sentinel.close()
