"""The connection: status of a driver's devices, login codes, and the page that a code opens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import segno

from drivers.wwebjs.links import link_of
from tests.integration.api.checks import check_problem
from tests.integration.linking import address_of
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def put(hantar: Hantar, account: Account, driver: str, **body: Any) -> int:
    answer = await hantar.post("/devices", account, {"name": "Shop", "driver": driver} | body)
    assert answer.status == 201, answer.json
    device_id: int = answer.json["data"]["id"]
    return device_id


async def status(hantar: Hantar, account: Account, **query: str) -> Any:
    answer = await hantar.get("/connection/status", account, params=query)
    assert answer.status == 200, answer.json
    return answer.json["data"]


async def logout(hantar: Hantar, account: Account, device_id: int) -> None:
    answer = await hantar.post(f"/devices/{device_id}/logout", account, {})
    assert answer.status == 200, answer.json
    assert answer.json["data"]["state"] == "unlinked"


async def test_the_status_lists_the_devices_of_the_default_ones_driver(hantar: Hantar) -> None:
    account = await hantar.account()
    other = await put(hantar, account, "simulator", name="Desk")
    await put(hantar, account, "meta")
    await logout(hantar, account, other)
    shown = await status(hantar, account)
    assert shown["driver"] == "simulator"
    assert sorted(shown) == ["devices", "driver"]
    first, second = shown["devices"]
    assert (first["id"], first["state"], first["is_default"]) == (account.device_id, "ready", True)
    assert (second["id"], second["name"], second["state"]) == (other, "Desk", "unlinked")
    assert second["phone"] is None
    assert second["since"] > first["since"]
    await hantar.post(f"/devices/{account.device_id}/pause", account, {})
    assert (await status(hantar, account))["devices"][0]["state"] == "paused"
    assert await status(hantar, account, driver="wwebjs") == {"driver": "wwebjs", "devices": []}


async def test_the_cloud_api_has_one_status(hantar: Hantar) -> None:
    account = await hantar.account()
    assert await status(hantar, account, driver="meta") == {
        "driver": "meta",
        "state": "not_configured",
    }
    await put(hantar, account, "meta")
    settings = {"phone_number_id": "1", "access_token": "t"}
    ready = await put(hantar, account, "meta", name="Ready", settings=settings)
    shown = await status(hantar, account, driver="meta")
    assert shown.pop("since")
    assert shown == {
        "driver": "meta",
        "state": "ready",
        "id": ready,
        "name": "Ready",
        "phone": None,
        "quality": None,
        "messaging_limit": None,
    }
    await hantar.call("PATCH", f"/api/v1/devices/{ready}", account, json={"is_default": True})
    assert (await status(hantar, account))["driver"] == "meta"


async def test_without_a_device_there_is_no_connection(hantar: Hantar) -> None:
    account = await hantar.account(device=False)
    for path in ("status", "qr"):
        answer = await hantar.get(f"/connection/{path}", account)
        check_problem(answer, 422, "no_device", "device")
    assert await status(hantar, account, driver="simulator") == {
        "driver": "simulator",
        "devices": [],
    }


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ("status?driver=telegraph", "validation_failed", "driver"),
        ("status?driver=", "validation_failed", "driver"),
        ("status?driver=meta&driver=meta", "validation_failed", "driver"),
        ("status?device=1", "unknown_field", "device"),
        ("qr?device=0", "validation_failed", "device"),
        ("qr?device=x", "validation_failed", "device"),
        ("qr?device=", "validation_failed", "device"),
        ("qr?driver=meta", "unknown_field", "driver"),
    ],
)
async def test_what_is_asked_wrongly_is_refused(
    hantar: Hantar, account: Account, asked: str, code: str, field: str
) -> None:
    check_problem(await hantar.get(f"/connection/{asked}", account), 422, code, field)


async def test_the_code_of_the_default_device_is_a_picture(hantar: Hantar) -> None:
    account = await hantar.account()
    await logout(hantar, account, account.device_id)
    answers = [
        await hantar.get("/connection/qr", account),
        await hantar.get("/connection/qr", account, params={"device": str(account.device_id)}),
    ]
    assert [answer.status for answer in answers] == [200, 200]
    # A link to the page lasts from when it was asked for.
    pages = [answer.json["data"].pop("page") for answer in answers]
    assert all(page.startswith(f"{hantar.api}/link/{account.device_id}/") for page in pages)
    assert answers[0].json == answers[1].json
    assert answers[0].headers["Cache-Control"] == "no-store"
    data = answers[0].json["data"]
    assert sorted(data) == ["device", "expires_at", "qr"]
    assert data["device"] == account.device_id
    picture = segno.make(await address_of(hantar, account.device_id), error="m", micro=False)
    assert data["qr"] == picture.png_data_uri(scale=6, border=4)


@pytest.mark.row("5.2-33")
async def test_there_is_not_always_a_code(hantar: Hantar, account: Account) -> None:
    other = await hantar.account()
    meta, bridged = await put(hantar, account, "meta"), await put(hantar, account, "wwebjs")

    async def ask(device_id: int) -> Any:
        return await hantar.get("/connection/qr", account, params={"device": str(device_id)})

    check_problem(await ask(account.device_id), 409, "already_linked")
    check_problem(await ask(meta), 422, "qr_not_supported", "device")
    check_problem(await ask(other.device_id), 404, "not_found")
    answer = await ask(bridged)
    check_problem(answer, 503, "bridge_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    answer = await hantar.post(f"/devices/{bridged}/logout", account, {})
    check_problem(answer, 503, "bridge_unavailable")
    await hantar.post(f"/devices/{account.device_id}/pause", account, {})
    check_problem(await ask(account.device_id), 409, "already_linked")


async def test_a_link_works_once_and_only_when_it_is_confirmed(
    hantar: Hantar, account: Account
) -> None:
    await logout(hantar, account, account.device_id)
    sent = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "hi"})
    assert sent.json["data"]["waiting"]["reason"] == "not_ready"
    address = await address_of(hantar, account.device_id)
    assert address.startswith(f"{hantar.api}/link/")
    path = address.removeprefix(hantar.api)
    for method in ("GET", "HEAD", "GET"):
        shown = await hantar.call(method, path)
        assert shown.status == 200
    assert "<button" in shown.json
    assert "script" not in shown.json
    assert shown.headers["Referrer-Policy"] == "no-referrer"
    assert (await status(hantar, account))["devices"][0]["state"] == "unlinked"
    for altered in (path[:-1] + ("A" if path[-1] != "A" else "B"), path[:-4], path + "AAAA"):
        assert (await hantar.call("POST", altered)).status == 410
    assert (await hantar.call("POST", path)).status == 200
    [device] = (await status(hantar, account))["devices"]
    assert device["state"] == "ready"
    assert device["phone"].startswith("+6011555")
    await hantar.until(account, sent.json["data"]["id"], "delivered")
    for method in ("GET", "POST"):
        assert (await hantar.call(method, path)).status == 410
    check_problem(await hantar.get("/connection/qr", account), 409, "already_linked")


async def test_a_link_is_over_after_its_time(hantar: Hantar, account: Account) -> None:
    await logout(hantar, account, account.device_id)
    path = (await address_of(hantar, account.device_id)).removeprefix(hantar.api)
    await hantar.pool.execute(
        "UPDATE simulator_unlinked SET expires_at = now() WHERE device_id = $1", account.device_id
    )
    for method in ("GET", "POST"):
        assert (await hantar.call(method, path)).status == 410
    fresh = (await address_of(hantar, account.device_id)).removeprefix(hantar.api)
    assert fresh != path
    assert (await hantar.call("POST", fresh)).status == 200


async def test_a_logout_under_a_key_is_done_once_and_not_at_all_under_a_used_one(
    hantar: Hantar, account: Account
) -> None:
    path = f"/devices/{account.device_id}/logout"
    body = {"phone": "0123456789", "body": "hi"}
    await hantar.post("/messages/send", account, body, headers={"Idempotency-Key": "used"})
    answer = await hantar.post(path, account, {}, headers={"Idempotency-Key": "used"})
    check_problem(answer, 422, "idempotency_key_reused")
    check_problem(await hantar.get("/connection/qr", account), 409, "already_linked")
    once = {"Idempotency-Key": "once"}
    first = await hantar.post(path, account, {}, headers=once)
    link = (await address_of(hantar, account.device_id)).removeprefix(hantar.api)
    assert (await hantar.call("POST", link)).status == 200
    again = await hantar.post(path, account, {}, headers=once)
    assert (again.status, again.json) == (200, first.json)
    check_problem(await hantar.get("/connection/qr", account), 409, "already_linked")
    assert (await status(hantar, account))["devices"][0]["state"] == "ready"


@pytest.mark.parametrize(
    ("told", "reason", "shown", "resumed"),
    [
        ("conflict", None, "disconnected", "ready"),
        ("stopped", "desired", "paused", "ready"),
        ("incompatible", None, "incompatible", "ready"),
        ("crashed", "page_crashed", "error", "ready"),
        ("crashed", None, "error", "ready"),
        ("reconnecting", "unreachable", "disconnected", "disconnected"),
        ("reconnecting", None, "disconnected", "disconnected"),
        ("logged_out", "unlinked", "logged_out", "logged_out"),
        ("logged_out", "unscanned", "unlinked", "unlinked"),
        ("syncing", None, "linking", "linking"),
    ],
)
async def test_a_person_resumes_what_waits_for_one_and_links_nothing(
    hantar: Hantar, account: Account, told: str, reason: str | None, shown: str, resumed: str
) -> None:
    device_id = await put(hantar, account, "wwebjs")
    link = link_of(device_id, {"state": told, "reason": reason}, datetime.now(UTC))
    await hantar.pool.execute(
        "UPDATE devices SET state = $2, state_reason = $3 WHERE id = $1",
        *(device_id, link.state, link.reason),
    )
    path = f"/devices/{device_id}"
    before = (await hantar.get(path, account)).json["data"]
    assert before["state"] == shown
    for _ in range(2):
        answer = await hantar.post(f"{path}/resume", account, {})
        assert answer.json["data"]["state"] == resumed
    kept = "SELECT state_reason FROM devices WHERE id = $1"
    expected = link.reason if shown == resumed else None
    assert await hantar.pool.fetchval(kept, device_id) == expected
