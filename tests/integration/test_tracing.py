"""One trace, from a request or command to who hears of its messages."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.core.traceparent import read, trace_id
from service.store.pool import Pool
from tests.integration.test_webhooks import listen
from tests.integration.upstream.conftest import allow, broker, upstream
from tests.integration.upstream.foreign import Foreign, Heard
from tests.servers.webhook_receiver import Receiver
from tests.system import Account, Hantar, eventually, run_app

__all__ = ["broker", "upstream"]


def traceparent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


@pytest.fixture
async def hantar(dsn: str, pool: Pool, broker: str) -> AsyncIterator[Hantar]:
    servers: dict[str, object] = {"database_url": dsn, "amqp_url": broker}
    running = asynccontextmanager(run_app)
    async with running(dsn, pool, webhook_allow="127.0.0.0/8", **servers) as made:
        yield made


async def send(hantar: Hantar, account: Account, trace: str | None, **more: Any) -> int:
    headers = {} if trace is None else {"traceparent": trace}
    body = {"phone": "0123456789", "body": "Hi", **more}
    answer = await hantar.post("/messages/send", account, body, headers=headers)
    assert answer.status == 202, answer.json
    message_id: int = answer.json["data"]["id"]
    return message_id


async def told(upstream: Foreign, message_id: int, status: str) -> tuple[Heard, Any]:
    """The AMQP message and, in it, the event of this change."""

    async def look() -> Any:
        for heard in upstream.heard:
            for event in heard.json.get("events", ()):
                if (event["message_id"], event["status"]) == (message_id, status):
                    return heard, event
        return None

    found: tuple[Heard, Any] = await upstream.until(look)
    return found


async def test_from_a_command_to_its_answer_and_events(hantar: Hantar, upstream: Foreign) -> None:
    account = await hantar.account()
    await allow(hantar.pool, account)
    trace = traceparent()
    body = {"account": account.id, "phone": "0123456789", "body": "Hi"}
    await upstream.publish("message.send", body, "send-1", headers={"traceparent": trace})
    [answer] = await upstream.answers("send-1")
    assert answer.headers["traceparent"] == trace
    heard, event = await told(upstream, answer.json["queued"][0]["id"], "delivered")
    assert (heard.headers["traceparent"], event["traceparent"]) == (trace, trace)


async def test_from_a_campaign_to_its_messages(hantar: Hantar, upstream: Foreign) -> None:
    account = await hantar.account()
    trace = traceparent()
    body = {"name": "Jun", "body": "Hi", "recipients": [{"phone": "0123456789"}]}
    headers = {"traceparent": trace}
    answer = await hantar.post("/campaigns", account, body, headers=headers)
    assert answer.status == 201, answer.json

    async def completed() -> Any:
        return [each for each in upstream.heard if each.routing_key == "campaign.completed"]

    [end] = await upstream.until(completed)
    assert end.headers["traceparent"] == trace
    rows = await hantar.pool.fetch("SELECT id FROM messages")
    heard, event = await told(upstream, rows[0]["id"], "delivered")
    assert (heard.headers["traceparent"], event["traceparent"]) == (trace, trace)


async def test_events_of_several_traces_that_travel_together_each_tell_theirs(
    hantar: Hantar, upstream: Foreign
) -> None:
    account = await hantar.account()
    traces = [traceparent() for _ in range(40)]
    ids = await asyncio.gather(*(send(hantar, account, trace) for trace in traces))
    for message_id, trace in zip(ids, traces, strict=True):
        heard, event = await told(upstream, message_id, "delivered")
        assert event["traceparent"] == trace
        together = {each["traceparent"] for each in heard.json["events"]}
        assert heard.headers.get("traceparent") == (trace if len(together) == 1 else None)


@pytest.mark.parametrize("given", [None, "junk", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
async def test_a_trace_that_is_none_is_begun_here(
    hantar: Hantar, upstream: Foreign, given: str | None
) -> None:
    account = await hantar.account()
    message_id = await send(hantar, account, given)
    _, event = await told(upstream, message_id, "delivered")
    made = event["traceparent"]
    assert read(made) == made
    assert made != given


async def test_what_a_person_writes_has_the_trace_of_the_call_that_brought_it(
    hantar: Hantar, upstream: Foreign, receiver: Receiver
) -> None:
    """The simulator's callbacks come of themselves, so that a trace begins with them."""
    account = await hantar.account()
    await listen(hantar, account, receiver.url, events=["message.inbound", "contact.opted_out"])
    await send(hantar, account, traceparent(), phone="+601155500008")

    async def heard() -> Any:
        keys = ("message.inbound", "contact.opted_out")
        found = [each for each in upstream.heard if each.routing_key in keys]
        return found if len(found) == 2 else None

    first, second = await upstream.until(heard)
    trace = first.headers["traceparent"]
    assert read(trace) == trace == second.headers["traceparent"]

    async def called() -> bool:
        return len(receiver.calls) == 2

    await eventually(called)
    assert {headers["traceparent"] for headers, _ in receiver.calls} == {trace}


async def test_an_exemplar_leads_from_a_metric_to_the_trace(hantar: Hantar) -> None:
    account = await hantar.account(per_second=1)
    trace = traceparent()
    await send(hantar, account, trace)
    # The second has to wait for its turn: figures that are not fast are marked.
    message_id = await send(hantar, account, trace)
    await hantar.until(account, message_id, "delivered")
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with hantar.http.get(f"{hantar.ops}/metrics", headers=headers) as response:
        text = await response.text()
    marked = [line for line in text.splitlines() if trace_id(trace) in line]
    for metric in ("hantar_http_request_seconds", "hantar_message_age_at_send_seconds"):
        assert any(line.startswith(f"{metric}_bucket") for line in marked), metric
