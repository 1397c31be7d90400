"""The halves of an accept that need the database: its word on the drafts, and the writing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import orjson

from schemas.commands import DISPATCH_PACK, DISPATCH_TYPE, Dispatch
from schemas.decode import BODY
from schemas.problems import Problem, invalid
from schemas.shapes import Row
from schemas.templates import content_of
from service import failpoints
from service.bus.topology import DISPATCH, dispatch_queue
from service.core.content import Content, ContentError, Filled
from service.drafts import Draft, Rejected, fill, utc_now, wants_contact
from service.store import accept as store
from service.store.accept import Contact, ContactFields, Device, NewMessage, Shared
from service.store.outbox import Entry
from service.store.pool import Connection
from service.telemetry import tracing


@dataclass(frozen=True, slots=True)
class Ready:
    """A draft with everything the database had to say."""

    draft: Draft
    device: Device
    filled: Filled
    #: media and approved template as JSON
    options: str | None
    contact_id: int | None


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction wrote: messages in the order of the drafts, commands, what is left."""

    ids: list[int]
    statuses: list[str]
    balance: int
    entries: list[Entry]


async def resolve(
    connection: Connection, account_id: int, drafts: Sequence[Draft]
) -> tuple[list[Ready], list[Rejected]]:
    """What the database says of the drafts: device, contact, opt-out, template, duplicates."""
    devices = await store.devices(connection, account_id)
    phones = list({draft.phone for draft in drafts})
    contacts = await store.contacts(connection, account_id, phones)
    wanted = {id_ for draft in drafts if (id_ := draft.options.template_id) is not None}
    rows = await store.templates(connection, account_id, list(wanted)) if wanted else {}
    templates = {id_: _content_of(row) for id_, row in rows.items()}
    ready: list[Ready] = []
    rejected: list[Rejected] = []
    seen: set[tuple[str, str, str | None]] = set()
    for draft in drafts:
        try:
            contact = contacts.get(draft.phone)
            device = choose_device(devices, draft.options.device)
            filled = _filled(draft, contact, templates)
            options = orjson.dumps(filled.options).decode() if filled.options else None
            said = draft.phone, filled.body, options
            if contact is not None and contact.opted_out:
                raise invalid("phone", "The recipient has opted out.", code="opted_out")
            if said in seen:
                raise invalid("phone", "The same phone and body stand above.", code="duplicate")
        except Problem as problem:
            field = next(iter(problem.errors or {BODY: []}))
            rejected.append(Rejected(draft.index, draft.phone, problem.code, problem.detail, field))
        else:
            seen.add(said)
            ready.append(Ready(draft, device, filled, options, contact.id if contact else None))
    return ready, rejected


def choose_device(devices: Sequence[Device], wanted: int | None) -> Device:
    """The device asked for, or the default: flagged, else the only one, else the first ready."""
    if wanted is not None:
        for device in devices:
            if device.id == wanted:
                return device
        raise invalid("device", "There is no such device.")
    for device in devices:
        if device.is_default:
            return device
    if len(devices) == 1:
        return devices[0]
    for device in devices:
        if device.ready:
            return device
    raise invalid("device", "The account has no device to send through.", code="no_device")


def _content_of(row: Row) -> Content | ContentError:
    """What a stored template says, read once for all its messages; or why it cannot be read."""
    try:
        return content_of(row)
    except ContentError as error:
        return error


def _filled(
    draft: Draft, contact: Contact | None, templates: Mapping[int, Content | ContentError]
) -> Filled:
    content = draft.content
    if isinstance(content, Filled):
        return content
    if content is None:
        stored = templates.get(draft.options.template_id or 0)
        if stored is None:
            raise invalid("template_id", "There is no such active template.")
        if isinstance(stored, ContentError):
            raise invalid("template_id", f"The template cannot be read: {stored}")
        content = stored
    known: dict[str, object] = {}
    if contact is not None:
        known = {**orjson.loads(contact.attributes)}
        known |= {"name": contact.name, "external_id": contact.external_id}
    return fill(content, draft.phone, draft.options, known)


async def write(connection: Connection, account_id: int, ready: Sequence[Ready]) -> Written:
    """Rows, commands and reservation; raises the 402 Problem, and then wrote nothing."""
    count = len(ready)
    # A quick refusal without a lock, so that a poor account costs no work.
    if await store.balance(connection, account_id) < count:
        raise too_few_credits(count)
    contact_ids = await _save_contacts(connection, account_id, ready)
    ids: list[int] = [0] * count
    statuses = [""] * count
    commands: list[tuple[str, bytes]] = []
    for shared, places in _groups(ready).items():
        messages = [_new_message(ready[place], contact_ids) for place in places]
        made = await store.insert_messages(connection, account_id, shared, messages)
        failpoints.hit("accept.inserted")
        for place, message_id in zip(places, made, strict=True):
            ids[place] = message_id
            statuses[place] = shared.status
        if shared.status == "scheduled":
            await store.park_scheduled(connection, made, shared)
        else:
            commands += dispatch_commands(ready[places[0]].device.shard, shared, made)
    reserved = await store.reserve(
        connection,
        account_id,
        count,
        message_id=ids[0] if count == 1 else None,
        exchange=DISPATCH,
        command_type=DISPATCH_TYPE,
        commands=commands,
        traceparent=tracing.current(),
    )
    if reserved is None:
        raise too_few_credits(count)
    failpoints.hit("accept.reserved")
    return Written(ids, statuses, reserved.balance, reserved.entries)


def _groups(ready: Sequence[Ready]) -> dict[Shared, list[int]]:
    """The places of the messages that can share an insert; one group for most bulks."""
    now = utc_now()
    groups: dict[Shared, list[int]] = defaultdict(list)
    for place, item in enumerate(ready):
        options = item.draft.options
        later = options.send_at is not None and options.send_at > now
        shared = Shared(
            item.device.id,
            options.template_id,
            "scheduled" if later else "queued",
            item.draft.priority,
            options.delivery or "at_most_once",
            options.send_at,
            options.expires_at,
            traceparent=tracing.current(),
        )
        groups[shared].append(place)
    return groups


async def _save_contacts(
    connection: Connection, account_id: int, ready: Sequence[Ready]
) -> dict[str, int]:
    fields: dict[str, ContactFields] = {}
    for item in ready:
        options = item.draft.options
        if wants_contact(options):
            attributes = options.attributes
            fields[item.draft.phone] = ContactFields(
                item.draft.phone,
                options.name,
                options.external_id,
                orjson.dumps(attributes).decode() if attributes is not None else None,
            )
    if not fields:
        return {}
    return await store.upsert_contacts(connection, account_id, list(fields.values()))


def _new_message(item: Ready, contact_ids: dict[str, int]) -> NewMessage:
    phone = item.draft.phone
    return NewMessage(
        phone,
        item.filled.body,
        item.draft.options.reference,
        contact_ids.get(phone, item.contact_id),
        item.options,
    )


def dispatch_commands(shard: int, shared: Shared, ids: Sequence[int]) -> list[tuple[str, bytes]]:
    """The commands that send these messages: routing key and body of each."""
    routing_key = dispatch_queue(shard, express=shared.priority < 2)
    flow = shared.campaign_id or 0
    packs = [
        list(ids[start : start + DISPATCH_PACK]) for start in range(0, len(ids), DISPATCH_PACK)
    ]
    return [
        (
            routing_key,
            msgspec.json.encode(Dispatch(shared.device_id, shared.priority, pack, flow)),
        )
        for pack in packs
    ]


def too_few_credits(needed: int) -> Problem:
    """The 402 Problem."""
    return Problem(402, "insufficient_credits", f"The account lacks credits for {needed} messages.")
