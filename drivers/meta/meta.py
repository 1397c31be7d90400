"""The Cloud API driver: a call for each message, under the access token of its device."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from drivers.driver import Failed, Host, Report, Send
from drivers.guarded import NoAnswer, NotAllowed, NotSent
from drivers.meta.answers import NO_ANSWER, Codes, outcome_by, outcome_of
from drivers.meta.calls import CONNECTIONS_LIMIT, Calls
from drivers.meta.errors import rule_of
from drivers.meta.marks import mark
from drivers.meta.payloads import Choice, choose, payload
from drivers.meta.persons import Person, known, marketing
from drivers.meta.standings import Named, Standings, blocked
from drivers.meta.streaks import Streaks

log = structlog.get_logger(__name__)

#: Calls still in flight when the driver closes get this long to be answered.
CLOSE_SECONDS = 3.0


class Meta:
    """Sends through Meta's Cloud API; it takes no idempotency key, so nothing is repeated."""

    repeats = False
    batch_limit = 50
    in_flight_limit = CONNECTIONS_LIMIT

    def __init__(self) -> None:
        self._calls: dict[str, Calls] = {}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._codes = Codes()
        self._streaks = Streaks()
        self._closing = False

    async def start(self, host: Host) -> None:
        """Nothing is waited for."""
        self._host = host
        self._base_url = host.settings["base_url"]
        self._version = host.settings["api_version"]
        self._standings = Standings(host, self._version, self._calls_of)
        self._standings.start()

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Call for each message by itself; a slow one holds up no other."""
        device = await self._host.device(batch[0].device_id)
        number, token = device.get("phone_number_id"), device.get("access_token")
        if not number or not token:
            return
        device_id = batch[0].device_id
        persons = await known(self._host.pool, device_id, list({send.phone for send in batch}))
        # Without webhooks nobody here hears what persons write.
        hears = bool(device.get("app_secret"))
        choices = {
            send.message_id: choose(send, persons[send.phone].window_open if hears else None)
            for send in batch
        }
        refused = await self._refused(device_id, batch, choices, persons)
        if self._closing:
            return  # perhaps meanwhile: its sessions are closed, and nothing was begun
        calls = self._calls_of(token)
        path = f"/{self._version}/{number}/messages"
        tasks = []
        for send in batch:
            choice = choices[send.message_id]
            code = refused.get(send.message_id)
            if code is not None:
                _refuse(send, report, code)
            else:
                proof = mark(self._host.secret, send.device_id, send.message_id, send.attempt)
                body = payload(send, proof, choice)
                sending = self._send_one(calls, path, send, body, choice.named, report)
                tasks.append(asyncio.create_task(sending, name="meta:send"))
        self._in_flight.update(tasks)
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            self._in_flight.difference_update(tasks)

    def _calls_of(self, token: str) -> Calls:
        calls = self._calls.get(token)
        if calls is None:
            calls = self._calls[token] = Calls(self._base_url, token)
        return calls

    async def _refused(
        self,
        device_id: int,
        batch: Sequence[Send],
        choices: Mapping[int, Choice],
        persons: Mapping[str, Person],
    ) -> dict[int, int]:
        """By message the code for which Meta would refuse it."""
        pool = self._host.pool
        named = {choice.named for choice in choices.values() if choice.named is not None}
        stopped = await blocked(pool, device_id, sorted(named)) if named else {}
        wary = named and any(person.no_marketing for person in persons.values())
        names = sorted({name for name, _ in named})
        advertising = await marketing(pool, device_id, names) if wary else set()
        found = {}
        for send in batch:
            choice, person = choices[send.message_id], persons[send.phone]
            code = person.refused or choice.refused
            if choice.named is not None:
                withheld = person.no_marketing if choice.named[0] in advertising else None
                code = code or withheld or stopped.get(choice.named)
            if code is not None:
                found[send.message_id] = code
        return found

    async def _send_one(
        self,
        calls: Calls,
        path: str,
        send: Send,
        body: bytes,
        named: Named | None,
        report: Report,
    ) -> None:
        try:
            answer = await calls.post(
                path, body, lambda: report.begin(send), lambda: report.made([send])
            )
        except NotAllowed:
            return
        except NotSent as error:
            log.warning("meta_not_reached", device_id=send.device_id, error=str(error))
        except NoAnswer as error:
            log.warning(
                "meta_no_answer",
                message_id=send.message_id,
                trace_id=send.trace_id,
                error=str(error),
            )
            report.done(send, NO_ANSWER)
        else:
            outcome = outcome_of(answer, self._codes)
            if named is not None:
                outcome = self._streaks.judge(send.device_id, named, outcome)
            report.done(send, outcome)

    async def close(self) -> None:
        """Wait a moment for answers; what is still open then was taken or not, nobody knows."""
        self._closing = True
        await self._standings.close()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=CLOSE_SECONDS)
        await asyncio.gather(*(calls.close() for calls in self._calls.values()))


def _refuse(send: Send, report: Report, code: int) -> None:
    """What Meta would answer, without asking it; that it was not asked prolongs nothing."""
    if report.begin(send):
        outcome = outcome_by(rule_of(code), code)
        if isinstance(outcome, Failed):
            outcome = replace(outcome, known_seconds=None)
        report.done(send, outcome)
