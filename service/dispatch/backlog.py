"""What waits in a lane: the few messages of one device that are next, in the order to send."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from service.dispatch.packs import Entry, Key, Pack

PRIORITIES = 3
HIGH = 0
#: Commands of each priority, the highest first, that a lane keeps unacked until their outcomes are
#: written; further ones are parked, so that floods of single messages to a few devices leave the
#: queue's hand free (`CROWDED` in dispatcher.py) for the others of their shard.
PACKS_LIMITS = (32, 16, 16)
#: So many messages in a row of one priority, then one of those below it: nobody starves. What
#: waits at the head of its flow goes after this many turns of its flow, squared for `low`.
RUN_LIMIT = 9
#: A priority that holds more than so many times its capacity gives back what is beyond it.
EXCESS_FACTOR = 2


class Backlog:
    """Entries by priority and flow, each message once.

    The urgent go first; of one priority the flows take turns, a message each. `ids` are those of
    all messages here or in flight: who finishes with one takes it out.
    """

    def __init__(self) -> None:
        self.ids: set[int] = set()
        # Of each priority the flows in the order of their turns.
        self._flows: tuple[OrderedDict[int, deque[Entry]], ...] = tuple(
            OrderedDict() for _ in range(PRIORITIES)
        )
        self._size = 0
        # Messages in a row that went before those of lower priorities.
        self._runs = [0] * PRIORITIES
        self._high_alone = False
        self._packs: list[list[Pack]] = [[] for _ in range(PRIORITIES)]

    def __len__(self) -> int:
        return self._size

    def add(self, entries: Sequence[Entry], capacity: int) -> list[Entry]:
        """Take what fits into each flow's share of the capacity; the caller parks the rest.

        A message that is already here, as a command was delivered twice, is parked as well: its
        first command is not this lane's to ack any more, and the claim drops the parked row.
        """
        if not entries or not self._takes(entries[0]):
            return list(entries)
        shares = self._shares(capacity, coming={entry.key for entry in entries})
        rest = []
        for entry in entries:
            room = shares[entry.priority] - self.count(entry.key)
            if entry.message_id in self.ids or room <= 0:
                rest.append(entry)
            else:
                self.ids.add(entry.message_id)
                self._append(entry)
        return rest

    def _takes(self, first: Entry) -> bool:
        """Whether the command that this comes with may be kept; parked ones have none."""
        if first.pack is None:
            return True
        packs, limit = self._packs[first.priority], PACKS_LIMITS[first.priority]
        if len(packs) >= limit:
            packs[:] = [kept for kept in packs if kept.open]
        if len(packs) >= limit:
            return False
        packs.append(first.pack)
        return True

    def _shares(self, capacity: int, coming: Iterable[Key] = ()) -> list[int]:
        """How many messages each flow of a priority may have here."""
        flows = [set(each) for each in self._flows]
        for priority, flow in coming:
            flows[priority].add(flow)
        return [max(1, capacity // max(1, len(each))) for each in flows]

    def count(self, key: Key) -> int:
        """How many messages of this flow and priority are here."""
        priority, flow = key
        return len(self._flows[priority].get(flow, ()))

    def sated(self, capacity: int) -> list[Key]:
        """The flows that have more than half of their share."""
        shares = self._shares(capacity)
        return [
            (priority, flow)
            for priority, flows in enumerate(self._flows)
            for flow, queue in flows.items()
            if len(queue) > shares[priority] // 2
        ]

    def pop(self, count: int) -> list[Entry]:
        """The next ones to send; they stay in `ids`.

        Those of high priority come without others behind them, with whom a claim takes longer; not
        twice in a row though, or a trickle of them would keep all claims small.
        """
        entries: list[Entry] = []
        high_alone = not self._high_alone and bool(self._flows[HIGH])
        while self._size and len(entries) < count:
            if high_alone and entries and not self._flows[HIGH]:
                break
            flows = self._flows[self._turn()]
            flow, queue = next(iter(flows.items()))
            entries.append(queue.popleft())
            self._size -= 1
            if queue:
                flows.move_to_end(flow)
            else:
                del flows[flow]
        self._high_alone = high_alone
        return entries

    def _turn(self) -> int:
        """The priority whose turn it is, of those with messages."""
        *upper, lowest = (priority for priority, flows in enumerate(self._flows) if flows)
        turn = next((each for each in upper if self._runs[each] < RUN_LIMIT), lowest)
        self._runs[:turn] = [0] * turn
        self._runs[turn] = 0 if turn == lowest else self._runs[turn] + 1
        return turn

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Return what `pop` or `take_all` gave, in its place."""
        for entry in reversed(entries):
            flows = self._flows[entry.priority]
            flows.setdefault(entry.flow, deque()).appendleft(entry)
            flows.move_to_end(entry.flow, last=False)
        self._size += len(entries)
        self.ids.update(entry.message_id for entry in entries)

    def take_all(self) -> list[Entry]:
        """Empty it of what is not claimed yet."""
        entries = [entry for flows in self._flows for queue in flows.values() for entry in queue]
        for flows in self._flows:
            flows.clear()
        self._size = 0
        self.forget(entries)
        return entries

    def take_excess(self, capacity: int) -> list[Entry]:
        """What a capacity that has become this small leaves no room for, the last ones."""
        if self._size <= EXCESS_FACTOR * capacity:
            return []
        shares = self._shares(capacity)
        taken: list[Entry] = []
        for share, flows in zip(shares, self._flows, strict=True):
            if sum(map(len, flows.values())) > EXCESS_FACTOR * capacity:
                for queue in flows.values():
                    taken += [queue.pop() for _ in range(len(queue) - share)]
        self._size -= len(taken)
        self.forget(taken)
        return taken[::-1]

    def return_excess(self, entries: Sequence[Entry]) -> None:
        """Take back what `take_excess` gave."""
        for entry in entries:
            self.ids.add(entry.message_id)
            self._append(entry)

    def forget(self, entries: Iterable[Entry]) -> None:
        """These are not this lane's any more."""
        self.ids.difference_update(entry.message_id for entry in entries)

    def _append(self, entry: Entry) -> None:
        self._flows[entry.priority].setdefault(entry.flow, deque()).append(entry)
        self._size += 1
