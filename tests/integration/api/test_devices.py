"""Devices: what can be set of them, what is refused, what is never shown."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from service.core.shards import shard_of
from service.store import devices as store
from tests.database import SHARDS
from tests.integration.api.checks import check_problem
from tests.system import SEAL, Account, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_LIMITS = dict.fromkeys(store.LIMITS)
SECRETS = {"access_token": "EAAtoken", "app_secret": "s3cret", "verify_token": "v"}


async def put(hantar: Hantar, account: Account, **body: Any) -> Any:
    answer = await hantar.post("/devices", account, {"name": "Shop", "driver": "simulator"} | body)
    assert answer.status == 201, answer.json
    return answer.json["data"]


async def change(hantar: Hantar, account: Account, device_id: int, **body: Any) -> Any:
    answer = await hantar.call("PATCH", f"/api/v1/devices/{device_id}", account, json=body)
    assert answer.status == 200, answer.json
    return answer.json["data"]


async def test_a_device_is_made_changed_and_forgotten(hantar: Hantar) -> None:
    account = await hantar.account(device=False)
    limits = {
        "per_second": 2.5,
        "per_minute": 100,
        "per_hour": 1000,
        "per_day": 5000,
        "pair_seconds": 6.0,
        "new_recipients_per_day": 250,
        "jitter_seconds": 0.5,
        "warm_up_days": 30,
    }
    quiet = {"start": "22:00", "end": "08:00", "timezone": "Asia/Kuala_Lumpur"}
    made = await put(hantar, account, limits=limits, quiet_hours=quiet | {"timezone": "Asia/Tokyo"})
    times = (made.pop("created_at"), made.pop("updated_at"))
    assert made == {
        "id": made["id"],
        "name": "Shop",
        "driver": "simulator",
        "phone": None,
        "state": "ready",
        "is_default": True,
        "limits": limits,
        "quiet_hours": quiet | {"timezone": "Asia/Tokyo"},
        "settings": {},
        "secrets": [],
    }
    assert times[0] == times[1]
    path = f"/api/v1/devices/{made['id']}"
    put_answer = await hantar.call(
        "PUT", path, account, json={"limits": {"per_day": None, "per_hour": 7}, "name": "Desk"}
    )
    data = put_answer.json["data"]
    assert (data["name"], data["limits"]) == ("Desk", limits | {"per_day": None, "per_hour": 7})
    assert data["quiet_hours"] == made["quiet_hours"]
    await change(
        hantar, account, made["id"], quiet_hours={"start": "22:00", "end": "08:00"}, limits={}
    )
    data = (await hantar.get(f"/devices/{made['id']}", account)).json["data"]
    assert data["quiet_hours"] == quiet
    data = await change(hantar, account, made["id"], quiet_hours=None)
    assert data["quiet_hours"] is None
    assert (await hantar.call("DELETE", path, account)).status == 204
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        check_problem(await hantar.call(method, path, account, json=body), 404, "not_found")


async def test_limits_that_are_not_asked_for_are_safe_for_the_driver(
    hantar: Hantar, account: Account
) -> None:
    made = [
        await put(hantar, account, driver=driver, limits=limits)
        for driver, limits in (
            ("simulator", {}),
            ("meta", {}),
            ("wwebjs", {}),
            ("wwebjs", {"per_minute": 5}),
            ("meta", {"per_second": None}),
        )
    ]
    assert [device["limits"] for device in made] == [
        NO_LIMITS,
        NO_LIMITS | {"per_second": 80.0, "pair_seconds": 6.0},
        NO_LIMITS | {"per_minute": 20, "jitter_seconds": 2.0},
        NO_LIMITS | {"per_minute": 5, "jitter_seconds": 2.0},
        NO_LIMITS | {"pair_seconds": 6.0},
    ]
    assert [device["state"] for device in made] == ["ready", *["unlinked"] * 4]


async def test_one_device_at_most_is_the_default(hantar: Hantar) -> None:
    account = await hantar.account(device=False)
    made = await asyncio.gather(*(put(hantar, account, is_default=n % 2 == 0) for n in range(8)))

    async def defaults() -> list[int]:
        listed = (await hantar.get("/devices", account)).json["data"]
        assert len(listed) == 8
        return [device["id"] for device in listed if device["is_default"]]

    assert len(await defaults()) == 1
    second = made[1]["id"]
    assert (await change(hantar, account, second, is_default=True))["is_default"] is True
    assert await defaults() == [second]
    await change(hantar, account, second, is_default=False)
    assert await defaults() == []
    await asyncio.gather(
        *(change(hantar, account, device["id"], is_default=True) for device in made)
    )
    assert len(await defaults()) == 1


async def test_secrets_are_sealed_and_never_shown(
    hantar: Hantar, account: Account, events: list[Any]
) -> None:
    settings = {"phone_number_id": "106540352242922", "business_account_id": "102290129340398"}
    made = await put(hantar, account, driver="meta", settings={**settings, **SECRETS})
    assert made["settings"] == settings
    assert made["secrets"] == sorted(SECRETS)
    assert made["state"] == "ready"
    changed = await change(
        hantar,
        account,
        made["id"],
        settings={"app_secret": "other", "verify_token": None, "business_account_id": None},
    )
    assert changed["settings"] == {"phone_number_id": settings["phone_number_id"]}
    assert changed["secrets"] == ["access_token", "app_secret"]
    row = await hantar.pool.fetchrow(
        "SELECT to_jsonb(d)::text AS row, secrets FROM devices d WHERE id = $1", made["id"]
    )
    assert row is not None
    kept = {"access_token": SECRETS["access_token"], "app_secret": "other"}
    assert store.unsealed(SEAL, row["secrets"]) == kept
    listed = (await hantar.get("/devices", account)).json
    for secret in ("EAAtoken", "s3cret", "other"):
        assert secret not in str(row["row"])
        assert secret not in str(listed)
        assert secret not in str(events)


async def test_a_meta_device_is_ready_while_it_has_what_it_needs(
    hantar: Hantar, account: Account
) -> None:
    made = await put(hantar, account, driver="meta", settings={"phone_number_id": "1"})
    assert made["state"] == "unlinked"
    states = [
        (await change(hantar, account, made["id"], settings=settings))["state"]
        for settings in ({"access_token": "t"}, {"verify_token": "v"}, {"access_token": None})
    ]
    assert states == ["ready", "ready", "unlinked"]
    answer = await hantar.post(f"/devices/{made['id']}/logout", account, {})
    check_problem(answer, 422, "qr_not_supported")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 256),
        ("name", "a\0"),
        ("name", None),
        ("driver", "telegraph"),
        ("driver", 7),
        ("is_default", "yes"),
        ("limits", None),
        ("limits.per_second", 0),
        ("limits.per_second", 10_001),
        ("limits.per_second", "5"),
        ("limits.per_second", True),
        ("limits.per_minute", 0),
        ("limits.per_minute", 1.5),
        ("limits.per_hour", -1),
        ("limits.per_day", 10**10),
        ("limits.pair_seconds", -0.1),
        ("limits.pair_seconds", 86_401),
        ("limits.new_recipients_per_day", 0),
        ("limits.jitter_seconds", -1),
        ("limits.warm_up_days", 0),
        ("limits.warm_up_days", 366),
        ("quiet_hours.start", "24:00"),
        ("quiet_hours.start", "8:00"),
        ("quiet_hours.start", "22:00\n"),
        ("quiet_hours.end", "22:00"),
        ("quiet_hours.timezone", "Mars/Phobos"),
        ("quiet_hours.timezone", "UTC+8"),
        ("quiet_hours.timezone", "posix/Asia/Tokyo"),
        ("quiet_hours.timezone", "Asia/Kuala_Lumpur'; --"),
        ("quiet_hours.timezone", 8),
        ("settings", None),
        ("settings", []),
        ("settings", {"portfolio": 2**64}),
        ("settings", {"portfolio": orjson.loads("[" * 260 + "]" * 260)}),
        ("settings.phone_number_id", "12a"),
        ("settings.phone_number_id", 12),
        ("settings.phone_number_id", "1\n"),
        ("settings.portfolio", "9" * 33),
        ("settings.access_token", "two words"),
        ("settings.access_token", "a\0"),
        ("settings.access_token", ""),
        ("settings.app_secret", "x" * 1025),
        ("settings.verify_token", {"a": 1}),
    ],
)
async def test_what_is_no_device_is_refused(
    hantar: Hantar, account: Account, field: str, value: object
) -> None:
    whole = {
        "name": "Shop",
        "driver": "meta",
        "limits": {},
        "quiet_hours": {"start": "22:00", "end": "08:00"},
        "settings": {},
    }
    outer, _, inner = field.partition(".")
    body = whole | {outer: {**whole[outer], inner: value} if inner else value}  # type: ignore[dict-item]
    made = await put(hantar, account, driver="meta")
    before = await hantar.get("/devices", account)
    answer = await hantar.post("/devices", account, body)
    check_problem(answer, 422, "validation_failed", field)
    if outer != "driver":
        del body["driver"]
        path = f"/api/v1/devices/{made['id']}"
        answer = await hantar.call("PATCH", path, account, json=body)
        check_problem(answer, 422, "validation_failed", field)
    assert (await hantar.get("/devices", account)).json == before.json


@pytest.mark.row("5.2-35")
@pytest.mark.parametrize(
    "field",
    [
        "id",
        "account_id",
        "state",
        "phone",
        "paused",
        "shard",
        "secrets",
        "fence",
        "hold_until",
        "created_at",
        "settings.shard",
        "settings.linked",
        "limits.rate_factor",
        "quiet_hours.day",
    ],
)
async def test_nothing_else_can_be_set(hantar: Hantar, account: Account, field: str) -> None:
    outer, _, inner = field.partition(".")
    hours = {"start": "22:00", "end": "08:00"} if outer == "quiet_hours" else {}
    extra = {outer: {**hours, inner: 1} if inner else 1}
    path = f"/api/v1/devices/{account.device_id}"
    before = await hantar.get("/devices", account)
    for method in ("PUT", "PATCH"):
        answer = await hantar.call(method, path, account, json=extra)
        check_problem(answer, 422, "unknown_field", field)
    answer = await hantar.post("/devices", account, {"name": "x", "driver": "simulator", **extra})
    check_problem(answer, 422, "unknown_field", field)
    answer = await hantar.call("PATCH", path, account, json={"driver": "meta"})
    check_problem(answer, 422, "unknown_field", "driver")
    assert (await hantar.get("/devices", account)).json == before.json


@pytest.mark.row("5.2-33")
async def test_another_accounts_device_is_not_there(hantar: Hantar, account: Account) -> None:
    other = await hantar.account()
    path = f"/api/v1/devices/{other.device_id}"
    before = await hantar.get("/devices", other)
    for method, suffix, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("PUT", "", {"is_default": True}),
        ("DELETE", "", None),
        ("POST", "/pause", {}),
        ("POST", "/resume", {}),
        ("POST", "/logout", {}),
    ):
        answer = await hantar.call(method, path + suffix, account, json=body)
        check_problem(answer, 404, "not_found")
    assert (await hantar.get("/devices", other)).json == before.json


@pytest.mark.row("5.2-34")
async def test_another_accounts_device_takes_no_message(hantar: Hantar, account: Account) -> None:
    other = await hantar.account()
    answer = await hantar.post(
        "/messages/send",
        account,
        {"phone": "0123456789", "body": "hi", "device": other.device_id},
    )
    check_problem(answer, 422, "validation_failed", "device")
    assert await hantar.balance(account) == 1000


async def test_an_account_has_a_bounded_number_of_devices(hantar: Hantar, account: Account) -> None:
    await hantar.pool.execute(
        "INSERT INTO devices (account_id, name, driver, state, shard) "
        "SELECT $1, 'd', 'simulator', 'unlinked', 0 FROM generate_series(2, $2)",
        account.id,
        store.DEVICES_LIMIT,
    )
    answer = await hantar.post("/devices", account, {"name": "x", "driver": "simulator"})
    check_problem(answer, 422, "validation_failed", "driver")


async def test_a_repeated_key_makes_one_device(hantar: Hantar, account: Account) -> None:
    body = {"name": "Once", "driver": "simulator"}
    headers = {"Idempotency-Key": "device-1"}
    first, again = [await hantar.post("/devices", account, body, headers=headers) for _ in "ab"]
    assert (first.status, again.status) == (201, 201)
    assert first.json == again.json
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len((await hantar.get("/devices", account)).json["data"]) == 2


async def test_a_portfolio_decides_the_shard(hantar: Hantar, account: Account) -> None:
    made = await put(hantar, account, driver="meta", settings={"portfolio": "7"})

    async def shard() -> int:
        found: int = await hantar.pool.fetchval(
            "SELECT shard FROM devices WHERE id = $1", made["id"]
        )
        return found

    assert await shard() == shard_of(made["id"], "7", SHARDS)
    for portfolio in ("8", "9", "10", None):
        await change(hantar, account, made["id"], settings={"portfolio": portfolio})
        assert await shard() == shard_of(made["id"], portfolio, SHARDS)


async def test_changes_of_state_are_told_once_each(hantar: Hantar, account: Account) -> None:
    endpoint = await hantar.pool.fetchval(
        "INSERT INTO webhook_endpoints (account_id, url, events, secret) "
        "VALUES ($1, 'https://127.0.0.1:1/', '{device.state}', '') RETURNING id",
        account.id,
    )
    path = f"/devices/{account.device_id}"
    states = []
    for action in ("pause", "pause", "resume", "logout", "pause", "resume"):
        answer = await hantar.post(f"{path}/{action}", account, {})
        assert answer.status == 200, answer.json
        states.append(answer.json["data"]["state"])
    assert states == ["paused", "paused", "ready", "unlinked", "paused", "unlinked"]
    seen = ["paused", "ready", "unlinked", "paused", "unlinked"]

    async def told() -> list[Any]:
        rows = await hantar.pool.fetch(
            "SELECT body FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY event_id::bigint",
            endpoint,
        )
        return [orjson.loads(row["body"]) for row in rows]

    async def all_told() -> bool:
        return len(await told()) >= len(seen)

    await eventually(all_told)
    events = await told()
    assert [event["state"] for event in events] == seen
    assert [event["previous_state"] for event in events] == ["ready", *seen[:-1]]
    assert {(event["account"], event["device_id"]) for event in events} == {
        (account.id, account.device_id)
    }


@pytest.mark.parametrize("settings", [{"x": 2**70}, {"x": {"deep": [-(2**63) - 1]}}])
async def test_settings_that_no_reader_agrees_on_are_refused(
    hantar: Hantar, account: Account, settings: dict[str, Any]
) -> None:
    path = f"/api/v1/devices/{account.device_id}"
    answer = await hantar.call("PATCH", path, account, json={"settings": settings})
    check_problem(answer, 422, "validation_failed", "settings")
