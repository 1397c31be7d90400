"""What operators notice of linked devices: nothing is lost, nothing goes out twice."""

from __future__ import annotations

from dataclasses import replace

from drivers.wwebjs.memory import Memory
from service.store.pool import Pool
from tests.integration.linked.conftest import Fleet, running
from tests.servers.fake_bridge import FakeBridge, Way
from tests.system import eventually

PHONE = "+60122000000"


async def all_delivered(fleet: Fleet, count: int) -> None:
    async def delivered() -> bool:
        return await fleet.statuses() == {"delivered": count}

    await eventually(delivered, within_seconds=60)
    assert len(fleet.accepted()) == len(set(fleet.accepted())) == count
    assert await fleet.hantar.drifting() == []


async def some_went(fleet: Fleet, count: int) -> None:
    async def went() -> bool:
        return len(fleet.accepted()) >= count

    await eventually(went)


async def test_a_bridge_that_is_killed_and_comes_back_loses_nothing(fleet: Fleet) -> None:
    device_id = await fleet.add("+601155510001")
    await fleet.bulk(device_id, 80)
    await some_went(fleet, 10)
    await fleet.bridge.vanish()
    await fleet.until(device_id, "disconnected")
    assert len(fleet.accepted()) < 80
    await fleet.bridge.reappear()
    await fleet.until(device_id, "ready")
    await all_delivered(fleet, 80)


async def test_a_bridge_that_answers_nothing_is_away_and_loses_nothing(fleet: Fleet) -> None:
    device_id = await fleet.add("+601155510001")
    await fleet.bulk(device_id, 40)
    await some_went(fleet, 10)
    await fleet.bridge.go_mute()
    await fleet.until(device_id, "disconnected")
    assert len(fleet.accepted()) < 40
    await fleet.bridge.reappear()
    await fleet.until(device_id, "ready")
    await all_delivered(fleet, 40)


async def test_messages_in_doubt_are_asked_about_and_go_out_once(fleet: Fleet) -> None:
    device_id = await fleet.add("+601155510001")
    for n, cut in enumerate(("before", "after")):
        fleet.bridge.ways[f"+6012200000{n}"] = Way(cut=cut, told=3)
    await fleet.bulk(device_id, 2)
    await all_delivered(fleet, 2)


async def test_messages_of_an_unlinked_device_wait_for_it_and_no_other(fleet: Fleet) -> None:
    one, two = await fleet.add("+601155510001"), await fleet.add("+601155510002")
    name = fleet.names.device(one)
    ids = await fleet.bulk(one, 80)
    await fleet.bulk(two, 40, first=3_000_000)
    await some_went(fleet, 10)
    fleet.bridge.move(name, "logged_out", reason="unlinked")
    await fleet.until(one, "logged_out")

    async def rest_waits() -> bool:
        last = await fleet.hantar.message(fleet.account, ids[-1])
        done = (await fleet.statuses()).get("delivered", 0)
        sent_by_two = {each.id for each in fleet.bridge.journal if each.device != name}
        waits = last["waiting"] is not None and last["waiting"]["reason"] == "not_ready"
        return waits and done >= 40 and len(sent_by_two) == 40

    await eventually(rest_waits)
    answer = await fleet.hantar.get(f"/connection/qr?device={one}", fleet.account)
    assert answer.status == 200, answer.json
    assert await fleet.bridge.scan(fleet.bridge.code(name), "+601155510001")
    await all_delivered(fleet, 120)
    of_one = {each.id for each in fleet.bridge.journal if each.device == name and each.accepted}
    assert of_one == {fleet.names.message(id_) for id_ in ids}


async def test_a_device_that_may_open_no_new_chats_says_so_and_tries_none(fleet: Fleet) -> None:
    device_id = await fleet.add("+601155510001")
    for n in range(3):
        refusal = [(422, "failed")]
        fleet.bridge.ways[f"+6012200000{n}"] = Way(answers=refusal, new_chat=True)
    for n in range(4):
        phone = f"+6012200000{n}"
        body = {"phone": phone, "body": "Salam", "device": device_id}
        answer = await fleet.hantar.post("/messages/send", fleet.account, body)
        message = await fleet.hantar.until(fleet.account, answer.json["data"]["id"], "failed")
    assert message["error"]["code"] == "no_new_chats"
    assert len(fleet.bridge.journal) == 3
    assert await fleet.hantar.balance(fleet.account) == 2000
    # Who writes first is answered.
    fleet.bridge.write("+601155510001", phone, "Hello")

    async def heard() -> bool:
        return bool(await fleet.hantar.pool.fetchval("SELECT true FROM conversations"))

    await eventually(heard)
    answer = await fleet.hantar.post("/messages/send", fleet.account, body)
    await fleet.hantar.until(fleet.account, answer.json["data"]["id"], "delivered")


async def test_the_link_of_a_deleted_device_ends(fleet: Fleet) -> None:
    gone, kept = await fleet.add("+601155510001"), await fleet.add("+601155510002")
    answer = await fleet.hantar.call("DELETE", f"/api/v1/devices/{gone}", fleet.account)
    assert answer.status == 204
    # Otherwise it takes a minute.
    await fleet.bridge.vanish()
    await fleet.bridge.reappear()

    async def dropped() -> bool:
        return fleet.bridge.devices() == [fleet.names.device(kept)]

    await eventually(dropped)


async def test_a_device_that_the_bridge_has_lost_is_unlinked_and_may_be_linked_anew(
    fleet: Fleet,
) -> None:
    device_id = await fleet.add("+601155510001")
    await fleet.bridge.vanish()
    await fleet.until(device_id, "disconnected")
    fleet.bridge.lose()
    await fleet.bridge.reappear()
    await fleet.until(device_id, "unlinked")
    answer = await fleet.hantar.get(f"/connection/qr?device={device_id}", fleet.account)
    assert answer.status == 200, answer.json


async def test_who_starts_while_the_bridge_answers_nothing_says_so(
    dsn: str, pool: Pool, bridge: FakeBridge
) -> None:
    async with running(dsn, pool, bridge) as before:
        device_id = await before.add("+601155510001")
    await bridge.go_mute()
    async with running(dsn, pool, bridge) as after:
        await replace(after, account=before.account).until(device_id, "disconnected")
        await bridge.reappear()
        await replace(after, account=before.account).until(device_id, "ready")


async def test_who_reads_the_bridge_no_more_leaves_it_to_another(pool: Pool) -> None:
    """The session that it read by goes back into its pool, and lives on there."""
    async with Memory(pool).reader() as first, Memory(pool).reader() as second:
        assert (first, second) == (True, False)
    async with pool.acquire(), Memory(pool).reader() as other:
        assert other
