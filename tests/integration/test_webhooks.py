"""Outgoing webhooks, to receivers on real sockets that check with the official library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.store.pool import Pool
from tests.servers.webhook_receiver import Receiver
from tests.system import Account, Hantar, eventually, run_app


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    async for running in run_app(dsn, pool, webhook_allow="127.0.0.0/8"):
        yield running


async def listen(hantar: Hantar, account: Account, url: str, **body: Any) -> Any:
    answer = await hantar.post("/webhook-endpoints", account, {"url": url, **body})
    assert answer.status == 201, answer.json
    return answer.json["data"]


async def send(hantar: Hantar, account: Account, count: int = 1) -> list[int]:
    items = [{"phone": f"01234560{n:02}", "body": "Hi"} for n in range(count)]
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    return [item["id"] for item in answer.json["queued"]]


async def delivered(hantar: Hantar, receiver: Receiver, ids: list[int]) -> None:
    async def look() -> bool:
        return {("message.delivered", id_) for id_ in ids} <= set(receiver.events())

    await eventually(look)


async def deliveries(hantar: Hantar, account: Account, endpoint: Any, state: str) -> list[Any]:
    path = f"/webhook-endpoints/{endpoint['id']}/deliveries?state={state}"
    rows: list[Any] = (await hantar.get(path, account)).json["data"]
    return rows


async def test_every_event_comes_signed(hantar: Hantar, receiver: Receiver) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url)
    ids = await send(hantar, account, 5)
    await delivered(hantar, receiver, ids)
    for headers, body in receiver.calls:
        Webhook(endpoint["secret"]).verify(body, headers)
        assert headers["User-Agent"].startswith("hantar/")
        document = json.loads(body)
        assert sorted(document) == ["data", "timestamp", "type"]
        assert document["data"]["account"] == account.id
    shown = (await hantar.get(f"/webhook-endpoints/{endpoint['id']}", account)).json["data"]
    assert "secret" not in shown

    async def look() -> bool:
        return not await deliveries(hantar, account, endpoint, "pending")

    await eventually(look)
    done = await deliveries(hantar, account, endpoint, "delivered")
    assert {row["last_status"] for row in done} == {200}


async def test_only_what_was_asked_for_comes(hantar: Hantar, receiver: Receiver) -> None:
    account = await hantar.account()
    await listen(hantar, account, receiver.url, events=["message.delivered", "campaign.*"])
    other = await hantar.account()
    await send(hantar, other)
    ids = await send(hantar, account, 3)
    await delivered(hantar, receiver, ids)
    assert {kind for kind, _ in receiver.events()} == {"message.delivered"}
    assert {id_ for _, id_ in receiver.events()} == set(ids)


async def test_both_secrets_sign_while_one_is_rotated(hantar: Hantar, receiver: Receiver) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url)
    path = f"/webhook-endpoints/{endpoint['id']}/rotate-secret"
    rotated = await hantar.post(path, account, {"overlap_seconds": 3600})
    assert rotated.json["data"]["secret"] != endpoint["secret"]
    await delivered(hantar, receiver, await send(hantar, account))
    for headers, body in receiver.calls:
        for secret in (endpoint["secret"], rotated.json["data"]["secret"]):
            Webhook(secret).verify(body, headers)


async def test_a_repeated_request_shows_a_secret_that_lies_nowhere_in_the_open(
    hantar: Hantar,
) -> None:
    account = await hantar.account()
    path, body = "/webhook-endpoints", {"url": "http://127.0.0.1/hook"}
    secrets = []
    for key in ("create", "rotate"):
        headers = {"Idempotency-Key": key}
        first, again = [await hantar.post(path, account, body, headers=headers) for _ in range(2)]
        assert again.json == first.json
        assert (again.status, again.headers["Idempotent-Replayed"]) == (first.status, "true")
        secrets.append(first.json["data"]["secret"])
        path, body = f"/webhook-endpoints/{first.json['data']['id']}/rotate-secret", {}
    assert secrets[0] != secrets[1]
    rows = await hantar.pool.fetch("SELECT body FROM idempotency WHERE account_id = $1", account.id)
    assert len(rows) == 2
    kept = "".join(bytes(row["body"]).decode() for row in rows)
    assert [secret for secret in secrets if secret.removeprefix("whsec_") in kept] == []


async def test_what_is_refused_comes_again(hantar: Hantar, receiver: Receiver) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    receiver.status = 500
    ids = await send(hantar, account)

    async def refused() -> list[Any]:
        rows = await deliveries(hantar, account, endpoint, "pending")
        return [row for row in rows if row["attempts"] == 1]

    [row] = await eventually(refused)
    assert (row["last_status"], row["last_error"]) == (500, "answered 500")
    receiver.status = 200
    await delivered(hantar, receiver, ids)
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1
    shown = (await hantar.get(f"/webhook-endpoints/{endpoint['id']}", account)).json["data"]
    assert shown["is_active"]


async def test_an_endpoint_that_is_gone_is_switched_off_and_on_again(
    hantar: Hantar, receiver: Receiver
) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    receiver.status = 410
    ids = await send(hantar, account)

    async def disabled() -> Any:
        shown = (await hantar.get(f"/webhook-endpoints/{endpoint['id']}", account)).json["data"]
        return None if shown["is_active"] else shown

    assert "410" in (await eventually(disabled))["disabled_reason"]
    receiver.status = 200
    path = f"/api/v1/webhook-endpoints/{endpoint['id']}"
    answer = await hantar.call("PATCH", path, account, json={"is_active": True})
    assert answer.json["data"]["disabled_reason"] is None
    [row] = await deliveries(hantar, account, endpoint, "pending")
    replay = await hantar.call("POST", f"{path}/deliveries/{row['id']}/replay", account)
    assert replay.json["data"]["attempts"] == 0
    await delivered(hantar, receiver, ids)


async def test_a_redirect_is_not_followed_and_a_wish_is_heard(
    hantar: Hantar, receiver: Receiver
) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    receiver.status, receiver.headers = 302, {"Location": receiver.url, "Retry-After": "3000"}
    await send(hantar, account)

    async def refused() -> list[Any]:
        rows = await deliveries(hantar, account, endpoint, "pending")
        return [row for row in rows if row["attempts"] == 1]

    [row] = await eventually(refused)
    assert len(receiver.calls) == 1
    assert row["due_at"][:16] > row["last_at"][:16]


async def test_another_accounts_endpoint_is_not_there(hantar: Hantar, receiver: Receiver) -> None:
    endpoint = await listen(hantar, await hantar.account(), receiver.url)
    account = await hantar.account()
    path = f"/api/v1/webhook-endpoints/{endpoint['id']}"
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"is_active": False}),
        ("DELETE", "", None),
        ("POST", "/rotate-secret", {}),
        ("GET", "/deliveries", None),
        ("POST", "/deliveries/1/replay", None),
    ):
        answer = await hantar.call(method, path + suffix, account, json=body)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), (method, suffix)


async def refused_once(hantar: Hantar, account: Account, endpoint: Any) -> Any:
    """Its one delivery, once it was refused for the first time."""

    async def look() -> list[Any]:
        rows = await deliveries(hantar, account, endpoint, "pending")
        return [row for row in rows if row["attempts"] == 1]

    [row] = await eventually(look)
    return row


async def test_an_endpoint_that_took_nothing_for_five_days_is_switched_off(
    hantar: Hantar, receiver: Receiver
) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    receiver.status = 503
    await send(hantar, account)
    await refused_once(hantar, account, endpoint)

    async def failing_for(days: int) -> Any:
        """The endpoint after one more refusal."""
        before = len(receiver.calls)
        await hantar.pool.execute(
            "UPDATE webhook_endpoints SET failing_since = now() - make_interval(days => $1)", days
        )
        await hantar.pool.execute("UPDATE webhook_deliveries SET due_at = now()")

        async def noted() -> Any:
            rows = await deliveries(hantar, account, endpoint, "pending")
            return len(receiver.calls) > before and rows[0]["attempts"] == len(receiver.calls)

        await eventually(noted)
        return (await hantar.get(f"/webhook-endpoints/{endpoint['id']}", account)).json["data"]

    assert (await failing_for(4))["is_active"]
    off = await failing_for(6)
    assert (off["is_active"], off["disabled_reason"]) == (False, "nothing was taken for 5 days")


async def test_what_was_given_up_comes_again_when_it_is_asked_for(
    hantar: Hantar, receiver: Receiver
) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    path = f"/webhook-endpoints/{endpoint['id']}/replay"
    receiver.status = 500
    ids = await send(hantar, account)
    await refused_once(hantar, account, endpoint)
    # As after all its tries.
    await hantar.pool.execute(
        "UPDATE webhook_deliveries SET state = 'failed', attempts = 8, created_at = now() - "
        "interval '2 days'"
    )
    long_ago, ancient = "2026-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"
    late = await hantar.post(path, account, {"since": "9999-12-31T23:59:59-12:00"})
    assert late.json["data"] == {"replayed": 0, "more": False}
    other = await hantar.post(path, await hantar.account(), {"since": ancient})
    assert (other.status, other.json["code"]) == (404, "not_found")
    receiver.status = 200
    again = await hantar.post(path, account, {"since": long_ago})
    assert again.json["data"] == {"replayed": 1, "more": False}
    await delivered(hantar, receiver, ids)
    assert (await hantar.post(path, account, {"since": ancient})).json["data"]["replayed"] == 0


@pytest.mark.parametrize("form", ["3000", "date", "soon", "-5", "9" * 30])
async def test_a_wish_is_heard_in_both_its_forms(
    hantar: Hantar, receiver: Receiver, form: str
) -> None:
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    now = datetime.now(UTC)
    wish = format_datetime(now + timedelta(seconds=3000), usegmt=True) if form == "date" else form
    receiver.status, receiver.headers = 429, {"Retry-After": wish}
    await send(hantar, account)
    row = await refused_once(hantar, account, endpoint)
    waits = datetime.fromisoformat(row["due_at"]) - datetime.fromisoformat(row["last_at"])
    sound = form in ("3000", "date")
    assert (2900 if sound else 5) <= waits.total_seconds() <= (3001 if sound else 60)
