"""Examples of answers: what a fresh installation says to the examples of requests."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, get_args, get_origin

import msgspec

from schemas.accounts import Account, Key, Me, NewAccount, NewKey, Verification
from schemas.campaigns import Campaign, CampaignCredits, Counts, Preview
from schemas.contacts import Contact, ContactGroup, Import, MembersChanged
from schemas.credits import Credits, LedgerEntry
from schemas.devices import Connection, Device, DeviceLimits, LinkedDevice, LoginCode
from schemas.inbound import InboundMessage
from schemas.problems import CODES, ProblemDocument
from schemas.resources import BulkAnswer, Charged, Message, Queued
from schemas.shapes import Many, One
from schemas.templates import Template
from schemas.webhooks import Delivery, Endpoint, Replayed

_ADDRESS = "http://127.0.0.1:8080"
_AT = "2026-11-25T08:00:00.000Z"
_LATER = "2026-11-25T08:00:01.000Z"

_EXAMPLES: tuple[msgspec.Struct, ...] = (
    Message(
        id=1,
        status="queued",
        phone="+60123456789",
        body="Hello from Hantar!",
        contact_id=None,
        campaign_id=None,
        template_id=None,
        device_id=1,
        driver="simulator",
        priority="normal",
        reference=None,
        provider_id=None,
        attempts=0,
        credit="reserved",
        error=None,
        waiting=None,
        send_at=None,
        expires_at=None,
        created_at=_AT,
        queued_at=_AT,
        sent_at=None,
        delivered_at=None,
        read_at=None,
        failed_at=None,
    ),
    BulkAnswer(
        queued=[
            Queued(index=0, id=2, phone="+60123456789", status="queued"),
            Queued(index=1, id=3, phone="+60123456780", status="queued"),
        ],
        rejected=[],
        credits=Charged(charged=2, balance=9997),
    ),
    Contact(
        id=1,
        phone="+60123456789",
        name="Aminah",
        external_id="crm-17",
        attributes={"city": "Ipoh"},
        opted_out=False,
        opted_out_at=None,
        created_at=_AT,
        updated_at=_AT,
    ),
    ContactGroup(
        id=1,
        name="Customers in Ipoh",
        description=None,
        contacts=0,
        created_at=_AT,
        updated_at=_AT,
    ),
    MembersChanged(group_id=1, changed=2, contacts=2),
    Import(
        id=1,
        state="queued",
        error=None,
        group_id=None,
        rows=2,
        done=0,
        created=0,
        updated=0,
        rejected=0,
        created_at=_AT,
        completed_at=None,
    ),
    Template(
        id=1,
        name="Welcome",
        slug="welcome",
        body="Hello {{name|there}}, welcome to {{city|our shop}}!",
        variables=["name", "city"],
        is_active=True,
        media=None,
        meta=None,
        created_at=_AT,
        updated_at=_AT,
    ),
    Device(
        id=1,
        name="Simulated phone 1",
        driver="simulator",
        phone=None,
        state="ready",
        is_default=False,
        limits=DeviceLimits(
            per_second=50.0,
            per_minute=None,
            per_hour=None,
            per_day=None,
            pair_seconds=None,
            new_recipients_per_day=None,
            jitter_seconds=None,
            warm_up_days=None,
        ),
        quiet_hours=None,
        settings={},
        secrets=[],
        created_at=_AT,
        updated_at=_AT,
    ),
    Connection(
        driver="simulator",
        devices=[
            LinkedDevice(
                id=1,
                name="Simulated phone 1",
                phone=None,
                state="ready",
                since=_AT,
                is_default=False,
            )
        ],
    ),
    LoginCode(
        device=1,
        qr="data:image/png;base64,iVBORw0KGgo=",
        expires_at=_LATER,
        page="https://hantar.example.com/link/1/AAAAAGlqb2sxMjM0NTY3ODkwMTIzNDU2",
    ),
    Campaign(
        id=1,
        name="June promo",
        status="dispatching",
        body="Salam {{name|there}}, here is your offer!",
        template=None,
        device_id=2,
        priority="low",
        counts=Counts(total=2, queued=2),
        progress=0.0,
        eta=_LATER,
        credits=CampaignCredits(reserved=2, settled=0, released=0),
        send_at=None,
        expires_at=None,
        reference=None,
        created_at=_AT,
        started_at=_AT,
        completed_at=None,
    ),
    Preview(
        recipients=2,
        skipped={},
        cost=2,
        balance=9997,
        duration_seconds=1,
        finishes_at=_LATER,
    ),
    Credits(balance=9997, reserved=0),
    InboundMessage(
        id=1,
        device_id=1,
        phone="+60123456789",
        kind="text",
        text="Terima kasih!",
        provider_id="wamid.1",
        at=_AT,
        created_at=_AT,
    ),
    LedgerEntry(
        id=1,
        type="grant",
        amount=10_000,
        count=1,
        message_id=None,
        campaign_id=None,
        note="demo",
        balance_after=10_000,
        created_at=_AT,
    ),
    Me(
        Account(1, "Demo", "demo@example.com", email_verified=True, balance=9997),
        Key(1, "demo", expires_at=None, last_used_at=_AT),
    ),
    NewAccount(
        Account(2, "Kedai Contoh", "owner@example.com", email_verified=False, balance=0),
        NewKey(2, "first", expires_at=None, last_used_at=None, key="hantar_live_…"),
    ),
    Verification(email_verified=True, detail="The e-mail address is verified."),
    Endpoint(
        id=1,
        url="https://example.com/hooks/hantar",
        events=["message.*"],
        description=None,
        is_active=True,
        disabled_reason=None,
        failing_since=None,
        created_at=_AT,
        updated_at=_AT,
    ),
    Delivery(
        id=1,
        event_id="evt_1",
        type="message.delivered",
        state="delivered",
        attempts=1,
        due_at=None,
        last_at=_LATER,
        last_status=204,
        last_error=None,
        created_at=_AT,
    ),
    Replayed(replayed=12, more=False),
)
_BY_TYPE: dict[Any, Any] = {type(each): msgspec.to_builtins(each) for each in _EXAMPLES}


def answer_example(kind: Any, path: str) -> Any:
    """An answer of this type at this path; None where there is none."""
    item = _BY_TYPE.get(get_args(kind)[0] if get_args(kind) else kind)
    if item is None:
        return None
    if get_origin(kind) is One:
        return {"data": item}
    if get_origin(kind) is not Many:
        return item
    address = _ADDRESS + path.replace("{id}", "1")
    only = f"{address}?page=1"
    return {
        "data": [item],
        "links": {"first": only, "last": only, "prev": None, "next": None},
        "meta": {
            "path": address,
            "per_page": 25,
            "next_cursor": None,
            "current_page": 1,
            "from": 1,
            "to": 1,
            "last_page": 1,
            "total": 1,
        },
    }


def problem_example(code: str) -> dict[str, Any]:
    """A problem with this code."""
    status = HTTPStatus(CODES[code])
    detail = f"{status.description or status.phrase}."
    document = ProblemDocument(
        kind=f"urn:hantar:problem:{code}",
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        request_id="0f3a6b1c9d2e4f58a7b6c5d4e3f2a1b0",
        message=detail,
    )
    found: dict[str, Any] = msgspec.to_builtins(document)
    return found
