"""Campaigns: taken in whole, paid for whole, and brought from one status to another."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import msgspec

from schemas import campaigns as schema
from schemas import templates
from schemas.campaigns import Audience, CampaignBody, Preview
from schemas.commands import CAMPAIGN_TYPE
from schemas.problems import Problem, invalid
from schemas.shapes import Row
from service import audience
from service.admission import choose_device, too_few_credits
from service.audience import Text
from service.core.estimate import finish
from service.core.text import body_error, name_error
from service.core.times import rfc3339
from service.drafts import NAME_LIMIT_CHARS, PRIORITIES, check_times, read_content, utc_now
from service.once import Answer, Idempotency, Once, Tell
from service.store import accept, groups, record
from service.store import campaigns as store
from service.store import templates as template_store
from service.store.accept import Device
from service.store.campaigns import Named, NewCampaign, Recipient
from service.store.outbox import Entry
from service.store.pool import Connection
from service.telemetry import metrics, tracing

#: What may become of a campaign, by its status: the status after it. What is there already stays.
_MOVES = {
    "pause": {"scheduled": "paused", "dispatching": "paused", "paused": "paused"},
    "resume": {"paused": "dispatching", "scheduled": "scheduled", "dispatching": "dispatching"},
    "cancel": {
        "scheduled": "cancelled",
        "dispatching": "cancelled",
        "paused": "cancelled",
        "cancelled": "cancelled",
    },
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with everything the database had to say, but for the contacts it names."""

    request: Audience
    device: Device
    body: str
    text: Text
    template_id: int | None
    #: the template resource, as JSON
    template: str | None
    named: Named
    recipients: list[Recipient]


class Campaigns:
    """Takes campaigns in: one transaction each, in which the account row is locked last."""

    def __init__(self, once: Once, *, door: str) -> None:
        self._once = once
        self._door = door

    async def create(
        self,
        account_id: int,
        request: CampaignBody,
        key: Idempotency | None,
        tell_also: Tell | None = None,
    ) -> Answer:
        """A campaign with all its recipients noted and paid for; the answer holds it."""
        now = utc_now()

        async def work(connection: Connection) -> Answer:
            plan = await _plan(connection, account_id, request, now)
            campaign_id = await store.create(connection, account_id, _new(plan, now))
            found = Counter(
                await store.put_contacts(
                    connection, account_id, campaign_id, plan.named, plan.text.needs
                )
            )
            await store.put_recipients(connection, campaign_id, plan.recipients)
            found.update(each.reason for each in plan.recipients)
            fit = found[None]
            if not fit:
                raise _no_recipients()
            await store.counted(connection, campaign_id, fit=fit, unfit=found.total() - fit)
            entry = await tell(connection, campaign_id, now)
            row = await store.one(connection, account_id, campaign_id)
            assert row is not None, "a row just written is there"
            reserved = await accept.reserve(connection, account_id, fit, campaign_id=campaign_id)
            if reserved is None:
                raise too_few_credits(fit)
            return Answer(201, _encoded(row, now), [entry], accepted=fit)

        answer = await self._once.run(account_id, key, work, tell_also)
        metrics.ACCEPTED.labels(self._door).inc(answer.accepted)
        return answer

    async def move(
        self, account_id: int, campaign_id: int, move: str, key: Idempotency | None
    ) -> Answer:
        """Pause, resume or cancel; raises the Problem of 404, or of 409 where that cannot be.

        Once `pause` and `cancel` are committed no message of the campaign is claimed any more.
        """
        now = utc_now()

        async def work(connection: Connection) -> Answer:
            held = await store.hold(connection, account_id, campaign_id)
            if held is None:
                raise Problem(404, "not_found", "There is no such campaign.")
            status = _MOVES[move].get(held["status"])
            if status is None:
                raise Problem(409, "invalid_state", f"The campaign is {held['status']} already.")
            if status == "dispatching" and held["started_at"] is None:
                status = "scheduled"
            entries = []
            if status != held["status"]:
                await store.set_status(connection, campaign_id, status)
                entries.append(await tell(connection, campaign_id, now))
            row = await store.one(connection, account_id, campaign_id)
            return Answer(200, _encoded(row, now), entries)

        return await self._once.run(account_id, key, work)


async def preview(connection: Connection, account_id: int, request: Audience) -> Preview:
    """What a campaign would do now; nothing is written."""
    now = utc_now()
    plan = await _plan(connection, account_id, request, now)
    found = Counter(await store.count_contacts(connection, account_id, plan.named))
    found.update(each.reason for each in plan.recipients)
    fit = found.pop(None, 0)
    start = max(now, request.send_at or now)
    limits = await store.device_limits(connection, plan.device.id)
    finishes_at = finish(start, fit, limits)
    return Preview(
        recipients=fit,
        skipped={str(reason): count for reason, count in sorted(found.items(), key=str)},
        cost=fit,
        balance=await accept.balance(connection, account_id),
        duration_seconds=round((finishes_at - start).total_seconds()),
        finishes_at=rfc3339(finishes_at),
    )


async def tell(connection: Connection, campaign_id: int, now: datetime) -> Entry:
    """Put the event of a campaign's new status into the outbox."""
    row = await store.told(connection, campaign_id)
    routing_key = f"campaign.{row['status']}"
    body = msgspec.json.encode(schema.campaign_event(row, now))
    return await record.put_event(
        connection,
        routing_key=routing_key,
        event_type=CAMPAIGN_TYPE,
        body=body,
        traceparent=row["traceparent"],
    )


def resource(row: Row, now: datetime) -> schema.Campaign:
    """The campaign resource, with its estimate while it goes on."""
    waiting = schema.counts_of(row).waiting
    goes_on = row["status"] in ("scheduled", "dispatching") and row["device_open"]
    eta = None
    if waiting and goes_on:
        eta = finish(max(now, row["send_at"] or now), waiting, store.limits_of(row))
    return schema.campaign(row, eta)


def _encoded(row: Row | None, now: datetime) -> bytes:
    assert row is not None, "it is held"
    return msgspec.json.encode({"data": resource(row, now)})


async def _plan(connection: Connection, account_id: int, request: Audience, now: datetime) -> Plan:
    for field in ("name", "reference"):
        value: str | None = getattr(request, field)
        if value is not None and (error := name_error(value, NAME_LIMIT_CHARS)):
            raise invalid(field, error)
    check_times(request.send_at, request.expires_at, now)
    body, row = await _said(connection, account_id, request)
    content = read_content(body) if row is None else templates.content_of(row)
    text = Text(content, request.missing_variables == "skip")
    template = None if row is None else msgspec.json.encode(templates.template(row)).decode()
    device = choose_device(await accept.devices(connection, account_id), request.device)
    contact_ids = await _own_contacts(connection, account_id, request)
    named = Named(request.contact_group_id, contact_ids, text.required)
    recipients = await asyncio.to_thread(audience.read, request.recipients or [])
    phones = [each.phone for each in recipients if each.reason is None]
    known = await accept.contacts(connection, account_id, phones) if phones else {}
    ids = {contact.id for contact in known.values()}
    members = await store.members(connection, request.contact_group_id, ids) if ids else set()
    recipients = audience.join(recipients, known, members | ids.intersection(contact_ids), text)
    template_id = None if row is None else row["id"]
    return Plan(request, device, body, text, template_id, template, named, recipients)


async def _said(
    connection: Connection, account_id: int, request: Audience
) -> tuple[str, Row | None]:
    """The text, and the template it comes from; a template must be active."""
    given = {request.message_template_id, request.template_id} - {None}
    field = "template_id" if request.message_template_id is None else "message_template_id"
    if not given:
        if request.body is None:
            raise invalid("body", "Give a body or a message_template_id.")
        if error := body_error(request.body):
            raise invalid("body", error)
        return request.body, None
    if request.body is not None:
        raise invalid("body", f"Give either body or {field}, not both.")
    if len(given) > 1:
        raise invalid("template_id", "Means the same as message_template_id: give one.")
    template_id = given.pop()
    assert template_id is not None, "None was taken out"
    row = await template_store.one(connection, account_id, template_id)
    if row is None or not row["is_active"]:
        raise invalid(field, "There is no such active template.")
    return row["body"], row


async def _own_contacts(connection: Connection, account_id: int, request: Audience) -> list[int]:
    """The ids that are named, once each; one that is unknown or another account's is 422."""
    contact_ids = list(dict.fromkeys(request.contact_ids or []))
    if contact_ids:
        known = await groups.known(connection, account_id, contact_ids)
        for index, contact_id in enumerate(request.contact_ids or []):
            if contact_id not in known:
                raise invalid(f"contact_ids.{index}", f"There is no contact {contact_id}.")
    group_id = request.contact_group_id
    if group_id is not None and not await groups.hold(connection, account_id, group_id):
        raise invalid("contact_group_id", "There is no such contact group.")
    return contact_ids


def _new(plan: Plan, now: datetime) -> NewCampaign:
    request = plan.request
    later = request.send_at is not None and request.send_at > now
    return NewCampaign(
        name=request.name or "",
        body=plan.body,
        template_id=plan.template_id,
        template=plan.template,
        device_id=plan.device.id,
        priority=PRIORITIES[request.priority or "low"],
        delivery=request.delivery or "at_most_once",
        skip_missing=plan.text.skip_missing,
        reference=request.reference,
        status="scheduled" if later else "dispatching",
        send_at=request.send_at,
        expires_at=request.expires_at,
        traceparent=tracing.current(),
    )


def _no_recipients() -> Problem:
    detail = "Nobody is left to send to."
    fields = ("contact_group_id", "contact_ids", "recipients")
    return Problem(422, "no_recipients", detail, errors={field: [detail] for field in fields})
