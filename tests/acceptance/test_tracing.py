"""One trace through real processes: from a request to the webhook, and in the logs on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from service.core.sealing import new_key
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.servers.webhook_receiver import receiving
from tests.system import eventually

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def of_the_trace(process: Process, *names: str) -> list[dict[str, Any]]:
    """The log lines of these names that are of the trace."""
    return [line for line in process.events(*names) if line.get("trace_id") == TRACE_ID]


async def test_an_id_is_followed_from_a_request_to_the_webhook(installation: Installation) -> None:
    processes = installation.processes
    keys = processes.folder / "keys"
    keys.write_text(new_key())
    processes.environment |= {
        "HANTAR_SECRET_KEY_FILE": str(keys),
        "HANTAR_WEBHOOK_ALLOW": "127.0.0.0/8",
    }
    ingress, dispatcher, recorder = await installation.run("ingress", "dispatcher", "recorder")
    api, _ = await ingress.ready()
    headers = {"Authorization": f"Bearer {installation.key}"}
    async with receiving() as receiver, aiohttp.ClientSession(headers=headers) as http:
        receiver.status = 503
        wanted = {"url": receiver.url, "events": ["message.delivered"]}
        async with http.post(f"{api}/api/v1/webhook-endpoints", json=wanted) as answer:
            assert answer.status == 201, await answer.text()
        message = {"phone": "0123456789", "body": "Salam"}
        traced = {"traceparent": TRACE}
        async with http.post(f"{api}/api/v1/messages/send", json=message, headers=traced) as answer:
            assert answer.status == 202, await answer.text()

        async def refused() -> bool:
            return bool(of_the_trace(recorder, "webhook_refused"))

        await eventually(refused)
        receiver.status = 204

        async def taken() -> bool:
            return len(receiver.calls) == 2

        await eventually(taken)
        assert {called["traceparent"] for called, _ in receiver.calls} == {TRACE}
        [document, again] = receiver.documents()
        assert document == again
        assert [event["traceparent"] for event in document["data"]["events"]] == [TRACE]
    [line] = of_the_trace(ingress, "request")
    assert (line["route"], line["status"]) == ("/api/v1/messages/send", 202)
    await asyncio.gather(*(each.terminate() for each in (ingress, dispatcher, recorder)))
