"""Texts, media and approved templates, as they arrive at Meta."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.checks import check_problem
from tests.integration.meta.business import PHONE, hear
from tests.servers.cloud_api import CloudApi, Number
from tests.servers.cloud_api.requests import Message
from tests.system import Account, Hantar, eventually

STRANGER = "+60123456780"
BODY = "Salam {{name|there}}"
IMAGE = {"type": "image", "url": "https://example.com/a.png"}


def twin(**parts: Any) -> dict[str, Any]:
    """The approved template of the same words."""
    value = {"type": "text", "text": "{{name|there}}"}
    return {
        "name": "hello",
        "language": "ms",
        "components": [{"type": "body", "parameters": [value]}],
        **parts,
    }


async def template(hantar: Hantar, account: Account, **parts: Any) -> int:
    body = {"name": "Salam", "body": BODY, "meta": twin(), **parts}
    answer = await hantar.post("/templates", account, body)
    assert answer.status == 201, answer.json
    made: int = answer.json["data"]["id"]
    return made


async def send(hantar: Hantar, account: Account, **body: Any) -> Any:
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, **body})
    assert answer.status == 202, answer.json
    return await hantar.until(account, answer.json["data"]["id"], "delivered")


def arrived(cloud: CloudApi) -> dict[str, Message]:
    """What arrived at Meta, by phone."""
    return {call.message.phone: call.message for call in cloud.journal}


def values(message: Message) -> list[str | None]:
    """The values that were sent with a template."""
    assert message.type == "template"
    assert message.template is not None
    return [value.text for part in message.template.components for value in part.parameters]


async def test_outside_the_window_the_approved_template_goes(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    made = await template(hantar, account)
    message = await send(
        hantar, account, phone=STRANGER, template_id=made, variables={"name": "Aminah {{name}}"}
    )
    assert message["body"] == "Salam Aminah {{name}}"
    found = arrived(cloud)[STRANGER]
    assert values(found) == ["Aminah {{name}}"]
    assert found.template is not None
    assert (found.template.name, found.template.language.code) == ("hello", "ms")


async def test_within_the_window_the_words_go_unless_the_template_is_no_fallback(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    made = await template(hantar, account)
    await send(hantar, account, template_id=made, name="Siti")
    found = arrived(cloud)[PHONE]
    assert found.text is not None
    assert (found.text.body, found.text.preview_url) == ("Salam Siti", False)
    always = await template(hantar, account, meta=twin(fallback=False))
    await send(hantar, account, template_id=always, name="Siti")
    assert values(arrived(cloud)[PHONE]) == ["Siti"]


async def test_links_in_a_text_have_a_preview(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    await send(hantar, account, body="See https://example.com/x")
    text = arrived(cloud)[PHONE].text
    assert text is not None
    assert text.preview_url


async def test_a_value_with_line_breaks_is_sent_in_one_line(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    made = await template(hantar, account)
    address = "1 Jalan Satu,\r\n\tIpoh      Perak"
    await send(hantar, account, phone=STRANGER, template_id=made, variables={"name": address})
    assert values(arrived(cloud)[STRANGER]) == ["1 Jalan Satu, Ipoh Perak"]


@pytest.mark.parametrize(
    ("media", "body", "caption", "logged"),
    [
        (IMAGE, "Our new shop", "Our new shop", "Our new shop"),
        (IMAGE | {"caption": "{{name}}"}, None, "{{name}}", "{{name}}"),
        (IMAGE | {"type": "video"}, None, None, ""),
        (IMAGE | {"type": "document", "filename": "a.pdf"}, "Here", "Here", "Here"),
        (IMAGE | {"type": "audio"}, None, None, ""),
    ],
)
async def test_media_go_with_their_words(
    hantar: Hantar,
    account: Account,
    cloud: CloudApi,
    media: dict[str, Any],
    body: str | None,
    caption: str | None,
    logged: str,
) -> None:
    said = {"media": media} if body is None else {"media": media, "body": body}
    message = await send(hantar, account, **said)
    assert message["body"] == logged
    found = arrived(cloud)[PHONE]
    assert found.type == media["type"]
    sent = getattr(found, found.type)
    assert (sent.link, sent.caption) == (media["url"], caption)
    assert sent.filename == media.get("filename")


async def test_a_bulk_fills_media_and_template_for_each(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    media = {
        "type": "document",
        "url": "https://example.com/{{number}}.pdf",
        "filename": "{{number}}.pdf",
        "caption": "For {{name|you}}",
    }
    made = await template(hantar, account, media=media)
    items = [
        {"phone": PHONE, "variables": {"number": 7, "name": "Wei"}},
        {"phone": STRANGER, "variables": {"number": 8, "name": "Ravi"}},
        {"phone": "+60123456781", "variables": {"number": "no good"}},
    ]
    answer = await hantar.post("/messages/bulk", account, {"template_id": made, "messages": items})
    assert answer.status == 202, answer.json
    (rejected,) = answer.json["rejected"]
    assert (rejected["index"], rejected["code"]) == (2, "validation_failed")
    assert "URL" in rejected["detail"]
    for each in answer.json["queued"]:
        await hantar.until(account, each["id"], "delivered")
    document = arrived(cloud)[PHONE].document
    assert document is not None
    assert (document.link, document.filename) == ("https://example.com/7.pdf", "7.pdf")
    assert document.caption == "For Wei"
    assert values(arrived(cloud)[STRANGER]) == ["Ravi"]


async def test_a_campaign_fills_the_template_as_it_was_when_it_was_made(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    made = await template(hantar, account)
    await hear(hantar, account, [PHONE])
    body = {
        "name": "Raya",
        "message_template_id": made,
        "recipients": [{"phone": PHONE, "name": "Siti"}, {"phone": STRANGER, "name": "Wei"}],
    }
    answer = await hantar.post("/campaigns", account, body)
    assert answer.status == 201, answer.json
    await hantar.call("DELETE", f"/api/v1/templates/{made}", account)

    async def all_arrived() -> bool:
        return len(cloud.journal) == 2

    await eventually(all_arrived)
    text = arrived(cloud)[PHONE].text
    assert text is not None
    assert text.body == "Salam Siti"
    assert values(arrived(cloud)[STRANGER]) == ["Wei"]


async def test_a_value_missing_in_the_approved_template_skips_the_recipient(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    parameters = [{"type": "text", "text": "{{city}}"}]
    meta = twin(components=[{"type": "body", "parameters": parameters}])
    made = await template(hantar, account, meta=meta)
    recipients = [
        {"phone": PHONE, "attributes": {"city": "Ipoh"}},
        {"phone": STRANGER, "name": "Wei"},
    ]
    body = {
        "name": "Raya",
        "message_template_id": made,
        "recipients": recipients,
        "missing_variables": "skip",
    }
    answer = await hantar.post("/campaigns/preview", account, body)
    assert answer.json["data"]["skipped"] == {"missing_variables": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"media": IMAGE, "body": "  "}, "body"),
        ({"media": IMAGE, "body": "x" * 1025}, "body"),
        ({"media": IMAGE | {"caption": "a"}, "body": "b"}, "media.caption"),
        ({"media": IMAGE | {"url": "ftp://example.com/x"}}, "media.url"),
        ({"media": IMAGE | {"url": "https://example.com/{{a"}, "variables": {}}, "media.url"),
        ({"media": IMAGE | {"caption": "a\0b"}}, "media.caption"),
        ({"media": IMAGE | {"type": "gif"}}, "media.type"),
        ({"media": IMAGE, "template_id": 1}, "media"),
        ({"body": "b", "template_id": 1}, "body"),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    hantar: Hantar, account: Account, body: dict[str, Any], field: str
) -> None:
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, **body})
    check_problem(answer, 422, "validation_failed", field)


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"meta": twin(components=[{"text": ["{{name"]}])}, "meta.components.0.text.0"),
        ({"meta": twin(components=[{"text": "x" * 17_000}])}, "meta"),
        ({"media": IMAGE | {"caption": "{{{name}}}"}}, "media.caption"),
    ],
)
async def test_what_is_no_template_is_refused(
    hantar: Hantar, account: Account, parts: dict[str, Any], field: str
) -> None:
    answer = await hantar.post("/templates", account, {"name": "Hi", "body": "Hello", **parts})
    check_problem(answer, 422, "validation_failed", field)


async def test_a_template_has_the_variables_of_all_its_parts(
    hantar: Hantar, account: Account, number: Number
) -> None:
    body = {
        "name": "Hi",
        "body": "Hello {{name}}",
        "media": IMAGE | {"caption": "{{shop}}"},
        "meta": twin(components=[{"text": "{{city|here}}"}, {"text": "{{name}}"}]),
    }
    answer = await hantar.post("/templates", account, body)
    assert answer.json["data"]["variables"] == ["name", "shop", "city"]
