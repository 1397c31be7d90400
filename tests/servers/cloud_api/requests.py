"""The strictness of the local Cloud API: what a request to send has to look like.

Source: Meta's reference of the messages endpoint (developers.facebook.com, WhatsApp Cloud API).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from tests.servers.cloud_api.script import Number

#: `name/1.2.3`, as Meta asks of clients.
USER_AGENT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/\d+(\.\d+)+([ ;(].*)?")
_GAP = re.compile(r"[\r\n\t]| {5}")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Caption = Annotated[str, msgspec.Meta(max_length=1024)]
_Parameter = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Refused(Exception):
    """An error answer: HTTP status, Meta's code, and the details."""

    def __init__(self, status: int, code: int, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.code = code
        self.details = details


class TextBody(msgspec.Struct, forbid_unknown_fields=True):
    """`text`."""

    body: _Text
    preview_url: bool = False


class Media(msgspec.Struct, forbid_unknown_fields=True):
    """`image`, `video`, `document` and `audio`: an uploaded id or a link, never both."""

    id: str | None = None
    link: str | None = None
    caption: _Caption | None = None
    filename: str | None = None


class Language(msgspec.Struct, forbid_unknown_fields=True):
    """`template.language`."""

    code: str
    policy: Literal["deterministic"] = "deterministic"


class Parameter(msgspec.Struct, forbid_unknown_fields=True):
    """One value of a template's component."""

    type: Literal["text", "image", "video", "document", "payload"]
    text: _Parameter | None = None
    parameter_name: str | None = None
    image: Media | None = None
    video: Media | None = None
    document: Media | None = None
    payload: str | None = None


class Component(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a template that has values."""

    type: Literal["header", "body", "button", "HEADER", "BODY", "BUTTON"]
    parameters: list[Parameter] = []
    sub_type: str | None = None
    index: str | int | None = None


class TemplateBody(msgspec.Struct, forbid_unknown_fields=True):
    """`template`."""

    name: str
    language: Language
    components: list[Component] = []


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """A request to `POST /{phone-number-id}/messages`."""

    messaging_product: Literal["whatsapp"]
    to: Annotated[str, msgspec.Meta(pattern=r"^\+?[0-9]{8,15}$")]
    type: Literal["text", "template", "image", "video", "document", "audio"] = "text"
    recipient_type: Literal["individual"] = "individual"
    text: TextBody | None = None
    template: TemplateBody | None = None
    image: Media | None = None
    video: Media | None = None
    document: Media | None = None
    audio: Media | None = None
    context: dict[str, Any] | None = None
    biz_opaque_callback_data: Annotated[str, msgspec.Meta(max_length=512)] | None = None

    @property
    def phone(self) -> str:
        """The recipient in E.164."""
        return "+" + self.to.removeprefix("+")


_decode = msgspec.json.Decoder(Message).decode


def check_caller(headers: Mapping[str, str], number: Number) -> None:
    """Raise Refused unless the caller may speak for the number, and names itself."""
    if headers.get("Authorization") != f"Bearer {number.access_token}":
        raise Refused(401, 190, "Error validating access token")
    if not USER_AGENT.fullmatch(headers.get("User-Agent", "")):
        raise Refused(422, 100, "User-Agent has to be of the form name/1.2.3")


def read_message(body: bytes, number: Number) -> Message:
    """The message; raises Refused with Meta's code for what is wrong with it."""
    try:
        message = _decode(body)
    except msgspec.ValidationError as error:
        raise Refused(400, 100, str(error)) from error
    except msgspec.DecodeError as error:
        raise Refused(400, 100, "the body is not JSON") from error
    content = getattr(message, message.type)
    if content is None:
        raise Refused(400, 131008, f"{message.type} is missing")
    if isinstance(content, Media) and (content.id is None) == (content.link is None):
        raise Refused(400, 131009, f"{message.type} needs either an id or a link")
    if isinstance(content, TemplateBody):
        _check_template(content, number)
    elif number.windows is not None and message.phone not in number.windows:
        raise Refused(400, 131047, "more than 24 hours have passed since the person replied")
    return message


def _check_template(template: TemplateBody, number: Number) -> None:
    expected = number.templates.get((template.name, template.language.code))
    if expected is None:
        raise Refused(404, 132001, "template name does not exist in the translation")
    given = sum(len(part.parameters) for part in template.components if part.type.lower() == "body")
    values = [value.text or "" for part in template.components for value in part.parameters]
    if any(_GAP.search(text) for text in values):
        raise Refused(400, 132018, "a value has a line break, a tab or more than 4 spaces in a row")
    if given != expected:
        raise Refused(400, 132000, f"body: number of parameters {given} is not {expected}")
