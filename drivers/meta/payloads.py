"""From a message to the body of a request, as Meta's reference of the messages endpoint has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from drivers.driver import Send


def payload(send: Send, mark: str) -> bytes:
    """The request that sends this message; `options` say when it is a template or media."""
    options = send.options or {}
    document: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": send.phone,
        "biz_opaque_callback_data": mark,
    }
    if template := options.get("meta"):
        document |= {"type": "template", "template": _template(template)}
    elif media := options.get("media"):
        document |= {"type": media["type"], media["type"]: _media(media, send.body)}
    else:
        text = {"body": send.body, "preview_url": bool(options.get("preview_url"))}
        document |= {"type": "text", "text": text}
    return orjson.dumps(document)


def _template(template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": template["name"],
        "language": {"code": template["language"]},
        "components": template.get("components") or [],
    }


def _media(media: Mapping[str, Any], body: str) -> dict[str, Any]:
    found = {"id": media["id"]} if media.get("id") else {"link": media["url"]}
    caption = media.get("caption") or body
    if caption and media["type"] != "audio":
        found["caption"] = caption
    if media["type"] == "document" and media.get("filename"):
        found["filename"] = media["filename"]
    return found
