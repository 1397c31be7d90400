"""What waits in a lane: the few messages of one device that are next, in the order to send."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from service.dispatch.packs import Entry, Pack

#: Commands a lane keeps unacked; further ones are parked, so that a flood of single messages
#: leaves the queue's hand free for the other devices of its shard.
PACKS_LIMIT = 16


class Backlog:
    """Entries by priority, each message once.

    `ids` are those of all messages here or in flight: who finishes with one takes it out.
    """

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self._waiting: tuple[deque[Entry], ...] = (deque(), deque(), deque())
        self._packs: list[Pack] = []

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def add(self, entries: Sequence[Entry], room: int) -> list[Entry]:
        """Take up to `room`; answers the rest, which the caller parks.

        A message that is already here, as a command was delivered twice, is parked as well: its
        first command is not this lane's to ack any more, and the claim drops the parked row.
        """
        if not self._takes(entries, room):
            return list(entries)
        rest = []
        for entry in entries:
            if entry.message_id not in self.ids and room > 0:
                room -= 1
                self.ids.add(entry.message_id)
                self._waiting[entry.priority].append(entry)
            else:
                rest.append(entry)
        return rest

    def _takes(self, entries: Sequence[Entry], room: int) -> bool:
        """Whether the command of these entries may be kept; parked ones have none."""
        pack = entries[0].pack if entries else None
        if pack is None or not room:
            return pack is None
        if len(self._packs) >= PACKS_LIMIT:
            self._packs = [kept for kept in self._packs if kept.open]
        if len(self._packs) >= PACKS_LIMIT:
            return False
        self._packs.append(pack)
        return True

    def pop(self, count: int) -> list[Entry]:
        """The next ones to send; they stay in `ids`."""
        entries: list[Entry] = []
        for waiting in self._waiting:
            while waiting and len(entries) < count:
                entries.append(waiting.popleft())
        return entries

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Return what `pop` or `take_all` gave, in its place."""
        for entry in reversed(entries):
            self._waiting[entry.priority].appendleft(entry)
        self.ids.update(entry.message_id for entry in entries)

    def take_all(self) -> list[Entry]:
        """Empty it of what is not claimed yet."""
        entries = [entry for waiting in self._waiting for entry in waiting]
        for waiting in self._waiting:
            waiting.clear()
        self.forget(entries)
        return entries

    def forget(self, entries: Sequence[Entry]) -> None:
        """These are not this lane's any more."""
        self.ids.difference_update(entry.message_id for entry in entries)
