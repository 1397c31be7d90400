"""From a message to the body of a request, as Meta's reference of the messages endpoint has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from drivers.driver import Send
from drivers.meta.errors import OUTSIDE_WINDOW

_GAP = re.compile(r"\s*[\r\n\t]\s*| {5,}")


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a message is sent: its approved template, its words or media, or nothing."""

    template: Mapping[str, Any] | None = None
    #: the code for which Meta would refuse it
    refused: int | None = None

    @property
    def named(self) -> tuple[str, str] | None:
        """The name and language of the template."""
        return (self.template["name"], self.template["language"]) if self.template else None


def choose(send: Send, window_open: bool | None) -> Choice:
    """What of the message goes to this person now.

    `options` of a message may hold `media`, and `meta`, the approved template of the same words. It
    goes instead of them unless the window is open, and always when it is no mere fallback. Where
    nobody knows of the window (None), Meta is left to judge words that have no template.
    """
    template = (send.options or {}).get("meta")
    if template and not (window_open and template["fallback"]):
        return Choice(template)
    return Choice(refused=OUTSIDE_WINDOW if window_open is False else None)


def payload(send: Send, mark: str, choice: Choice) -> bytes:
    """The request that sends what was chosen of this message."""
    document: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": send.phone,
        "biz_opaque_callback_data": mark,
    }
    if choice.template is not None:
        document |= {"type": "template", "template": _template(choice.template)}
    elif media := (send.options or {}).get("media"):
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
