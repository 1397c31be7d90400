"""Who a campaign is for: the contacts it names, and the recipients it brings with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from schemas import campaigns as schema
from schemas.problems import invalid
from service.core.content import Content, Filled
from service.core.phone import normalise
from service.core.text import attributes_error, name_error, storable
from service.drafts import NAME_LIMIT_CHARS
from service.store.accept import Contact
from service.store.campaigns import Needs, Recipient

#: The text given for a phone is shown up to here.
_SHOWN_CHARS = 255
_FIELDS = frozenset({"name", "external_id", "phone"})


@dataclass(frozen=True, slots=True)
class Text:
    """What a campaign says; with `skip_missing` only to those for whom no value is missing."""

    content: Content
    skip_missing: bool

    @property
    def required(self) -> list[str]:
        """The names that must have a value."""
        if not self.skip_missing:
            return []
        return sorted({each.name for each in self.content.placeholders if each.fallback is None})

    @property
    def needs(self) -> Needs:
        """What has to be known of a recipient."""
        names = set(self.content.variables)
        return Needs("name" in names, "external_id" in names, bool(names - _FIELDS))

    def fill(self, recipient: Recipient) -> tuple[Filled, bool]:
        """What this recipient gets, and whether it is one that is passed over."""
        known: Mapping[str, object] = orjson.loads(recipient.attributes or "{}")
        filled = self.content.fill(
            {
                **known,
                "name": recipient.name,
                "external_id": recipient.external_id,
                "phone": recipient.phone,
            }
        )
        return filled, self.skip_missing and bool(filled.missing)


def read(recipients: Sequence[schema.Recipient]) -> list[Recipient]:
    """Those of a request, with a reason where one cannot be sent to; raises a 422 Problem.

    Off the event loop: what is no common spelling of a phone takes tens of µs.
    """
    seen: set[str] = set()
    return [_read(index, recipient, seen) for index, recipient in enumerate(recipients)]


def _read(index: int, given: schema.Recipient, seen: set[str]) -> Recipient:
    for field in ("name", "external_id"):
        value: str | None = getattr(given, field)
        if value is not None and (error := name_error(value, NAME_LIMIT_CHARS)):
            raise invalid(f"recipients.{index}.{field}", error)
    if given.attributes and (error := attributes_error(given.attributes)):
        raise invalid(f"recipients.{index}.attributes", error)
    phone = normalise(given.phone)
    if phone is None:
        return Recipient(None, storable(given.phone, _SHOWN_CHARS), reason="invalid_phone")
    if phone in seen:
        return Recipient(None, phone, reason="duplicate")
    seen.add(phone)
    attributes = orjson.dumps(given.attributes).decode() if given.attributes else None
    return Recipient(None, phone, given.name, given.external_id, attributes)


def join(
    recipients: Iterable[Recipient],
    known: Mapping[str, Contact],
    named: set[int],
    text: Text,
) -> list[Recipient]:
    """The same with all that is known of them; a contact that is named already is a duplicate."""
    return [each if each.reason else _join(each, known, named, text) for each in recipients]


def _join(
    recipient: Recipient, known: Mapping[str, Contact], named: set[int], text: Text
) -> Recipient:
    contact = known.get(recipient.phone)
    if contact is not None:
        given = orjson.loads(recipient.attributes or "{}")
        recipient = replace(
            recipient,
            contact_id=contact.id,
            name=recipient.name or contact.name,
            external_id=recipient.external_id or contact.external_id,
            attributes=orjson.dumps(orjson.loads(contact.attributes) | given).decode(),
        )
        if contact.id in named:
            return replace(recipient, reason="duplicate")
        if contact.opted_out:
            return replace(recipient, reason="opted_out")
    _, passed_over = text.fill(recipient)
    return replace(recipient, reason="missing_variables") if passed_over else recipient
