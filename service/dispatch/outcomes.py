"""Outcomes on their way to the recorder: those of one turn of the loop in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from service.core.lifecycle import Change, Status
from service.dispatch.claims import Claim, Claims
from service.dispatch.packs import Entry
from service.record.recorder import Recorder, Through

log = structlog.get_logger(__name__)


class Outcomes:
    """Gathers changes, puts them together, and settles their entries once they are committed.

    A message's id leaves `ids` then too, so that a lane knows until when it has to pass over it.
    `returned` is told of those that wait again and could go on at once.
    """

    def __init__(
        self,
        recorder: Recorder,
        claims: Claims,
        ids: set[int],
        returned: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._recorder = recorder
        self._claims = claims
        self._ids = ids
        self._returned = returned
        self._changes: list[tuple[Change, Entry]] = []
        self._through: list[Through] = []

    def reported(self, claim: Claim) -> None:
        """One message less is open in this claim; its note goes with its last change."""
        claim.open -= 1
        if claim.open == 0:
            self._through.append(Through(claim.id))

    def add(self, change: Change, entry: Entry) -> None:
        """Write this soon."""
        if not self._changes:
            asyncio.get_running_loop().call_soon(self._write)
        self._changes.append((change, entry))

    def _write(self) -> None:
        changes, self._changes = self._changes, []
        through, self._through = self._through, []
        written = self._recorder.put([*(change for change, _ in changes), *through])
        written.add_done_callback(lambda future: self._written(changes, through, future))

    def _written(
        self,
        changes: list[tuple[Change, Entry]],
        through: list[Through],
        future: asyncio.Future[Sequence[None]],
    ) -> None:
        self._claims.closed(note.claim for note in through)
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
