"""From a request to drafts: everything about a message that can be checked without the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from schemas.api import Bulk, Scalar, Send, SendOptions
from schemas.decode import decode
from schemas.problems import Problem, invalid
from service.core.content import Content, ContentError, Filled
from service.core.phone import normalise
from service.core.text import attributes_error, body_error, name_error

NAME_LIMIT_CHARS = 255
#: `send_at` may lie so far back, for clocks that differ, and so far ahead.
PAST_LIMIT = timedelta(minutes=1)
AHEAD_LIMIT = timedelta(days=365)
#: No calendar of ours goes further, and in another zone a time can lie beyond it.
_LATEST = datetime.max.replace(tzinfo=UTC)

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
_item_decoder = msgspec.json.Decoder(Send)


@dataclass(frozen=True, slots=True)
class Draft:
    """One message that passed every check it can pass without the database."""

    index: int
    phone: str
    options: SendOptions
    priority: int
    #: what it says, filled where it is literal; None when a stored template says it
    content: Content | Filled | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that is refused, and why; `phone` as it was given, if it was a text."""

    index: int
    phone: str | None
    code: str
    detail: str
    field: str


def draft_send(request: Send, now: datetime) -> Draft:
    """The draft of a single send; raises the Problem of its first fault."""
    return _draft(0, request.phone, request, PRIORITIES["normal"], now)


def draft_bulk(request: Bulk, now: datetime) -> tuple[list[Draft], list[Rejected]]:
    """A draft for each sound item, a rejection for each other one, both in order."""
    drafts: list[Draft] = []
    rejected: list[Rejected] = []
    defaults = {name: value for name in _OPTIONS if (value := getattr(request, name)) is not None}
    for index, raw in enumerate(request.messages):
        phone = None
        try:
            item = decode(raw, _item_decoder)
            phone = item.phone
            for name, value in defaults.items():
                if getattr(item, name) is None and not _replaced(name, item):
                    setattr(item, name, value)
            drafts.append(_draft(index, item.phone, item, PRIORITIES["low"], now))
        except Problem as problem:
            field = next(iter(problem.errors or {"body": []}))
            if phone is None:
                phone = _phone_of(raw)
            rejected.append(Rejected(index, phone, problem.code, problem.detail, field))
    return drafts, rejected


_OPTIONS = SendOptions.__struct_fields__


def _replaced(name: str, item: Send) -> bool:
    """What a default says gives way to what the item says in another way."""
    captioned = item.media is not None and item.media.caption is not None
    other = {
        "body": captioned or item.template_id,
        "media": item.template_id,
        "template_id": item.body or item.media,
    }
    return bool(other.get(name))


def _phone_of(raw: msgspec.Raw) -> str | None:
    try:
        item = orjson.loads(bytes(raw))
    except orjson.JSONDecodeError:
        return None
    phone = item.get("phone") if isinstance(item, dict) else None
    return phone if isinstance(phone, str) else None


def _draft(index: int, raw_phone: str, options: SendOptions, priority: int, now: datetime) -> Draft:
    phone = normalise(raw_phone)
    if phone is None:
        raise invalid("phone", "The phone is not a Malaysian number.", code="invalid_phone")
    _check_texts(options)
    check_times(options.send_at, options.expires_at, now)
    if options.priority is not None:
        priority = PRIORITIES[options.priority]
    return Draft(index, phone, options, priority, _content(options))


def _check_texts(options: SendOptions) -> None:
    for field in ("name", "external_id", "reference"):
        value = getattr(options, field)
        if value is not None and (error := name_error(value, NAME_LIMIT_CHARS)):
            raise invalid(field, error)
    for field in ("attributes", "variables"):
        mapping: Mapping[str, Scalar] | None = getattr(options, field)
        if mapping and (error := attributes_error(mapping)):
            raise invalid(field, error)


def check_times(send_at: datetime | None, expires_at: datetime | None, now: datetime) -> None:
    """Raises the Problem of a time that lies where none may."""
    if send_at is not None and not now - PAST_LIMIT <= send_at <= now + AHEAD_LIMIT:
        raise invalid("send_at", "Must be at most a minute past and a year ahead.")
    if expires_at is not None and not max(now, send_at or now) < expires_at <= _LATEST:
        raise invalid("expires_at", "Must lie ahead, and after send_at.")


def _content(options: SendOptions) -> Content | Filled | None:
    """What is said is literal unless variables are given; a template is looked up later."""
    if options.template_id is not None:
        for field in ("body", "media"):
            if getattr(options, field) is not None:
                raise invalid(field, f"Give either {field} or template_id, not both.")
        return None
    if options.body is None and options.media is None:
        raise invalid("body", "Give a body, media or a template_id.")
    media = _media(options)
    field, words = "body", options.body
    if words is None:
        # Below media without words stands their caption, which the log then shows.
        field, words = "media.caption", (media or {}).pop("caption", "")
    elif media is not None and "caption" in media:
        raise invalid("media.caption", "Give the words as body or as caption, not as both.")
    if (words or options.body is not None) and (error := body_error(words)):
        raise invalid(field, error)
    if options.variables is None:
        filled = Filled(words, {"media": media} if media else None)
        return _checked(filled) if media else filled
    return read_content(words, media=media)


def _media(options: SendOptions) -> dict[str, Any] | None:
    if options.media is None:
        return None
    media = msgspec.to_builtins(options.media)
    return {name: value for name, value in media.items() if value is not None}


def read_content(
    body: str,
    *,
    media: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Content:
    """What a template says; raises a Problem where the braces are malformed."""
    try:
        return Content.parse(body, media=media, meta=meta)
    except ContentError as error:
        raise invalid(error.field, str(error)) from error


def fill(content: Content, phone: str, options: SendOptions, known: Mapping[str, object]) -> Filled:
    """What to send: the variables of the request win over what is known of the contact."""
    values: dict[str, object] = {**known, "phone": phone}
    given = {"name": options.name, "external_id": options.external_id}
    values |= {name: value for name, value in given.items() if value is not None}
    values |= {**(options.attributes or {}), **(options.variables or {})}
    return _checked(content.fill(values), "Rendered: ")


def _checked(filled: Filled, prefix: str = "") -> Filled:
    try:
        filled.check()
    except ContentError as error:
        raise invalid(error.field, f"{prefix}{error}") from error
    return filled


def wants_contact(options: SendOptions) -> bool:
    """Whether the send also creates or updates the contact."""
    if options.save_contact is not None:
        return options.save_contact
    return any(
        value is not None for value in (options.name, options.external_id, options.attributes)
    )


def utc_now() -> datetime:
    """The wall clock, for the checks above."""
    return datetime.now(UTC)
