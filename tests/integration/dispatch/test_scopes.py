"""What else waits when an answer concerns more than its message: each scope holds its own."""

from __future__ import annotations

from typing import Any

import pytest

from service.core.circuit import FAILURES, FIRST_SECONDS
from tests.integration.dispatch.calls import calls_of, send
from tests.system import Account, Hantar, eventually

ONE, OTHER = "+60123450001", "+60123450002"


async def refused(hantar: Hantar, account: Account, code: str, **fields: Any) -> int:
    """A message to ONE whose first call has met this code."""
    id_ = await send(hantar, account, ONE, body=f"#simulate {code}", **fields)

    async def look() -> bool:
        return bool(await calls_of(hantar.pool, [id_]))

    await eventually(look)

    async def written() -> Any:
        message = await hantar.message(account, id_)
        return message["status"] == "queued" and message["waiting"] is not None

    await eventually(written)
    return id_


async def gap(hantar: Hantar, first: int, second: int) -> float:
    """Seconds from the first call of one message to that of another."""
    [begin, *_] = await calls_of(hantar.pool, [first])
    [end, *_] = await calls_of(hantar.pool, [second])
    return end - begin


async def test_a_recipient_waits_and_nobody_else(hantar: Hantar) -> None:
    account = await hantar.account()
    first = await refused(hantar, account, "recipient_limit")
    same, other = await send(hantar, account, ONE), await send(hantar, account, OTHER)
    await hantar.until(account, other, "delivered")
    assert (await hantar.message(account, same))["waiting"]["reason"] == "held"
    for id_ in (first, same):
        message = await hantar.until(account, id_, "delivered")
        assert message["attempts"] == 1, "what is no fault of the message used up a try"
    assert await gap(hantar, first, other) < 3.0 <= await gap(hantar, first, same)
    assert await hantar.drifting() == []


async def test_a_template_waits_and_the_rest_goes(hantar: Hantar) -> None:
    account = await hantar.account()
    made = await hantar.post(
        "/templates", account, {"name": "t", "body": "#simulate template_paused"}
    )
    template = {"template_id": made.json["data"]["id"], "body": None}
    first = await send(hantar, account, ONE, **template)

    async def held() -> bool:
        return bool(await hantar.pool.fetchval("SELECT count(*) FROM holds"))

    await eventually(held)
    same = await send(hantar, account, OTHER, **template)
    other = await send(hantar, account, OTHER)
    await hantar.until(account, other, "delivered")
    assert await gap(hantar, first, other) < 3.0
    await hantar.until(account, same, "delivered")
    assert await gap(hantar, first, same) >= 3.0


async def test_an_account_waits_with_all_its_devices_and_no_other_account(hantar: Hantar) -> None:
    account, stranger = await hantar.account(), await hantar.account()
    body = {"name": "second", "driver": "simulator"}
    second = (await hantar.post("/devices", account, body)).json["data"]["id"]
    first = await refused(hantar, account, "account_limit", device=account.device_id)
    same = await send(hantar, account, OTHER, device=second)
    other = await send(hantar, stranger, OTHER)
    await hantar.until(stranger, other, "delivered")
    await hantar.until(account, same, "delivered")
    assert await gap(hantar, first, other) < 3.0 <= await gap(hantar, first, same)


@pytest.mark.parametrize(
    ("code", "stops_second"), [("device_blocked", False), ("token_refused", True)]
)
async def test_what_only_a_person_can_mend_stops_the_device_until_it_is_resumed(
    hantar: Hantar, code: str, stops_second: bool
) -> None:
    account = await hantar.account()
    body = {"name": "second", "driver": "simulator"}
    second = (await hantar.post("/devices", account, body)).json["data"]["id"]
    first = await send(hantar, account, ONE, body=f"#simulate {code}", device=account.device_id)

    async def state(device: int) -> str:
        return str((await hantar.get(f"/devices/{device}", account)).json["data"]["state"])

    async def stopped() -> bool:
        return await state(account.device_id) == "error"

    await eventually(stopped)
    assert (await state(second) == "error") is stops_second
    late = await send(hantar, account, OTHER, device=account.device_id)
    message = await hantar.message(account, late)
    assert (message["status"], message["waiting"]["reason"]) == ("queued", "not_ready")
    for device in (account.device_id, second):
        await hantar.post(f"/devices/{device}/resume", account, None)
    for id_ in (first, late):
        await hantar.until(account, id_, "delivered")
    assert await state(account.device_id) == "ready"


async def test_a_device_whose_calls_nobody_answers_is_left_alone_for_a_while(
    hantar: Hantar,
) -> None:
    account, stranger = await hantar.account(), await hantar.account()
    silent = [await send(hantar, account, "+601155500002") for _ in range(FAILURES)]
    for id_ in silent:
        await hantar.until(account, id_, "unconfirmed", "sent", "delivered")
    after = await send(hantar, account, ONE)
    other = await send(hantar, stranger, ONE)
    await hantar.until(stranger, other, "delivered")
    assert (await hantar.message(account, after))["waiting"]["reason"] == "held"
    await hantar.until(account, after, "delivered")
    assert await gap(hantar, silent[-1], after) >= FIRST_SECONDS
