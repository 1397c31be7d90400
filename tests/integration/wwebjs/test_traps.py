"""Where whatsapp-web.js 1.34.7 goes wrong by itself, and the bridge does not."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

from tests.integration.wwebjs.linked import DEVICE, PERSON, PHONE, Linked
from tests.integration.wwebjs.parts import kill_part
from tests.servers.bridge import Bridge, browsers_of, ended
from tests.servers.bridge_caller import Json


async def test_a_sync_that_nobody_saw_is_announced(linked: Linked) -> None:
    await linked.link()
    linked.whatsapp.options.sync_at_once = True
    before = await linked.bridge.seq()
    await linked.bridge.call("POST", f"/v1/devices/{DEVICE}/restart")
    await linked.reaches("ready", before)
    assert (await linked.send("1"))[0] == 200


async def test_a_code_that_went_idle_is_replaced(linked: Linked) -> None:
    await linked.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
    first = await linked.bridge.until(lambda event: event["type"] == "qr")
    await linked.whatsapp.rotate()
    second = await linked.bridge.until(lambda event: event["type"] == "qr", first["seq"])
    assert not await linked.whatsapp.scan(first["code"], PHONE)
    await linked.whatsapp.idle()
    third = await linked.bridge.until(lambda event: event["type"] == "qr", second["seq"])
    assert not await linked.whatsapp.scan(second["code"], PHONE)
    assert await linked.whatsapp.scan(third["code"], PHONE)
    await linked.reaches("ready", third["seq"])


async def test_what_was_handed_over_while_offline_is_pending_until_it_goes_out_by_itself(
    linked: Linked,
) -> None:
    await linked.bridge.stop()
    linked.bridge = Bridge(linked.bridge.folder, linked.whatsapp.flags, ack=1000)
    await linked.bridge.start()
    await linked.link()
    linked.whatsapp.options.swallow = True
    status, answer = await linked.send("1")
    assert (status, answer["status"], answer["ack"]) == (200, "pending", 0)
    status, answer = await linked.send("1")
    assert (status, answer["status"], answer["duplicate"]) == (200, "pending", True)
    linked.whatsapp.options.swallow = False
    before = await linked.bridge.seq()
    linked.whatsapp.options.closed = True
    await linked.whatsapp.drop(PHONE)
    away = await linked.reaches("reconnecting", before)
    assert (await linked.send("2"))[0] == 503
    missed = await linked.whatsapp.write(PHONE, PERSON, "STOP")
    linked.whatsapp.options.closed = False
    await linked.reaches("ready", away["seq"])
    await linked.acked(answer["wa_id"], 3)
    await linked.hears(missed)
    assert [d.wa_id for d in linked.whatsapp.deliveries] == [answer["wa_id"]]


async def test_acks_that_came_while_nobody_listened_are_looked_up(linked: Linked) -> None:
    await linked.link()
    linked.whatsapp.options.acks = (1,)
    _, answer = await linked.send("1")
    await linked.bridge.kill()
    await linked.whatsapp.ack(linked.whatsapp.deliveries[0], 2)
    await linked.whatsapp.ack(linked.whatsapp.deliveries[0], 3)
    await linked.bridge.start()
    await linked.acked(answer["wa_id"], 3)


async def test_a_dead_browser_and_a_dead_page_are_started_anew(linked: Linked) -> None:
    await linked.link()
    for kind, reason in (("browser", "browser_gone"), ("renderer", "page_crashed")):
        before = await linked.bridge.seq()
        kill_part(linked.bridge.folder, kind)
        failed = await linked.bridge.until(
            lambda e: e["type"] == "state" and e["state"] == "crashed", before
        )
        assert failed["reason"] == reason
        await linked.reaches("ready", failed["seq"])
        assert (await linked.send(kind))[0] == 200


async def test_a_page_that_hangs_is_started_anew(linked: Linked) -> None:
    await linked.bridge.stop()
    linked.bridge = Bridge(linked.bridge.folder, linked.whatsapp.flags, pulseAnswer=2000)
    await linked.bridge.start()
    await linked.link()
    before = await linked.bridge.seq()
    kill_part(linked.bridge.folder, "renderer", signal.SIGSTOP)
    failed = await linked.reaches("crashed", before)
    assert failed["reason"] == "unresponsive"
    await linked.reaches("ready", failed["seq"])


async def test_a_killed_bridge_leaves_no_browser_and_comes_back(linked: Linked) -> None:
    await linked.link()
    assert browsers_of(linked.bridge.folder) != []
    before = await linked.bridge.seq()
    await linked.bridge.kill()
    await ended(linked.bridge.folder)
    await linked.bridge.start()
    await linked.reaches("ready", before)


async def test_three_quick_reloads_end_in_one_ready_device(linked: Linked) -> None:
    await linked.link()
    before = await linked.bridge.seq()
    for _ in range(3):
        await linked.whatsapp.push(PHONE, {"type": "reload"})
    away = await linked.reaches("reconnecting", before)
    await linked.reaches("ready", away["seq"])
    wa_id = await linked.whatsapp.write(PHONE, PERSON, "once")
    heard = await linked.hears(wa_id)
    _, answer = await linked.send("1")
    last = await linked.acked(answer["wa_id"], 3)
    told = [e async for e in events_between(linked, before, last["seq"])]
    assert [e["seq"] for e in told if e.get("wa_id") == wa_id] == [heard["seq"]]
    assert [e["ack"] for e in told if e.get("wa_id") == answer["wa_id"]] == [1, 2, 3]
    assert len(linked.whatsapp.deliveries) == 1


async def test_a_session_taken_over_elsewhere_is_a_conflict_until_somebody_decides(
    linked: Linked,
) -> None:
    await linked.link()
    before = await linked.bridge.seq()
    await linked.whatsapp.push(PHONE, {"type": "conflict"})
    told = await linked.reaches("conflict", before)
    assert told["me"] == PHONE
    await linked.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
    await linked.reaches("ready", told["seq"])


async def test_a_page_that_is_not_whatsapps_is_tried_again(linked: Linked) -> None:
    await linked.bridge.stop()
    linked.bridge = Bridge(linked.bridge.folder, linked.whatsapp.flags, load=2000)
    await linked.bridge.start()
    linked.whatsapp.options.blank = True
    await linked.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
    told = await linked.reaches("reconnecting", 0)
    assert told["reason"] == "unreachable"
    linked.whatsapp.options.blank = False
    await linked.bridge.until(lambda event: event["type"] == "qr")


async def test_a_code_that_nobody_wants_closes_the_browser(linked: Linked) -> None:
    await linked.bridge.stop()
    linked.bridge = Bridge(linked.bridge.folder, linked.whatsapp.flags, unscanned=1000)
    await linked.bridge.start()
    await linked.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
    told = await linked.reaches("logged_out", 0)
    assert told["reason"] == "unscanned"


async def events_between(linked: Linked, after: int, last: int) -> AsyncIterator[Json]:
    """The events up to the last, which is there already."""
    async for event in linked.bridge.events(after):
        if "device" in event:
            yield event
            if event["seq"] == last:
                return
