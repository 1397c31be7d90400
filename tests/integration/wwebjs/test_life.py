"""What the protocol suite leaves to the real library, a real browser and a WhatsApp of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.wwebjs.names import wa_id_of
from tests.integration.wwebjs.linked import DEVICE, PERSON, PHONE, Linked
from tests.servers.bridge import browsers_of


async def test_files_come_from_the_spool_alone(linked: Linked, tmp_path: Path) -> None:
    await linked.link()
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
    assert linked.whatsapp.deliveries[0].wa_id == wa_id_of(DEVICE, "c")


async def test_chats_known_by_their_lid_keep_phone_id_and_look_up(linked: Linked) -> None:
    await linked.link()
    linked.whatsapp.options.lid = True
    for repeated in (False, True):
        status, answer = await linked.send("e", to="+60123456781")
        assert (status, answer["duplicate"]) == (200, repeated)
    assert [d.phone for d in linked.whatsapp.deliveries] == ["+60123456781"]
    heard = await linked.hears(await linked.whatsapp.write(PHONE, "+60123456781", "hi"))
    assert (heard["from"], heard["phone"]) == ("9918765432106@lid", "+60123456781")
    # A text that ends within a letter is one that everybody can read.
    cut = await linked.hears(await linked.whatsapp.write(PHONE, PERSON, "half of a pair: \ud83d"))
    assert cut["text"] == "half of a pair: \ufffd"


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
