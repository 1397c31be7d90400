"""From a message to the body of a request, as Meta's reference of the messages endpoint has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from drivers.driver import Send

_GAP = re.compile(r"\s*[\r\n\t]\s*| {5,}")


class OutsideWindow(Exception):
    """Only an approved template may be sent to this person now, and the message names none."""


def payload(send: Send, mark: str, *, window_open: bool | None) -> bytes:
    """The request that sends this message; raises OutsideWindow.

    `options` of a message may hold `media`, and `meta`, the approved template of the same words. It
    goes instead of them unless the window is open, and always when it is no mere fallback. Where
    nobody knows of the window (None), Meta is left to judge words that have no template.
    """
    options = send.options or {}
    template = options.get("meta")
    document: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": send.phone,
        "biz_opaque_callback_data": mark,
    }
    if template and not (window_open and template["fallback"]):
        document |= {"type": "template", "template": _template(template)}
    elif window_open is False:
        raise OutsideWindow
    elif media := options.get("media"):
        document |= {"type": media["type"], media["type"]: _media(media, send.body)}
    else:
        # A link is shown with a preview, as the app itself does.
        preview = "https://" in send.body or "http://" in send.body
        document |= {"type": "text", "text": {"body": send.body, "preview_url": preview}}
    return orjson.dumps(document)


def _template(template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": template["name"],
        "language": {"code": template["language"]},
        "components": _in_one_line(template.get("components") or []),
    }


def _in_one_line(value: Any) -> Any:
    """The same without line breaks, tabs and wide gaps, which Meta takes in no value (132018)."""
    if isinstance(value, str):
        return _GAP.sub(" ", value)
    if isinstance(value, Mapping):
        return {name: _in_one_line(part) for name, part in value.items()}
    return [_in_one_line(part) for part in value] if isinstance(value, list) else value


def _media(media: Mapping[str, Any], body: str) -> dict[str, Any]:
    found = {"link": media["url"]}
    if media["type"] != "audio" and (words := media.get("caption") or body):
        found["caption"] = words
    if media["type"] == "document" and media.get("filename"):
        found["filename"] = media["filename"]
    return found
