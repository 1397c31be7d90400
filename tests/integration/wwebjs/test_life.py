"""The whole life of a linked device: real library, real browser, a WhatsApp of our own."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.wwebjs.linked import DEVICE, PERSON, PHONE, Linked
from tests.servers.bridge import browsers_of

WA_ID_OF_1 = "3EB0D3D2F5798EA0625E5A"


async def test_a_device_is_linked_sends_hears_is_unlinked_and_linked_again(linked: Linked) -> None:
    ready = await linked.link()
    assert ready["me"] == PHONE

    status, sent = await linked.send("1")
    assert (status, sent["wa_id"], sent["status"]) == (200, WA_ID_OF_1, "sent")
    assert (sent["duplicate"], sent["new_chat"]) == (False, True)
    await linked.acked(WA_ID_OF_1, 3)
    # Whoever asks again, however often, gets the answer and no second message.
    again = await asyncio.gather(*(linked.send("1") for _ in range(3)))
    assert [(s, a["wa_id"], a["duplicate"]) for s, a in again] == [(200, WA_ID_OF_1, True)] * 3
    assert [(d.wa_id, d.phone) for d in linked.whatsapp.deliveries] == [(WA_ID_OF_1, PERSON)]

    heard = await linked.hears(await linked.whatsapp.write(PHONE, PERSON, "STOP"))
    assert (heard["phone"], heard["text"], heard["swept"]) == (PERSON, "STOP", False)

    before = await linked.bridge.seq()
    await linked.whatsapp.unlink(PHONE)
    gone = await linked.reaches("logged_out", before)
    assert (gone["reason"], gone["me"]) == ("unlinked", None)
    status, refused = await linked.send("2")
    assert (status, refused["code"], refused["state"]) == (503, "device_not_ready", "logged_out")
    await linked.link(after=gone["seq"])
    status, _ = await linked.send("2")
    assert status == 200

    # The link made after an unlink is on disk: nobody is asked to scan anything.
    await linked.bridge.stop()
    await linked.whatsapp.write(PHONE, PERSON, "while you were away")
    await linked.bridge.start()
    _, health = await linked.bridge.call("GET", "/v1/health")
    back = await linked.reaches("ready", gone["seq"] + 5)
    assert back["boot_id"] == health["boot_id"]
    swept = await linked.bridge.until(
        lambda e: e["type"] == "inbound" and e["text"] == "while you were away"
    )
    assert swept["swept"]
    assert swept["seq"] < back["seq"]
    status, again_known = await linked.send("2")
    assert (status, again_known["duplicate"]) == (200, True)
    assert max(Counter(d.wa_id for d in linked.whatsapp.deliveries).values()) == 1


async def test_a_message_for_nobody_and_one_that_is_refused_are_final(
    linked: Linked, tmp_path: Path
) -> None:
    await linked.link()
    linked.whatsapp.options.strangers.add("+60123456701")
    linked.whatsapp.options.refusing.add("+60123456702")
    status, body = await linked.send("a", to="+60123456701")
    assert (status, body["code"]) == (422, "not_on_whatsapp")
    status, body = await linked.send("b", to="+60123456702")
    assert (status, body["code"], body["new_chat"]) == (422, "failed", True)
    status, body = await linked.send("b", to="+60123456702")
    assert (status, body["code"]) == (422, "failed")
    assert linked.whatsapp.deliveries == []
    checks = [
        await linked.bridge.call("POST", f"/v1/devices/{DEVICE}/check", {"phone": phone})
        for phone in (PERSON, "+60123456701")
    ]
    assert checks == [(200, {"registered": True}), (200, {"registered": False})]

    picture = linked.bridge.folder / "spool" / "picture.png"
    picture.write_bytes(b"not really a picture")
    (tmp_path / "secret").write_text("outside of the spool")
    body = {"id": "c", "epoch": 1, "to": PERSON}
    media = {"path": "picture.png", "mime": "image/png", "caption": "see"}
    path = f"/v1/devices/{DEVICE}/messages"
    status, answer = await linked.bridge.call("POST", path, body | {"media": media})
    assert (status, answer["status"]) == (200, "sent")
    assert [(d.kind, d.body) for d in linked.whatsapp.deliveries] == [("image", "see")]
    outside = media | {"path": "../../secret"}
    status, answer = await linked.bridge.call("POST", path, body | {"id": "d", "media": outside})
    assert (status, answer["code"]) == (422, "bad_media")
    assert linked.whatsapp.deliveries[0].wa_id == (await linked_id(linked, "c"))

    # Chats known by their LID alone keep phone, id and look-up.
    linked.whatsapp.options.lid = True
    status, first = await linked.send("e", to="+60123456781")
    status, second = await linked.send("e", to="+60123456781")
    assert (first["wa_id"], second["duplicate"]) == (second["wa_id"], True)
    assert linked.whatsapp.deliveries[-1].phone == "+60123456781"
    heard = await linked.hears(await linked.whatsapp.write(PHONE, "+60123456781", "hi"))
    assert (heard["from"], heard["phone"]) == ("9918765432106@lid", "+60123456781")


async def linked_id(linked: Linked, message: str) -> str:
    """The id of a message that was sent before, from its repeated send."""
    body = {"id": message, "epoch": 1, "to": PERSON, "text": "again"}
    _, answer = await linked.bridge.call("POST", f"/v1/devices/{DEVICE}/messages", body)
    return str(answer["wa_id"])


async def test_an_older_epoch_is_refused_even_after_a_restart(linked: Linked) -> None:
    await linked.link()
    path = f"/v1/devices/{DEVICE}/messages"
    body = {"id": "1", "epoch": 5, "to": PERSON, "text": "hello"}
    assert (await linked.bridge.call("POST", path, body))[0] == 200
    await linked.bridge.kill()
    await linked.bridge.start()
    status, refused = await linked.bridge.call("POST", path, body | {"id": "2", "epoch": 4})
    assert (status, refused["code"], refused["epoch"]) == (409, "stale_epoch", 5)
    assert len(linked.whatsapp.deliveries) == 1


async def test_logout_unlinks_and_delete_forgets(linked: Linked) -> None:
    await linked.link()
    status, view = await linked.bridge.call("POST", f"/v1/devices/{DEVICE}/logout")
    assert (status, view["state"], view["me"]) == (200, "logged_out", None)
    assert browsers_of(linked.bridge.folder) == []
    assert not (linked.bridge.folder / "devices" / DEVICE / "session").exists()
    assert (await linked.bridge.call("DELETE", f"/v1/devices/{DEVICE}"))[0] == 204
    status, body = await linked.bridge.call("GET", f"/v1/devices/{DEVICE}")
    assert (status, body["code"]) == (404, "unknown_device")


@pytest.mark.parametrize(
    "missing", ["WAWebQueryExistsJob", "WAWebMediaStorage.getOrCreateMediaObject"]
)
async def test_a_page_that_has_changed_is_named(linked: Linked, missing: str) -> None:
    linked.whatsapp.options.missing = [missing]
    await linked.bridge.call("PUT", f"/v1/devices/{DEVICE}", {"desired": "up"})
    shown = await linked.bridge.until(lambda event: event["type"] == "qr")
    assert await linked.whatsapp.scan(shown["code"], PHONE)
    told = await linked.reaches("incompatible", 0)
    assert told["missing"] == [missing]
