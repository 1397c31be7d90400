"""Outcomes on their way to the recorder: those of one turn of the loop in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from service.core.lifecycle import Change, Status
from service.dispatch.claims import Claim
from service.dispatch.packs import Entry
from service.record.recorder import Through

log = structlog.get_logger(__name__)

#: Hands changes to the recorder; the future is done when they are committed.
Put = Callable[[Sequence[Change | Through]], asyncio.Future[Sequence[None]]]


class Outcomes:
    """Gathers changes, puts them together, and settles their entries once they are committed.

    A message's id leaves `ids` then too, so that a lane knows until when it has to pass over it.
    `closed` is told which claims are through, `returned` which messages wait again and could go on
    at once.
    """

    def __init__(
        self,
        put: Put,
        ids: set[int],
        closed: Callable[[Iterable[int]], None],
        returned: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._put = put
        self._ids = ids
        self._closed = closed
        self._returned = returned
        self._changes: list[tuple[Change, Entry]] = []
        self._claims: list[Claim] = []

    def add(self, change: Change, entry: Entry, claim: Claim | None = None) -> None:
        """Write this soon; a claimed message is then open in its claim no more."""
        if not self._changes:
            asyncio.get_running_loop().call_soon(self._write)
        self._changes.append((change, entry))
        if claim is not None:
            self._claims.append(claim)

    def _write(self) -> None:
        changes, self._changes = self._changes, []
        claims, self._claims = self._claims, []
        through = []
        # Counted as they are put and not as they come: a claim has messages of many devices, and
        # its note must not go before the last change of any of them, lest nobody looks for it.
        for claim in claims:
            claim.open -= 1
            if claim.open == 0:
                through.append(Through(claim.id))
        written = self._put([*(change for change, _ in changes), *through])
        written.add_done_callback(lambda future: self._written(changes, through, future))

    def _written(
        self,
        changes: list[tuple[Change, Entry]],
        through: list[Through],
        future: asyncio.Future[Sequence[None]],
    ) -> None:
        self._closed(note.claim for note in through)
        self._ids.difference_update(entry.message_id for _, entry in changes)
        if future.cancelled() or future.exception() is not None:
            # Not acked: the command comes again, and the claim's note tells what was left.
            log.error("outcomes_not_recorded", messages=len(changes))
            return
        for _, entry in changes:
            entry.settle()
        back = [
            replace(entry, pack=None)
            for change, entry in changes
            if change.status is Status.QUEUED and change.not_before is None
        ]
        if back:
            self._returned(back)
