"""Signed webhooks of the local Cloud API, in Meta's shapes."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tests.servers.cloud_api.script import Number


def sign(body: bytes, app_secret: str) -> str:
    """The value of X-Hub-Signature-256 over these very bytes."""
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def notification(number: Number, field: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A webhook of one change of the account."""
    change = {"field": field, "value": value}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": number.business_account_id, "changes": [change]}],
    }


def messages_value(number: Number, **parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The value of a `messages` change: `statuses`, or `messages` with their `contacts`."""
    return {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": number.display_phone_number,
            "phone_number_id": number.phone_number_id,
        },
        **parts,
    }


def contact(phone: str) -> dict[str, Any]:
    """The person at the other end; `user_id` is Meta's own name for them within the business."""
    wa_id = phone.removeprefix("+")
    return {"wa_id": wa_id, "user_id": f"MY.{wa_id}", "profile": {"name": "Somebody"}}


def status(
    wamid: str, phone: str, state: str, opaque: str | None, failure: int | None = None
) -> dict[str, Any]:
    """One status of a message, with what the caller asked to be told back."""
    found: dict[str, Any] = {
        "id": wamid,
        "status": state,
        "timestamp": str(int(time.time())),
        "recipient_id": phone.removeprefix("+"),
    }
    if opaque is not None:
        found["biz_opaque_callback_data"] = opaque
    if failure is not None:
        found["errors"] = [error_document(failure, "said later")["error"] | {"title": "failed"}]
    return found


def inbound(wamid: str, phone: str, text: str) -> dict[str, Any]:
    """A text that a person wrote."""
    return {
        "from": phone.removeprefix("+"),
        "id": wamid,
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": text},
    }


def error_document(code: int, details: str) -> dict[str, Any]:
    """The body of an error answer."""
    return {
        "error": {
            "message": f"(#{code}) {details}",
            "type": "OAuthException",
            "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": details},
            "fbtrace_id": "local",
        }
    }


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes that travel, as Meta escapes them: every slash is preceded by a backslash."""
    return orjson.dumps(document).replace(b"/", b"\\/")
