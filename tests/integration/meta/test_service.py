"""Hantar sends through a local Cloud API, and is called back by it."""

from __future__ import annotations

import asyncio
from collections import Counter

import orjson
import pytest

from tests.integration.meta.business import PHONE, SECRET, device_of, hear
from tests.servers.cloud_api import Behaviour, CloudApi, Fault, Number, sign
from tests.servers.cloud_api.callbacks import encode, messages_value, notification, status
from tests.system import Account, Hantar, eventually


async def test_a_bulk_is_read_whatever_the_order_of_callbacks(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.default = Behaviour(statuses=("sent", "delivered", "read"))
    cloud.repeats, cloud.shuffled = 3, True
    items = [{"phone": f"+6012{n:07}", "body": f"Salam {n}"} for n in range(2_000_000, 2_000_200)]
    await hear(hantar, account, [item["phone"] for item in items])
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    assert answer.status == 202
    assert len(answer.json["queued"]) == 200

    async def all_read() -> bool:
        rows = await hantar.pool.fetch("SELECT status, count(*) FROM messages GROUP BY status")
        return {row["status"]: row["count"] for row in rows} == {"read": 200}

    await eventually(all_read, within_seconds=60)
    calls = Counter(call.message.phone for call in cloud.journal)
    assert set(calls.values()) == {1}
    assert len(calls) == 200
    assert await hantar.balance(account) == 1800
    assert await hantar.drifting() == []


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        (Fault.HANG_AFTER_ACCEPT, "delivered"),
        (Fault.RESET_AFTER_ACCEPT, "delivered"),
        (Fault.HALF_ANSWER, "delivered"),
        (Fault.GARBAGE, "delivered"),
        (Fault.ENDLESS_ANSWER, "delivered"),
        (Fault.RESET, "unconfirmed"),
    ],
)
async def test_a_message_in_doubt_is_resolved_by_its_callback_and_never_sent_twice(
    hantar: Hantar, account: Account, cloud: CloudApi, fault: Fault, end: str
) -> None:
    cloud.behaviours[PHONE] = Behaviour(fault=fault)
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message_id = answer.json["data"]["id"]
    await hantar.until(account, message_id, end)
    assert len(cloud.journal) == 1
    assert await hantar.drifting() == []


@pytest.mark.parametrize(
    ("statuses", "end", "credit"),
    [
        (("sent", "delivered", "read"), "read", "settled"),
        (("read",), "read", "settled"),
        (("failed",), "failed", "released"),
    ],
)
async def test_a_status_that_comes_before_the_answer_is_not_lost_by_it(
    hantar: Hantar,
    account: Account,
    cloud: CloudApi,
    statuses: tuple[str, ...],
    end: str,
    credit: str,
) -> None:
    cloud.behaviours[PHONE] = Behaviour(statuses=statuses, called_back_first=True)
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message_id = answer.json["data"]["id"]
    await hantar.until(account, message_id, end)

    async def answered() -> bool:
        # The claim is over once what the call came to is written.
        return not await hantar.pool.fetchval("SELECT count(*) FROM claims")

    await eventually(answered)
    message = await hantar.message(account, message_id)
    assert (message["status"], message["credit"]) == (end, credit)
    assert message["provider_id"].startswith("wamid.")
    assert message["attempts"] == len(cloud.journal) == 1
    assert await hantar.drifting() == []


async def test_an_error_under_a_good_status_is_tried_again(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.behaviours[PHONE] = Behaviour(fault=Fault.ERROR_WITH_200, faults=1)
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message = await hantar.until(account, answer.json["data"]["id"], "delivered")
    assert [call.taken for call in cloud.journal] == [False, True]
    assert message["attempts"] == 2
    assert await hantar.drifting() == []


async def test_an_error_says_why_in_a_sentence(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.behaviours[PHONE] = Behaviour(error=(400, 131026))
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message = await hantar.until(account, answer.json["data"]["id"], "failed")
    assert message["error"]["code"] == "undeliverable"
    assert "not on WhatsApp" in message["error"]["detail"]
    assert message["credit"] == "released"


async def test_a_failure_that_comes_later_is_refunded(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.behaviours[PHONE] = Behaviour(statuses=("sent", "failed"), failure=131049)
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message = await hantar.until(account, answer.json["data"]["id"], "failed")
    assert message["error"]["code"] == "marketing_withheld"
    assert await hantar.balance(account) == 2000


async def test_who_writes_stop_is_opted_out(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    await cloud.write(number, PHONE, "Stop")

    async def opted_out() -> bool:
        answer = await hantar.get(f"/contacts?search={PHONE[1:]}", account)
        return [contact["opted_out"] for contact in answer.json["data"]] == [True]

    await eventually(opted_out)


@pytest.mark.row("5.6-95")
async def test_meta_is_shown_that_the_address_is_ours(hantar: Hantar, account: Account) -> None:
    query = "/webhooks/meta?hub.mode=subscribe&hub.challenge=<b>1158</b>&hub.verify_token="
    answer = await hantar.call("GET", query + "a-test-verify-token")
    assert (answer.status, answer.json) == (200, "<b>1158</b>")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert (await hantar.call("GET", query + "another")).status == 403
    assert (await hantar.call("GET", "/webhooks/meta?hub.mode=subscribe")).status == 400


@pytest.mark.row("5.6-94")
async def test_what_is_not_signed_by_the_account_changes_nothing(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    cloud.webhook_url = None
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message_id = answer.json["data"]["id"]
    await hantar.until(account, message_id, "sent")
    made = cloud.journal[0].message.biz_opaque_callback_data
    about = status("wamid/9", PHONE, "read", made)
    body = encode(notification(number, "messages", messages_value(number, statuses=[about])))
    for signature in (
        None,
        "",
        "sha256=" + "0" * 64,
        sign(body, "another secret"),
        sign(orjson.dumps(orjson.loads(body)), SECRET),
    ):
        headers = {"X-Hub-Signature-256": signature} if signature is not None else {}
        refused = await hantar.call("POST", "/webhooks/meta", data=body, headers=headers)
        assert refused.status == 401
    good = {"X-Hub-Signature-256": sign(body, SECRET)}
    assert (await hantar.call("POST", "/webhooks/meta", data=body, headers=good)).status == 200
    await hantar.until(account, message_id, "read")


async def test_a_nested_webhook_that_nobody_signed_is_refused(hantar: Hantar) -> None:
    nested = b"[" * 1000 + b"]" * 1000
    body = b'{"object":"whatsapp_business_account","entry":[{"id":%s}]}' % nested
    answer = await hantar.call("POST", "/webhooks/meta", data=body)
    assert answer.status == 401


async def test_another_business_cannot_speak_of_our_messages(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    cloud.webhook_url = None
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    message_id = answer.json["data"]["id"]
    await hantar.until(account, message_id, "sent")
    theirs = Number("77", "78", access_token="t", app_secret="their-secret")
    stranger = await hantar.account(device=False)
    made = device_of(theirs)
    made["settings"] = {
        "phone_number_id": "77",
        "business_account_id": "78",
        "access_token": "t",
        "app_secret": "their-secret",
    }
    assert (await hantar.post("/devices", stranger, made)).status == 201
    mark = cloud.journal[0].message.biz_opaque_callback_data
    about = status("wamid.9", PHONE, "read", mark)
    body = encode(notification(theirs, "messages", messages_value(theirs, statuses=[about])))

    async def taken() -> bool:
        # Their device is known to the door a few seconds after it was made.
        headers = {"X-Hub-Signature-256": sign(body, "their-secret")}
        answer = await hantar.call("POST", "/webhooks/meta", data=body, headers=headers)
        return answer.status == 200

    await eventually(taken)
    assert (await hantar.message(account, message_id))["status"] == "sent"


async def test_a_flood_of_bad_signatures_loses_none_of_the_good_ones(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    cloud.webhook_url = None
    items = [{"phone": f"+6012{n:07}", "body": "Salam"} for n in range(2_000_000, 2_000_070)]
    await hear(hantar, account, [item["phone"] for item in items])
    await hantar.post("/messages/bulk", account, {"messages": items})
    await asyncio.wait_for(cloud.received(70), 20)
    good = [
        encode(
            notification(
                number,
                "messages",
                messages_value(
                    number,
                    statuses=[
                        status(
                            f"w{n}",
                            call.message.phone,
                            "read",
                            call.message.biz_opaque_callback_data,
                        )
                    ],
                ),
            )
        )
        for n, call in enumerate(cloud.journal)
    ]
    bodies = [(body, sign(body, SECRET)) for body in good] + [
        (body, sign(body, "wrong")) for body in good[:30]
    ]
    answers = await asyncio.gather(
        *(
            hantar.call(
                "POST", "/webhooks/meta", data=body, headers={"X-Hub-Signature-256": signature}
            )
            for body, signature in bodies
        )
    )
    assert [answer.status for answer in answers] == [200] * 70 + [401] * 30

    async def all_read() -> bool:
        found = await hantar.pool.fetchval("SELECT count(*) FROM messages WHERE status = 'read'")
        return bool(found == 70)

    await eventually(all_read)


async def test_a_text_goes_only_to_who_wrote_within_a_day(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    other = "+60123456780"
    answer = await hantar.post("/messages/send", account, {"phone": other, "body": "Salam"})
    message = await hantar.until(account, answer.json["data"]["id"], "failed")
    assert message["error"]["code"] == "outside_window"
    assert not cloud.journal
    await cloud.write(number, other, "Hello?")

    async def heard() -> bool:
        return bool(
            await hantar.pool.fetchval("SELECT true FROM conversations WHERE phone = $1", other)
        )

    await eventually(heard)
    answer = await hantar.post("/messages/send", account, {"phone": other, "body": "Salam"})
    await hantar.until(account, answer.json["data"]["id"], "delivered")


async def test_what_a_person_writes_is_kept_once_with_its_kind(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    photo = {
        "from": PHONE[1:],
        "id": "wamid.photo",
        "timestamp": "1764064800",
        "type": "image",
        "image": {"id": "1", "mime_type": "image/jpeg", "caption": "Resit saya"},
    }
    for _ in range(2):
        await cloud.notify(number, "messages", messages_value(number, messages=[photo]))
    await cloud.write(number, PHONE, "Salam")

    async def both() -> list[dict[str, object]]:
        answer = await hantar.get("/inbound-messages", account)
        rows: list[dict[str, object]] = answer.json["data"]
        return rows if len(rows) >= 2 else []

    rows = await eventually(both)
    assert [(row["kind"], row["text"], row["phone"]) for row in rows] == [
        ("text", "Salam", PHONE),
        ("image", "Resit saya", PHONE),
    ]
    assert rows[1]["provider_id"] == "wamid.photo"
