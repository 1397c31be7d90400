"""How numbers and templates stand with Meta: read from time to time, and heard from webhooks.

Sources: Meta's reference of the phone number node (quality_rating; the limit of its portfolio in
whatsapp_business_manager_messaging_limit, before that of the number in messaging_limit_tier), and
its page on template pausing (3 hours, 6 hours, then disabled).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from drivers.driver import Host, Standing
from drivers.guarded import NoAnswer
from drivers.meta.calls import Calls
from drivers.meta.wire import Answered

log = structlog.get_logger(__name__)

#: Between looks for numbers whose standing is due.
LOOK_SECONDS = 5.0
#: Numbers read in one look.
READ_LIMIT = 20
READ_SECONDS = 15.0
STATEMENT_SECONDS = 5.0
_BASIC = "display_phone_number,quality_rating"
_ALL = f"{_BASIC},whatsapp_business_manager_messaging_limit,messaging_limit_tier"
#: Meta's code for a field that this version of the API does not have.
_NO_SUCH_FIELD = 100
_TIER = re.compile(r"TIER_(?P<number>[0-9]{1,6})(?P<thousands>K)?", re.ASCII)
_WORD = re.compile(r"[A-Z0-9_]{1,50}")

# An hour after it was last read, or at once when a webhook has told something since; tried again
# after ten minutes. Whoever takes a number keeps the other dispatchers from reading it as well.
_TAKE = """
WITH due AS (
    SELECT id FROM devices
    WHERE driver = 'meta' AND deleted_at IS NULL AND state <> 'unlinked'
        AND COALESCE((standing ->> 'asked_at')::timestamptz < now() - interval '10 minutes'
            OR (standing ->> 'asked_at')::timestamptz < (standing ->> 'at')::timestamptz, true)
        AND COALESCE((standing ->> 'read_at')::timestamptz < now() - interval '1 hour'
            OR (standing ->> 'read_at')::timestamptz < (standing ->> 'at')::timestamptz, true)
    ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE devices d
SET standing = COALESCE(d.standing, '{}') || jsonb_build_object('asked_at', now())
FROM due WHERE d.id = due.id
RETURNING d.id
"""
# Meta may forget to say that a template is in use again: a word is believed for a day.
_BLOCKED = """
SELECT name, language, status FROM template_standings
WHERE device_id = $1 AND (name, language) IN (SELECT * FROM unnest($2::text[], $3::text[]))
    AND status = ANY($4::text[]) AND at > now() - interval '1 day'
"""
#: What a template may not be sent for, by its last word; other words leave it to Meta.
BLOCKING = {
    "PAUSED": 132015,
    "LOCKED": 132015,
    "REJECTED": 132001,
    "DELETED": 132001,
    "PENDING_DELETION": 132001,
    "DISABLED": 132016,
}

Named = tuple[str, str]


async def blocked(pool: Any, device_id: int, named: Sequence[Named]) -> dict[Named, int]:
    """Of templates by name and language those that Meta would refuse, and with which code."""
    names, languages = zip(*named, strict=True)
    rows = await pool.fetch(
        _BLOCKED, device_id, names, languages, list(BLOCKING), timeout=STATEMENT_SECONDS
    )
    return {(row["name"], row["language"]): BLOCKING[row["status"]] for row in rows}


class Standings:
    """Reads what is due; `calls_of` gives the calls under a token, to `version` of the API."""

    def __init__(self, host: Host, version: str, calls_of: Callable[[str], Calls]) -> None:
        self._host = host
        self._version = version
        self._calls_of = calls_of
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run(), name="meta:standings")

    async def close(self) -> None:
        """Stop; what is being read is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - the next look may find it mended
                log.warning("meta_standings_deferred", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        rows = await self._host.pool.fetch(_TAKE, READ_LIMIT, timeout=STATEMENT_SECONDS)
        found = await asyncio.gather(*(self._read(row["id"]) for row in rows))
        standings = [each for each in found if each is not None]
        if standings:
            await self._host.call_back(standings)

    async def _read(self, device_id: int) -> Standing | None:
        device = await self._host.device(device_id)
        number, token = device.get("phone_number_id"), device.get("access_token")
        if not number or not token:
            return None
        try:
            async with asyncio.timeout(READ_SECONDS):
                document = await self._ask(self._calls_of(token), number)
        except (NoAnswer, TimeoutError) as error:
            log.warning("meta_standing_unread", device_id=device_id, error=type(error).__name__)
            return None
        if document is None:
            log.warning("meta_standing_refused", device_id=device_id)
            return None
        return _standing(device_id, document)

    async def _ask(self, calls: Calls, number: str) -> Mapping[str, Any] | None:
        for fields in (_ALL, _BASIC):
            document = _document(await calls.get(f"/{self._version}/{number}?fields={fields}"))
            if "error" not in document:
                return document
            error = document["error"]
            if not isinstance(error, dict) or error.get("code") != _NO_SUCH_FIELD:
                return None
        return None


def _document(answer: Answered) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    good = isinstance(document, dict) and ("error" in document or answer.status == 200)
    return document if good else {"error": None}


def _standing(device_id: int, document: Mapping[str, Any]) -> Standing:
    limit = word(document.get("whatsapp_business_manager_messaging_limit"))
    limit = limit or word(document.get("messaging_limit_tier"))
    return Standing(
        device_id,
        datetime.now(UTC),
        word(document.get("quality_rating")),
        limit,
        recipients_of(limit),
        phone_of(document.get("display_phone_number")),
        complete=True,
    )


def word(found: object) -> str | None:
    """One of Meta's words in capitals; None where it is none."""
    return found if isinstance(found, str) and _WORD.fullmatch(found) else None


def recipients_of(limit: str | None) -> int | None:
    """How many people that is, as TIER_250 or TIER_10K; None where it is not bounded, as with
    TIER_UNLIMITED, or no such word."""
    found = _TIER.fullmatch(limit or "")
    return int(found["number"]) * (1000 if found["thousands"] else 1) if found else None


def phone_of(display: object) -> str | None:
    """The phone in E.164 that Meta writes with gaps and signs."""
    digits = re.sub(r"[^0-9]", "", display) if isinstance(display, str) else ""
    return f"+{digits}" if 7 <= len(digits) <= 15 else None
