"""Ten endpoints of ten accounts, three of them bad: the other seven get everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from service.store.pool import Pool
from tests.integration.test_webhooks import listen
from tests.servers.webhook_receiver import Receiver, receiving
from tests.system import Account, Hantar, eventually, run_app

ENDPOINTS = 10
BAD = 3


@dataclass
class Crowd:
    """Endpoints with their accounts; the first three may be made bad."""

    hantar: Hantar
    endpoints: list[tuple[Account, Receiver]]
    #: where the redirect leads
    inner: Receiver

    @property
    def good(self) -> list[tuple[Account, Receiver]]:
        return self.endpoints[BAD:]

    def turn_bad(self) -> None:
        """One hangs, one answers 500, one redirects to this machine."""
        hanging, broken, redirecting = [receiver for _, receiver in self.endpoints[:BAD]]
        hanging.hang = True
        broken.status = 500
        redirecting.status, redirecting.headers = 307, {"Location": self.inner.url}

    async def send(self, count: int) -> dict[int, list[int]]:
        """Messages of each account, in one bulk each; their ids by account."""
        found = {}
        numbers = range(2_000_000, 2_000_000 + count)
        for account, _ in self.endpoints:
            items = [{"phone": f"+6012{n:07}", "body": "Hi"} for n in numbers]
            answer = await self.hantar.post("/messages/bulk", account, {"messages": items})
            assert answer.status == 202, answer.json
            found[account.id] = [item["id"] for item in answer.json["queued"]]
        return found


@asynccontextmanager
async def crowd(dsn: str, pool: Pool) -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as stack:
        # Their address is allowed, that of the redirect is not.
        running = asynccontextmanager(run_app)
        hantar = await stack.enter_async_context(
            running(dsn, pool, webhook_allow="127.0.0.1/32", rate_per_second=10_000)
        )
        inner = await stack.enter_async_context(receiving())
        inner.url = inner.url.replace("127.0.0.1", "127.0.0.2")
        endpoints = []
        for _ in range(ENDPOINTS):
            receiver = await stack.enter_async_context(receiving())
            account = await hantar.account(credits=100_000)
            await listen(hantar, account, receiver.url, events=["message.*"])
            endpoints.append((account, receiver))
        yield Crowd(hantar, endpoints, inner)


async def test_three_bad_endpoints_cost_the_other_seven_nothing(dsn: str, pool: Pool) -> None:
    async with crowd(dsn, pool) as scene:
        scene.turn_bad()
        sent: dict[int, set[int]] = {account.id: set() for account, _ in scene.endpoints}
        for _ in range(4):
            for account_id, ids in (await scene.send(25)).items():
                sent[account_id] |= set(ids)

        async def told() -> bool:
            return all(
                {id_ for kind, id_ in receiver.events() if kind == "message.delivered"}
                == sent[account.id]
                for account, receiver in scene.good
            )

        await eventually(told, within_seconds=60)
        assert scene.inner.calls == []
        # Each is left alone after a few tries, however much waits for it.
        tries = [len(receiver.calls) for _, receiver in scene.endpoints[:BAD]]
        assert all(1 <= count <= 15 for count in tries), tries
