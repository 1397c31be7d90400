"""Callers of the API: every request and every answer, or that there was none, is in the journal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp

from tests.fault.journal import Journal

#: An answer later than this is none.
ANSWER_SECONDS = 8.0
#: A request that got none is tried again, under the same key, for so long.
PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 0.2
UNANSWERED = frozenset({409, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Tenant:
    """An account, its key and its devices with their limits in calls a second."""

    account: int
    key: str
    devices: dict[int, float]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request in the end; status 0 when there never was one."""

    tag: str
    status: int
    json: Any = None
    replayed: bool = False

    @property
    def ids(self) -> list[int]:
        """The messages that it accepted."""
        if self.status != 202:
            return []
        data = self.json.get("data")
        return [data["id"]] if data else [item["id"] for item in self.json["queued"]]


@dataclass
class Client:
    """Sends requests to whichever ingress there is, each until it is answered.

    Every message has a phone of its own and a reference, by which the checker knows which request
    it came from.
    """

    journal: Journal
    api: Callable[[], str]
    seeded: random.Random
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _phones: count[int] = field(default_factory=lambda: count(1))
    _http: aiohttp.ClientSession | None = None

    def phone(self) -> str:
        """One that nobody had before."""
        return f"+6012{1_000_000 + next(self._phones)}"

    def message(self, tenant: Tenant, **fields: Any) -> dict[str, Any]:
        """A message to somebody new, through one of the tenant's devices."""
        device = self.seeded.choice(list(tenant.devices))
        body = f"canary-{self.seeded.randrange(10**6)}"
        return {"phone": self.phone(), "body": body, "device": device} | fields

    async def send(self, tenant: Tenant, *, patient: bool = True, **fields: Any) -> Reply:
        """One message."""
        tag = f"r{next(self._numbers)}"
        body = self.message(tenant, reference=f"{tag}.0", **fields)
        return await self.post(tenant, "/messages/send", body, tag, 1, patient=patient)

    async def bulk(
        self, tenant: Tenant, size: int, *, patient: bool = True, **fields: Any
    ) -> Reply:
        """So many messages in one request."""
        tag = f"r{next(self._numbers)}"
        messages = [
            self.message(tenant, reference=f"{tag}.{place}", **fields) for place in range(size)
        ]
        body = {"messages": messages}
        return await self.post(tenant, "/messages/bulk", body, tag, size, patient=patient)

    async def post(
        self,
        tenant: Tenant,
        path: str,
        body: Any,
        tag: str,
        size: int,
        *,
        patient: bool = True,
        key: str = "",
    ) -> Reply:
        """This request until it is answered, or once."""
        self.journal.note(
            {"request": tag, "size": size, "account": tenant.account, "patient": patient}
        )
        headers = {"Authorization": f"Bearer {tenant.key}", "Idempotency-Key": key or f"key-{tag}"}
        reply = Reply(tag, 0)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    reply = await self._once(tag, headers, path, body)
                    if not patient or (reply.status and reply.status not in UNANSWERED):
                        return reply
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            return reply

    async def call(self, tenant: Tenant, method: str, path: str, body: Any = None) -> Reply:
        """Any other request, once; not in the journal."""
        headers = {"Authorization": f"Bearer {tenant.key}"}
        async with self._session().request(
            method, f"{self.api()}/api/v1{path}", json=body, headers=headers
        ) as answer:
            json = await answer.json() if answer.status != 204 else None
            return Reply("", answer.status, json)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def _once(self, tag: str, headers: dict[str, str], path: str, body: Any) -> Reply:
        try:
            url = f"{self.api()}/api/v1{path}"
            async with self._session().post(url, json=body, headers=headers) as answer:
                reply = Reply(
                    tag,
                    answer.status,
                    await answer.json(content_type=None),
                    "Idempotent-Replayed" in answer.headers,
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self.journal.note({"tag": tag, "status": 0, "error": type(error).__name__})
            return Reply(tag, 0)
        self.journal.note(
            {"tag": tag, "status": reply.status, "ids": reply.ids, "replayed": reply.replayed}
        )
        return reply

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
            )
        return self._http
