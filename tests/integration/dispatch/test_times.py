from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from tests.integration.dispatch.calls import calls_of, in_seconds, send
from tests.system import Hantar


async def test_a_scheduled_message_goes_at_its_time_and_not_before(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    send_at = datetime.now(UTC) + timedelta(seconds=2)
    id_ = await send(hantar, account, send_at=send_at.isoformat())
    message = await hantar.message(account, id_)
    assert (message["status"], message["waiting"]["reason"]) == ("scheduled", "scheduled")
    assert await hantar.balance(account) == 9
    await hantar.until(account, id_, "delivered")
    [called_at] = await calls_of(hantar.pool, [id_])
    late = (datetime.now(UTC) - send_at).total_seconds() - (time.monotonic() - called_at)
    assert 0.0 <= late < 1.5


async def test_what_cannot_go_out_in_time_expires_and_is_never_called(hantar: Hantar) -> None:
    """The first slot of a device that may call every four seconds comes too late."""
    account = await hantar.account(credits=10, per_second=0.25)
    id_ = await send(hantar, account, expires_at=in_seconds(1))
    lives = await send(hantar, account, "+60191111111", expires_at=in_seconds(60))
    message = await hantar.until(account, id_, "expired")
    assert (message["error"]["code"], message["credit"]) == ("expired", "released")
    await hantar.until(account, lives, "delivered")
    assert await calls_of(hantar.pool, [id_]) == []
    assert await hantar.balance(account) == 9
    assert await hantar.drifting() == []


async def test_a_message_whose_device_is_deleted_is_skipped(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, send_at=in_seconds(1))
    await hantar.pool.execute("UPDATE devices SET deleted_at = now()")
    message = await hantar.until(account, id_, "skipped")
    assert (message["error"]["code"], message["credit"]) == ("no_device", "released")
    assert await calls_of(hantar.pool, [id_]) == []
    assert await hantar.balance(account) == 10
    assert await hantar.drifting() == []
