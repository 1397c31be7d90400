"""Outgoing webhooks, to receivers on real sockets that check with the official library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.store.pool import Pool
from tests.servers.webhook_receiver import Receiver, receiving
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


async def test_a_dead_endpoint_costs_the_others_nothing(hantar: Hantar, receiver: Receiver) -> None:
    async with receiving() as hanging:
        hanging.hang = True
        dead = await hantar.account()
        await listen(hantar, dead, hanging.url)
        alive = await hantar.account()
        await listen(hantar, alive, receiver.url)
        await send(hantar, dead, 200)
        await delivered(hantar, receiver, await send(hantar, alive, 20))
        assert len(hanging.calls) <= 8


@pytest.mark.row("5.2-44")
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::a00:1]/x",
        "https://0xa.1/x",
        "https://167772161/x",
        "https://0.0.0.0/x",
        "https://no-such-host.invalid/x",
        "https://user:pass@127.0.0.1/x",
        "file:///etc/passwd",
        "https:///x",
        "nonsense",
    ],
)
async def test_an_address_that_is_not_public_is_refused(hantar: Hantar, url: str) -> None:
    account = await hantar.account()
    answer = await hantar.post("/webhook-endpoints", account, {"url": url})
    assert answer.status == 422, answer.json
    assert list(answer.json["errors"]) == ["url"]
    assert (await hantar.get("/webhook-endpoints", account)).json["data"] == []


async def test_an_address_that_turned_private_is_not_called(
    hantar: Hantar, receiver: Receiver
) -> None:
    """As when a name is made to point elsewhere after it was saved."""
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    await hantar.pool.execute(
        "UPDATE webhook_endpoints SET url = $2 WHERE id = $1",
        endpoint["id"],
        receiver.url.replace("127.0.0.1", "[::1]"),
    )
    await send(hantar, account)

    async def refused() -> list[Any]:
        rows = await deliveries(hantar, account, endpoint, "pending")
        return [row for row in rows if row["attempts"] == 1]

    [row] = await eventually(refused)
    assert row["last_status"] is None
    assert "may not reach" in row["last_error"]


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
