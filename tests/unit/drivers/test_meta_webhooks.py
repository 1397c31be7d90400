"""Meta's webhooks are read whatever they hold, and trusted by their signature alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.meta.marks import mark, read_mark
from drivers.meta.webhooks import (
    OTHER_LIMIT_BYTES,
    NotReadable,
    accounts_in,
    news_in,
    read_document,
    signed_by,
)
from service.core.lifecycle import Status
from tests.servers.cloud_api import Number, sign
from tests.servers.cloud_api.callbacks import encode, inbound, messages_value, notification, status

NUMBER = Number("1065", "1022", access_token="t", app_secret="s")
PHONE = "+60123456789"
MADE = mark(b"ours", 3, 7, 2)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "field",
                    "value",
                    "messages",
                    "statuses",
                    "changes",
                    "metadata",
                    "errors",
                    "type",
                    "text",
                ]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


def body_of(**parts: list[dict[str, Any]]) -> bytes:
    return encode(notification(NUMBER, "messages", messages_value(NUMBER, **parts)))


def test_a_status_names_our_message() -> None:
    body = body_of(statuses=[status("wamid.1", PHONE, "delivered", MADE)])
    (news,) = news_in(read_document(body)).statuses
    assert (news.mark, news.status, news.provider_id) == (MADE, Status.DELIVERED, "wamid.1")
    assert news.phone_number_id == "1065"


def test_a_failure_is_explained() -> None:
    body = body_of(statuses=[status("wamid.1", PHONE, "failed", "hantar:7:2", 131026)])
    (news,) = news_in(read_document(body)).statuses
    assert news.error is not None
    assert news.error[0] == "undeliverable"
    assert "131026" in news.error[1]


def test_a_mark_comes_back_as_it_was_made() -> None:
    made = mark(b"ours", 3, 7, 2)
    assert len(made) <= 512
    assert read_mark(b"ours", 3, made) == (7, 2)


@pytest.mark.parametrize(
    "given",
    [None, 7, "", ".", "7.2", mark(b"theirs", 3, 7, 2), mark(b"ours", 4, 7, 2), "7.3" + MADE[3:]],
)
def test_a_mark_that_was_not_made_here_for_this_device_is_none(given: object) -> None:
    assert read_mark(b"ours", 3, given) is None


@given(st.text(max_size=120))
def test_no_text_passes_for_a_mark(text: str) -> None:
    assert read_mark(b"ours", 3, text) is None


def test_what_a_person_wrote_is_read() -> None:
    body = body_of(messages=[inbound("wamid.2", PHONE, "STOP")])
    (news,) = news_in(read_document(body)).inbound
    assert (news.phone, news.text) == (PHONE, "STOP")


def test_unknown_kinds_are_told_and_harm_nothing() -> None:
    good = status("wamid.1", PHONE, "read", "hantar:7:1")
    odd = status("wamid.1", PHONE, "in_orbit", "hantar:7:1")
    body = body_of(statuses=[odd, good])
    news = news_in(read_document(body))
    assert [item.status for item in news.statuses] == [Status.READ]
    [other] = news.others
    assert (other.kind, orjson.loads(other.text)) == ("status", odd)
    [other] = news_in(read_document(encode(notification(NUMBER, "flows", {"id": 7})))).others
    assert (other.kind, other.text) == ("flows", '{"id":7}')


@pytest.mark.parametrize("field", ["", "Über", "a" * 51, "a b", "a\n"])
def test_a_kind_without_a_sound_name_is_another(field: str) -> None:
    [other] = news_in(read_document(encode(notification(NUMBER, field, {})))).others
    assert other.kind == "other"


def test_of_a_long_part_only_the_beginning_is_kept() -> None:
    value = {"text": "é" * OTHER_LIMIT_BYTES}
    [other] = news_in(read_document(encode(notification(NUMBER, "history", value)))).others
    assert OTHER_LIMIT_BYTES - 4 <= len(other.text.encode()) <= OTHER_LIMIT_BYTES


@pytest.mark.parametrize("depth", [100, 300, 1000])
def test_no_depth_upsets_the_reader(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    names = ("id", "from", "type", "status", "timestamp", "errors", "text")
    item = "{" + ",".join(f'"{name}":{nested}' for name in names) + "}"
    reply = f'{{"id":"1","from":"60","timestamp":"1","type":"interactive","interactive":{item}}}'
    value = (
        f'{{"metadata":{{"phone_number_id":"1"}},"statuses":[{item}],"messages":[{item},{reply}]}}'
    )
    entry = f'{{"id":{nested},"time":{nested},"changes":[{{"field":"messages","value":{value}}}]}}'
    document = read_document(f'{{"object":"whatsapp_business_account","entry":[{entry}]}}'.encode())
    assert accounts_in(document) == set()
    news = news_in(document)
    assert [other.kind for other in news.others] == ["status", "message"]
    assert all((other.text == "") == (depth > 254) for other in news.others)


@given(JSON)
def test_no_shape_upsets_the_reader(value: object) -> None:
    document = {"object": "whatsapp_business_account", "entry": value}
    # A lone surrogate is in no JSON document.
    with suppress(orjson.JSONEncodeError):
        news_in(read_document(orjson.dumps(document)))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'{"object":"page"}', b"\xff"])
def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    with pytest.raises(NotReadable):
        read_document(body)


def test_only_the_raw_bytes_carry_the_signature() -> None:
    body = body_of(messages=[inbound("wamid.2", PHONE, "a/b")])
    signature = sign(body, "s")
    assert signed_by(body, signature, ["other", "s"])
    assert not signed_by(orjson.dumps(orjson.loads(body)), signature, ["s"])
    assert not signed_by(body, signature, ["other"])
    assert not signed_by(body, signature, [])


GOOD = sign(b"{}", "s")


@pytest.mark.row("5.6-94")
@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        GOOD.upper(),
        GOOD.replace("sha256=", "sha1="),
        GOOD.removeprefix("sha256="),
        GOOD[:-1],
        GOOD + "0",
        "\u00e9" + GOOD,
        "\udcff" + GOOD,
    ],
)
def test_a_signature_of_another_form_is_refused(signature: str | None) -> None:
    assert signed_by(b"{}", GOOD, ["s"])
    assert not signed_by(b"{}", signature, ["s"])
