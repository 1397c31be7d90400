"""Webhooks tell what became of messages; answers to commands go to who published the command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.store.pool import Pool
from tests.integration.test_webhooks import delivered, listen
from tests.integration.upstream.conftest import allow
from tests.integration.upstream.foreign import Foreign
from tests.servers.webhook_receiver import Receiver
from tests.system import Hantar, run_app


@pytest.fixture
async def hantar(dsn: str, pool: Pool, broker: str) -> AsyncIterator[Hantar]:
    servers: dict[str, object] = {"database_url": dsn, "amqp_url": broker}
    running = asynccontextmanager(run_app)
    async with running(dsn, pool, webhook_allow="127.0.0.0/8", **servers) as made:
        yield made


async def test_answers_to_commands_come_to_no_webhook(
    hantar: Hantar, upstream: Foreign, receiver: Receiver
) -> None:
    account = await hantar.account()
    await allow(hantar.pool, account)
    await listen(hantar, account, receiver.url, events=["*"])
    body = {"account": account.id, "phone": "0123456789", "body": "Hi"}
    await upstream.publish("message.send", body | {"phone": "nobody"}, "refused-1")
    await upstream.answers("refused-1")
    await upstream.publish("message.send", body, "send-1")
    [answer] = await upstream.answers("send-1")
    await delivered(hantar, receiver, [answer.json["queued"][0]["id"]])
    kinds = {document["type"].partition(".")[0] for document in receiver.documents()}
    assert kinds == {"message"}
