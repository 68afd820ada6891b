"""Two worlds side by side: in one a user really goes offline, in the other a user
hides. What the two viewers get must be the same, byte for byte, but for ids and
times."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import zip_longest
from typing import Any, Self

from tests.privacy.watcher import Answer, Sentinel, Watcher, call_as, patch
from tests.system import System, wait_until

Fields = dict[str, Any]


class Side:
    """One of the two worlds: a viewer and a subject. If `hides`, the subject hides when
    it goes away, and otherwise it leaves."""

    def __init__(self, system: System, name: str, letter: str, *, hides: bool) -> None:
        self.system = system
        self.viewer = f"{name}-{letter}-viewer"
        self.subject = f"{name}-{letter}-subject"
        self.talk = f"{name}-{letter}-talk"
        self.makes_invisible = hides
        self.record: list[str] = []
        self.record_with_detail: list[str] = []
        self.devices: list[Watcher] = []
        self.told_at: list[int] = []
        """The timestamps of the events about the subject."""
        self._times: dict[tuple[str, int], str] = {}
        self._times_with_detail: dict[tuple[str, int], str] = {}
        self._letter = letter
        self.sentinel = f"{name}-z"
        self._recorded = 0
        self._recorded_with_detail = 0
        for user in (self.viewer, self.subject):
            system.admin("PUT", f"/users/{user}", {"display_name": user})
        self.watcher: Watcher
        self.with_detail: Watcher

    # The subject

    def connect(self, web: int = 1) -> None:
        """One more device of the subject comes online."""
        self.devices.append(Watcher(self.system, self.subject, web))
        wait_until(lambda: self.system.is_online(self.subject), 30)

    def leave(self) -> None:
        """All devices of the subject leave."""
        while self.devices:
            self.devices.pop().leave()
        wait_until(lambda: not self.system.is_online(self.subject), 30)

    def patch(self, fields: Fields) -> Fields:
        """Change the subject's settings."""
        return patch(self.system, self.subject, fields, web=1)

    def hide(self, how: str = "nobody") -> None:
        """Hide from the viewer."""
        never = {"always": [], "never": [self.viewer]}
        fields: dict[str, Fields] = {
            "nobody": {"visibility": "nobody"},
            "friends": {"visibility": "friends"},
            "never": {"exceptions": never},
        }
        self.patch(fields[how])

    def show(self) -> None:
        """End whatever hides the subject."""
        self.patch({"visibility": "everyone", "exceptions": None})

    def go_away(self, how: str = "nobody") -> None:
        """Hide, or really leave."""
        if self.makes_invisible:
            self.hide(how)
        else:
            self.leave()

    def come_back(self) -> None:
        """Be visible again, or really come."""
        if self.makes_invisible:
            self.show()
        else:
            self.connect()

    def change_detail_behind(self) -> None:
        """A hidden subject changes its detail, is idle, and is back. A layer ends."""
        if not self.makes_invisible:
            return
        end = time.time_ns() // 1_000_000 + 1000
        fields = {"availability": "dnd", "text": "secret", "expires_at": end}
        path = f"/users/{self.subject}/presence"
        for change in (fields, {"text": "other"}, {"emoji": "🌴"}):
            self.patch(change)
            self.system.admin("PATCH", path, {"text": "of the host"})
        while time.time_ns() // 1_000_000 <= end + 100:
            time.sleep(0.05)
        self.patch({"availability": None, "text": None, "emoji": None})
        self.system.admin("PATCH", path, {"text": None})
        for availability in ("away", "active") if self.devices else ():
            for device in self.devices:
                device.say_idle(idle=availability == "away")
            wait_until(lambda to=availability: self._own_availability() == to, 30)

    def _own_availability(self) -> str | None:
        path = f"/api/users/{self.subject}/status?detail=1"
        answer = call_as(self.system, self.subject, "GET", path)
        detail = answer.json["data"]["detail"]
        return None if detail is None else str(detail["availability"])

    def come_and_go_behind(self) -> None:
        """A hidden subject comes and goes with several devices, and stays online. It
        also changes its detail."""
        self.change_detail_behind()
        if self.makes_invisible:
            self.connect(0)
            self.leave()
            self.connect(1)
            self.connect(0)
            self.devices.pop().leave()
            self.devices.pop().close()
            wait_until(lambda: not self.system.is_online(self.subject), 30)
            self.connect(1)

    # The relation of the two

    def befriend(self, status: str = "accepted") -> None:
        """Set the friendship of the two."""
        path = f"/friendships/{self.viewer}/{self.subject}"
        self.system.admin("PUT", path, {"status": status})

    def unfriend(self) -> None:
        """Delete it."""
        path = f"/friendships/{self.viewer}/{self.subject}"
        self.system.admin("DELETE", path)

    def talk_together(self) -> None:
        """Put both into a conversation."""
        participants = [self.viewer, self.subject]
        path = f"/conversations/{self.talk}"
        self.system.admin("PUT", path, {"participants": participants})

    # What the viewer gets

    def watch(self, web: int = 0) -> None:
        """The viewer comes online."""
        self.watcher = Watcher(self.system, self.viewer, web).opened()
        self.with_detail = Watcher(self.system, self.viewer, web, "?detail=1").opened()
        self._recorded = self._recorded_with_detail = 0
        self.pump()

    def pump(self) -> None:
        """Record what the viewer was sent."""
        self.watcher.pump()
        new = self.watcher.frames[self._recorded :]
        self._recorded += len(new)
        self._record_frames(self.watcher, new)
        # Two sockets, so their frames come in any order: one list each.
        self.with_detail.pump()
        new = self.with_detail.frames[self._recorded_with_detail :]
        self._recorded_with_detail += len(new)
        into = self.record_with_detail
        self._record_frames(self.with_detail, new, into)

    def look(self) -> None:
        """Record what a new client and REST say."""
        self.record.append("-- look")
        for query in ("", "?detail=1"):
            client = Watcher(self.system, self.viewer, 1, query).opened()
            self._record_frames(client, client.frames)
            client.close()
        for path in (
            f"/api/users/{self.subject}/status",
            "/api/friends/online-status",
            "/api/conversations/online-status",
            f"/api/conversations/{self.talk}/online-status",
        ):
            for query in ("", "?detail=1"):
                answer = call_as(self.system, self.viewer, "GET", path + query)
                self._record_answer(answer)

    def status(self) -> dict[str, Any]:
        """What REST says of the subject."""
        path = f"/api/users/{self.subject}/status"
        answer = call_as(self.system, self.viewer, "GET", path)
        data: dict[str, Any] = answer.json["data"]
        return data

    def snapshot(self) -> dict[str, Any]:
        """What a new client is told of the subject."""
        client = Watcher(self.system, self.viewer, 1).opened()
        frames = [one for one in client.frames if one.event == "presence_snapshot"]
        client.close()
        found: dict[str, Any] = frames[-1].data["statuses"][self.subject]
        return found

    def _record_frames(
        self, watcher: Watcher, frames: list[Any], into: list[str] | None = None
    ) -> None:
        record = self.record if into is None else into
        known = self._times if into is None else self._times_with_detail
        for frame in frames:
            if (
                into is None
                and frame.event == "friend_status_changed"
                and frame.data["user_id"] == self.subject
            ):
                self.told_at.append(frame.data["timestamp"])
            if frame.event in {"welcome", "going_away"}:  # names the process
                record.append(f"{frame.event} {list(frame.data)}")
            elif frame.event == "heartbeat_ack" or (
                frame.data.get("user_id") == self.sentinel
            ):
                continue
            else:
                raw = self._without_sentinel(frame.raw)
                record.append(f"{self._plain(raw, known)} of {len(raw)}")
        assert not watcher.went_back, watcher.went_back

    def _record_answer(self, answer: Answer) -> None:
        headers = ", ".join(
            f"{name}: {value}"
            for name, value in answer.headers
            if name != "X-Request-ID"  # each answer has another one
        )
        body = answer.body
        if body.startswith('{"data":{"statuses":{'):  # a set of users has no order
            data = {
                name: dict(sorted(found.items()))
                for name, found in answer.json["data"].items()
            }
            body = f"{json.dumps(data)} of {len(body)}"
        body = self._plain(body, self._times)
        self.record.append(f"{answer.status} {headers} {body}")

    def _without_sentinel(self, raw: str) -> str:
        """`raw` without the status of the sentinel. A snapshot may be read before the
        sentinel passes by, or after it."""
        status = r"\{(?:[^{}]|\{[^{}]*\})*\}"
        return re.sub(f'("{self.sentinel}":){status}', r"\1{}", raw)

    def _plain(self, text: str, known: dict[tuple[str, int], str]) -> str:
        """`text` without the ids and the times of this world. Equal times have equal
        names, so that a changed time is seen."""

        def name(match: re.Match[str]) -> str:
            kind = {"last_seen": "L", "since": "S"}.get(match[1], "T")
            number = sum(key[0] == kind for key in known)
            time = known.setdefault((kind, int(match[2])), f"{kind}{number}")
            return f'"{match[1]}":{time}'

        times = r'"(timestamp|updated_at|last_seen|since)":\s?(\d{13})'
        text = re.sub(times, name, text)
        return text.replace(f"-{self._letter}-", "-x-")


class Twins:
    """The two sides, and a sentinel: a user that both viewers see."""

    def __init__(self, system: System, name: str) -> None:
        self.system = system
        self.real = Side(system, name, "a", hides=False)
        self.hidden = Side(system, name, "b", hides=True)
        self.sides = (self.real, self.hidden)
        self.sentinel = Sentinel(system, self.real.sentinel)
        system.befriend(self.real.sentinel, *(side.viewer for side in self.sides))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sentinel.close()
        for side in self.sides:
            for watcher in (*side.devices, side.watcher, side.with_detail):
                with suppress(OSError):
                    watcher.close()

    def watch(self) -> None:
        """Both viewers come online."""
        for side in self.sides:
            side.watch()

    def do(self, what: str, change: Callable[[Side], object]) -> None:
        """Make the change on both sides. Then compare what the viewers were sent, and
        what they find if they look."""
        for side in self.sides:
            side.pump()
            side.record.append(f"-- {what}")
            change(side)
        self.compare()
        for side in self.sides:
            side.look()
        self.compare()

    def compare(self) -> None:
        """Wait until nothing is on its way, and compare."""
        for side in self.sides:
            side.pump()
        self.sentinel.pass_by(
            *(side.watcher for side in self.sides),
            *(side.with_detail for side in self.sides),
        )
        with suppress(AssertionError):
            wait_until(self._are_equal, 5)
        assert self._are_equal(), self._difference()

    def _are_equal(self) -> bool:
        for side in self.sides:
            side.pump()
        return (
            self.hidden.record == self.real.record
            and self.hidden.record_with_detail == self.real.record_with_detail
        )

    def _difference(self) -> str:
        """Where the two records part."""
        lines = []
        for name in ("record", "record_with_detail"):
            lines.append(name)
            records = (getattr(side, name)[-20:] for side in self.sides)
            for real, hidden in zip_longest(*records):
                same = real == hidden
                lines.append(f"  {real}" if same else f"- {real}\n+ {hidden}")
        return "\n".join(("- really offline, + hidden", *lines))
