"""Protocol 1 of the bridge's README; one suite, run on the bridge in real browsers and on the one
without any, through which the rest of the tests send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from drivers.wwebjs.names import wa_id_of
from tests.contract.bridge_side import PHONE, REFUSING, SIDES, STRANGER, SWALLOWED, BridgeSide
from tests.servers.bridge_caller import BridgeCaller, Json

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_PHONE, PERSON = "+60123456788", "+60123456780"
VIEW = {
    *("id", "desired", "state", "reason", "since", "me", "wa_web_version", "last_ack_at"),
    *("restarts", "queued", "memory_bytes", "missing"),
}
HEALTH = {
    *("protocol", "boot_id", "log_id", "pid", "versions", "seq", "acked", "rss_bytes"),
    *("devices", "rejections"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SIDES)
async def side(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    bridge_program: None,
) -> AsyncIterator[BridgeSide]:
    async with SIDES[request.param](tmp_path_factory.mktemp("side")) as opened:
        await link(opened, "7", PHONE)
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def ready(side: BridgeSide) -> BridgeCaller:
    """Who calls a bridge with a device `7` that is ready."""
    before = await side.caller.seq()
    if (await side.caller.device("7"))["state"] != "ready":
        await side.caller.reaches("7", "ready", before)
    return side.caller


async def up(caller: BridgeCaller, device: str) -> Json:
    """The code that a device shows, which has no phone."""
    before = await caller.seq()
    status, _ = await caller.call("PUT", f"/v1/devices/{device}", {"desired": "up"})
    assert status == 200
    return await caller.until(lambda e: e["type"] == "qr" and e["device"] == device, before)


async def link(side: BridgeSide, device: str, phone: str) -> Json:
    """The event with which a device that has no phone is ready."""
    shown = await up(side.caller, device)
    assert await side.scan(shown["code"], phone)
    return await side.caller.reaches(device, "ready", shown["seq"])


async def acked(caller: BridgeCaller, wa_id: str, ack: int) -> Json:
    return await caller.until(
        lambda e: e["type"] == "ack" and e["wa_id"] == wa_id and e["ack"] == ack
    )


async def lines(caller: BridgeCaller, query: str, count: int) -> list[Json]:
    """The first lines of a stream."""
    found: list[Json] = []
    async with asyncio.timeout(30), aclosing(caller.lines(query)) as told:
        async for line in told:
            found.append(line)
            if len(found) == count:
                break
    return found


async def test_a_bridge_tells_of_itself_and_its_devices(ready: BridgeCaller) -> None:
    status, health = await ready.call("GET", "/v1/health")
    assert (status, set(health), health["protocol"]) == (200, HEALTH, 1)
    status, view = await ready.call("GET", "/v1/devices/7")
    assert (status, set(view)) == (200, VIEW)
    assert (view["desired"], view["state"], view["me"]) == ("up", "ready", PHONE)
    _, listed = await ready.call("GET", "/v1/devices")
    assert [device["id"] for device in listed["devices"]] == ["7"]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v1/nothing", None, (404, "not_found")),
        ("PATCH", "/v1/devices/7", None, (405, "method_not_allowed")),
        ("PUT", "/v1/devices/a%2Eb", {"desired": "up"}, (400, "bad_request")),
        ("PUT", "/v1/devices/7", {"desired": "up", "more": 1}, (400, "bad_request")),
        ("POST", "/v1/devices/7/messages", {"id": "1", "epoch": 1}, (400, "bad_request")),
        ("POST", "/v1/events/ack", {"upto": 10**9}, (400, "bad_request")),
        ("POST", "/v1/devices/7/pairing-code", {"phone": PHONE}, (409, "no_code")),
        ("GET", "/v1/devices/7/qr", None, (409, "no_code")),
        *(
            (method, f"/v1/devices/unheard-of{path}", body, (404, "unknown_device"))
            for method, path, body in [
                ("GET", "", None),
                ("GET", "/qr", None),
                ("POST", "/pairing-code", {"phone": PHONE}),
                ("POST", "/check", {"phone": PHONE}),
                ("POST", "/restart", None),
                ("POST", "/logout", None),
                ("POST", "/messages", {"id": "1", "epoch": 1, "to": PERSON, "text": "x"}),
                ("GET", f"/messages/3EB0?to=%2B{PERSON[1:]}", None),
            ]
        ),
    ],
)
async def test_what_cannot_be_is_refused_by_its_code(
    ready: BridgeCaller, method: str, path: str, body: Json | None, expected: tuple[int, str]
) -> None:
    status, problem = await ready.call(method, path, body)
    assert (status, problem["code"]) == expected
    assert problem["detail"]


async def test_a_message_is_one_however_often_it_is_sent(
    side: BridgeSide, ready: BridgeCaller
) -> None:
    status, sent = await ready.send("7", "once", PERSON, "hello")
    assert (status, sent["wa_id"], sent["status"]) == (200, wa_id_of("7", "once"), "sent")
    assert sent["ack"] >= 1
    assert not sent["duplicate"]
    assert isinstance(sent["new_chat"], bool)
    await acked(ready, sent["wa_id"], 2)
    again = await asyncio.gather(*(ready.send("7", "once", PERSON, "hello") for _ in range(3)))
    for status, answer in again:
        assert (status, answer["wa_id"], answer["status"]) == (200, sent["wa_id"], "sent")
        assert (answer["duplicate"], answer["new_chat"]) == (True, None)
    assert side.made(sent["wa_id"]) == 1
    to = f"?to=%2B{PERSON[1:]}"
    status, found = await ready.call("GET", f"/v1/devices/7/messages/{sent['wa_id']}{to}")
    assert (status, found["wa_id"], found["found"]) == (200, sent["wa_id"], True)
    assert found["ack"] >= 2
    status, none = await ready.call("GET", f"/v1/devices/7/messages/3EB0{'0' * 18}{to}")
    assert (status, none["found"], none["ack"]) == (200, False, None)


async def test_acks_rise_and_are_told_in_their_order(ready: BridgeCaller) -> None:
    before = await ready.seq()
    _, sent = await ready.send("7", "acks", PERSON, "hello")
    last = await acked(ready, sent["wa_id"], 2)
    told = [e async for e in between(ready, before, last["seq"]) if e["type"] == "ack"]
    assert [e["ack"] for e in told if e["wa_id"] == sent["wa_id"]] == [1, 2]


async def between(caller: BridgeCaller, after: int, last: int) -> AsyncIterator[Json]:
    async with aclosing(caller.events(after)) as told:
        async for line in told:
            if "device" in line:
                yield line
                if line["seq"] == last:
                    return


async def test_what_nobody_gets_is_final(side: BridgeSide, ready: BridgeCaller) -> None:
    status, answer = await ready.send("7", "stranger", STRANGER, "hello")
    assert (status, answer["code"]) == (422, "not_on_whatsapp")
    for is_new in (True, None):
        status, answer = await ready.send("7", "refused", REFUSING, "hello")
        assert (status, answer["code"]) == (422, "failed")
        assert answer["wa_id"] == wa_id_of("7", "refused")
        assert answer["new_chat"] is is_new
    assert [side.made(wa_id_of("7", name)) for name in ("stranger", "refused")] == [0, 0]
    for phone, registered in ((PERSON, True), (STRANGER, False)):
        checked = await ready.call("POST", "/v1/devices/7/check", {"phone": phone})
        assert checked == (200, {"registered": registered})


async def test_what_the_page_keeps_is_pending_and_goes_out_by_itself(
    side: BridgeSide, ready: BridgeCaller
) -> None:
    await side.swallow()
    sends = [ready.send("7", "late", SWALLOWED, "hello") for _ in range(2)]
    answers = await asyncio.gather(*sends)
    wa_id = wa_id_of("7", "late")
    for status, answer in answers:
        assert (status, answer["wa_id"]) == (200, wa_id)
        assert (answer["status"], answer["ack"]) == ("pending", 0)
    assert sorted(answer["duplicate"] for _, answer in answers) == [False, True]
    await side.release()
    await acked(ready, wa_id, 2)
    assert side.made(wa_id) == 1


async def test_what_a_person_writes_is_told(side: BridgeSide, ready: BridgeCaller) -> None:
    wa_id = await side.write(PHONE, PERSON, "STOP")
    told = await ready.until(lambda e: e["type"] == "inbound" and e["wa_id"] == wa_id)
    assert (told["device"], told["phone"], told["text"]) == ("7", PERSON, "STOP")
    assert (told["kind"], told["swept"]) == ("chat", False)
    assert told["from"]
    assert told["t"].endswith("Z")


async def test_events_are_kept_until_they_are_acknowledged(ready: BridgeCaller) -> None:
    await ready.send("7", "event", PERSON, "hello")
    await acked(ready, wa_id_of("7", "event"), 2)
    hello, first, second = await lines(ready, "?after=0", 3)
    assert (hello["type"], hello["protocol"], hello["seq"]) == ("hello", 1, await ready.seq())
    assert first["seq"] + 1 == second["seq"]
    assert {"seq", "boot_id", "at", "device", "type"} <= first.keys()
    # Without a cursor the stream begins behind what is acknowledged.
    assert (await lines(ready, "", 2))[1] == first

    last = await ready.seq()
    assert await ready.call("POST", "/v1/events/ack", {"upto": last}) == (200, {"acked": last})
    assert await ready.call("POST", "/v1/events/ack", {"upto": 1}) == (200, {"acked": last})
    hello, idle = await lines(ready, "", 2)
    assert (idle["type"], idle["seq"]) == ("heartbeat", last)
    _, gap, idle = await lines(ready, "?after=1", 3)
    assert (gap["type"], gap["from"], gap["to"]) == ("gap", 2, last)
    assert idle["type"] == "heartbeat"
    _, gap, _ = await lines(ready, f"?after={last}&log=another", 3)
    assert (gap["type"], gap["from"], gap["to"]) == ("gap", last + 1, 0)


async def test_what_was_and_what_comes_outlives_the_process(
    side: BridgeSide, ready: BridgeCaller
) -> None:
    path, body = "/v1/devices/7/messages", {"epoch": 5, "to": PERSON, "text": "hello"}
    status, _ = await ready.call("POST", path, body | {"id": "before"})
    assert status == 200
    await acked(ready, wa_id_of("7", "before"), 2)
    _, health = await ready.call("GET", "/v1/health")
    await side.die()
    missed = await side.write(PHONE, PERSON, "while you were away")
    await side.come_back()
    status, stale = await ready.call("POST", path, body | {"id": "stale", "epoch": 4})
    assert (status, stale["code"], stale["epoch"]) == (409, "stale_epoch", 5)
    told = await ready.until(lambda e: e["type"] == "inbound" and e["wa_id"] == missed)
    assert told["swept"]
    assert told["seq"] > health["seq"]
    _, now = await ready.call("GET", "/v1/health")
    assert (now["log_id"], now["boot_id"] != health["boot_id"]) == (health["log_id"], True)


async def test_the_code_is_one_for_a_phone_to_scan_or_to_type(side: BridgeSide) -> None:
    caller, path = side.caller, "/v1/devices/8"
    before = await caller.seq()
    shown = await up(caller, "8")
    states = [e["state"] async for e in between(caller, before, shown["seq"]) if "state" in e]
    assert states == ["starting", "qr"]
    status, code = await caller.call("GET", f"{path}/qr")
    assert (status, code["code"]) == (200, shown["code"])
    assert code["issued_at"].endswith("Z")
    pairing, again, other = [
        await caller.call("POST", f"{path}/pairing-code", {"phone": phone})
        for phone in (OTHER_PHONE, OTHER_PHONE, PHONE)
    ]
    assert pairing == again != other
    status, typed = other
    assert (status, len(typed["code"])) == (200, 8)
    assert typed["issued_at"].endswith("Z")
    for method, ask, body in (
        ("POST", "/messages", {"id": "1", "epoch": 1, "to": PERSON, "text": "x"}),
        ("POST", "/check", {"phone": PERSON}),
        ("GET", f"/messages/3EB0?to=%2B{PERSON[1:]}", None),
    ):
        status, problem = await caller.call(method, path + ask, body)
        assert (status, problem["code"], problem["state"]) == (503, "device_not_ready", "qr")

    assert not await side.type(typed["code"], OTHER_PHONE)
    status, typed = await caller.call("POST", f"{path}/pairing-code", {"phone": OTHER_PHONE})
    assert await side.type(typed["code"], OTHER_PHONE)
    told = await caller.reaches("8", "ready", shown["seq"])
    assert (told["me"], told["reason"], told["missing"]) == (OTHER_PHONE, None, None)
    assert not await side.scan(shown["code"], PHONE)


async def test_a_device_keeps_its_phone_until_the_link_ends(side: BridgeSide) -> None:
    caller, path = side.caller, "/v1/devices/8"
    if (await caller.call("GET", path))[0] == 404:
        await link(side, "8", OTHER_PHONE)
    before = await caller.seq()
    await side.unlink(OTHER_PHONE)
    gone = await caller.reaches("8", "logged_out", before)
    assert (gone["reason"], gone["me"]) == ("unlinked", None)
    await link(side, "8", OTHER_PHONE)
    # The link made after an unlink is kept like any other.
    status, view = await caller.call("PUT", path, {"desired": "down"})
    assert (status, view["state"], view["reason"]) == (200, "stopped", "desired")
    assert (view["desired"], view["me"]) == ("down", OTHER_PHONE)
    before = await caller.seq()
    assert (await caller.call("PUT", path, {"desired": "up"}))[0] == 200
    back = await caller.reaches("8", "ready", before)
    assert back["me"] == OTHER_PHONE
    status, view = await caller.call("POST", f"{path}/restart")
    assert (status, view["state"]) == (202, "starting")
    await caller.reaches("8", "ready", back["seq"])

    status, view = await caller.call("POST", f"{path}/logout")
    assert (status, view["state"], view["reason"]) == (200, "logged_out", "logout")
    assert view["me"] is None
    for _ in range(2):
        assert (await caller.call("DELETE", path))[0] == 204
    assert (await caller.call("GET", path))[1]["code"] == "unknown_device"
