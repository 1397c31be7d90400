"""Through the local Cloud API, on real servers: `make bench-meta`.

A bulk of 1000 with every callback up to three times in random order; a number that Meta throttles
at 40 a second while it may send 80; 10,000 webhooks in a burst, three of ten badly signed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from service.core.sealing import new_key
from service.store import inbound
from service.store.inbound import Kept
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.integration.meta.business import SECRET, device_of
from tests.servers.cloud_api import Behaviour, CloudApi, Number, sign
from tests.servers.cloud_api.callbacks import encode, messages_value, notification, status
from tests.system import eventually
from tests.windows import used

BEARS, MAY = 40, 80
#: Of what Meta bears, while throttled.
LEAST = 0.9
WEBHOOKS, BAD_OF_TEN, CALLERS = 10_000, 3, 16
MOST_P99_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Business:
    """An account whose default device is a number of the local Cloud API."""

    installation: Installation
    cloud: CloudApi
    number: Number
    device: int
    api: str
    running: list[Process]

    async def bulk(self, first: int, count: int) -> None:
        """So many texts to persons who have just written."""
        items = [{"phone": f"+6012{n:07}", "body": "Salam"} for n in range(first, first + count)]
        now = datetime.now(UTC)
        heard = [
            Kept(self.device, item["phone"], "text", None, item["phone"], now) for item in items
        ]
        async with self.installation.pool.acquire() as connection:
            await inbound.hear(connection, heard)
        for start in range(0, count, 1000):
            part = items[start : start + 1000]
            body = {"messages": part, "device": self.device}
            answer = await self.installation.bulk(self.running[0], body)
            assert len(answer.json["queued"]) == len(part), answer.json

    async def until(self, count: int, *statuses: str, within_seconds: float) -> None:
        """So many messages have one of these statuses."""

        async def look() -> bool:
            return len(await self.installation.with_status(*statuses)) == count

        await eventually(look, within_seconds=within_seconds)

    async def limit(self, per_second: float | None) -> None:
        """How fast the device may be driven."""
        body = {"limits": {"per_second": per_second}}
        async with self.caller() as http, http.patch(f"/api/v1/devices/{self.device}", json=body):
            pass

    def caller(self) -> aiohttp.ClientSession:
        """Who speaks to the API for the account."""
        headers = {"Authorization": f"Bearer {self.installation.key}"}
        return aiohttp.ClientSession(self.api, headers=headers)


@pytest.fixture
async def business(installation: Installation, tmp_path: Path) -> AsyncIterator[Business]:
    number = Number("106540352242922", "102290129340398", "a-test-token", app_secret=SECRET)
    cloud = CloudApi(number)
    await cloud.start()
    keys = tmp_path / "keys"
    keys.write_text(f"{new_key()}\n")
    keys.chmod(0o600)
    installation.processes.environment |= {
        "HANTAR_SECRET_KEY_FILE": str(keys),
        "HANTAR_META_BASE_URL": cloud.url,
    }
    running = await installation.run("ingress", "dispatcher", "recorder")
    api, _ = await running[0].ready()
    headers = {"Authorization": f"Bearer {installation.key}"}
    async with (
        aiohttp.ClientSession(api, headers=headers) as http,
        http.post("/api/v1/devices", json=device_of(number)) as answer,
    ):
        device = (await answer.json())["data"]["id"]
    cloud.webhook_url = f"{api}/webhooks/meta"
    try:
        yield Business(installation, cloud, number, device, api, running)
    finally:
        await cloud.close()
        await installation.stop(*running)


async def test_a_bulk_of_a_thousand_is_read_once_each(business: Business) -> None:
    cloud = business.cloud
    cloud.default = Behaviour(statuses=("sent", "delivered", "read"))
    cloud.repeats, cloud.shuffled = 3, True
    began = time.monotonic()
    await business.bulk(2_000_000, 1000)
    await business.until(1000, "read", within_seconds=120)
    seconds = time.monotonic() - began
    calls = Counter(call.message.phone for call in cloud.journal)
    sys.stdout.write(f"\n1000 x read in {seconds:.1f} s, {len(cloud.journal)} calls\n")
    assert len(calls) == 1000
    assert set(calls.values()) == {1}
    await business.installation.books_agree(spent=1000)


async def test_a_number_throttled_at_forty_settles_just_below_and_recovers(
    business: Business,
) -> None:
    cloud, number = business.cloud, business.number
    await business.limit(MAY)
    number.per_second = BEARS
    await business.bulk(2_000_000, 2500)
    began = time.monotonic()
    await business.until(2500, "delivered", within_seconds=150)
    times = [call.at for call in cloud.journal if call.taken]
    # The first cuts come at once, and calls that were planned before them are taken back.
    settled = [at for at in times if began + 20.0 < at]
    part = used(settled, BEARS)
    throttled = sum(call.code == 130429 for call in cloud.journal)
    tries = await business.installation.pool.fetch("SELECT DISTINCT attempts FROM messages")
    number.per_second = None
    lifted = time.monotonic()
    await business.bulk(3_000_000, 2500)
    await business.until(5000, "delivered", within_seconds=150)
    after = [call.at for call in cloud.journal if call.at > lifted + 5.0]
    first, last = after[: len(after) // 4], after[-len(after) // 4 :]
    sys.stdout.write(
        f"\nat {part:.3f} of {BEARS}/s while it may send {MAY}, {throttled} calls throttled of "
        f"{len(times)}; without the limit {used(first, 1.0):.1f}/s, then {used(last, 1.0):.1f}/s "
        f"within {last[-1] - first[0]:.0f} s\n"
    )
    assert LEAST <= part <= 1.01
    assert [row["attempts"] for row in tries] == [1], "throttling uses no attempt up"
    assert used(last, 1.0) > used(first, 1.0), "it recovers"


async def test_a_burst_of_webhooks_loses_none_of_the_good_ones(business: Business) -> None:
    cloud, number = business.cloud, business.number
    cloud.webhook_url = None
    count = WEBHOOKS * (10 - BAD_OF_TEN) // 10
    await business.bulk(2_000_000, 2000)
    await asyncio.wait_for(cloud.received(2000), 120)
    marks = [(call.message.phone, call.message.biz_opaque_callback_data) for call in cloud.journal]
    bodies = []
    for n in range(WEBHOOKS):
        phone, mark = marks[n % len(marks)]
        state = "read" if n >= len(marks) else "delivered"
        about = status(f"wamid.{n}", phone, state, mark)
        body = encode(notification(number, "messages", messages_value(number, statuses=[about])))
        bodies.append((body, "wrong" if n % 10 < BAD_OF_TEN else SECRET))
    seconds: list[float] = []
    answers: Counter[tuple[bool, int]] = Counter()

    async def caller(http: aiohttp.ClientSession) -> None:
        while bodies:
            body, secret = bodies.pop()
            headers = {"X-Hub-Signature-256": sign(body, secret)}
            began = time.monotonic()
            async with http.post("/webhooks/meta", data=body, headers=headers) as answer:
                answers[secret == SECRET, answer.status] += 1
            if secret == SECRET:
                seconds.append(time.monotonic() - began)

    began, spent = time.monotonic(), time.process_time()
    async with aiohttp.ClientSession(business.api) as http:
        await asyncio.gather(*(caller(http) for _ in range(CALLERS)))
    took, spent = time.monotonic() - began, time.process_time() - spent
    assert answers == {(True, 200): count, (False, 401): WEBHOOKS - count}
    seconds.sort()
    p50, p99 = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    good = {marks[n % len(marks)] for n in range(2000, WEBHOOKS) if n % 10 >= BAD_OF_TEN}
    await business.until(len(good), "read", within_seconds=120)
    sys.stdout.write(
        f"\n{WEBHOOKS} webhooks from {CALLERS} callers in {took:.1f} s ({WEBHOOKS / took:.0f}/s), "
        f"the good ones in {p50 * 1000:.1f} ms (median), {p99 * 1000:.1f} ms (p99); none lost; "
        f"the callers' own work is {spent / took:.0%} of a processor\n"
    )
    assert p99 <= MOST_P99_SECONDS
