"""Lines of the bridge that say nothing stop none of those that do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from service.store.pool import Pool
from service.telemetry.instruments import REGISTRY
from tests.integration.linked.conftest import Fleet, running
from tests.servers.fake_bridge import FakeBridge
from tests.system import eventually

NOW = "2026-11-25T08:00:00.000Z"
AT = f'"at":"{NOW}"'.encode()
PHONE, PERSON = "+601155510001", "+60122000000"


def refused() -> float:
    return REGISTRY.get_sample_value("hantar_bridge_lines_refused_total") or 0.0


@pytest.mark.parametrize(
    "line",
    [
        b'{"seq":2,"device":"%s",%s}',
        b'{"seq":2,"device":"%s",%s,"type":"ack","wa_id":["x"],"ack":1}',
        b'{"seq":2,"device":"%s",%s,"type":"inbound","phone":"+60122000000"}',
        b'{"seq":2,"device":"%s",%s,"type":"inbound","text":"\\ud83d"}',
        b'["seq",2,"%s",{%s}]',
    ],
    ids=["no-type", "no-id", "no-text", "half-a-pair", "no-object"],
)
async def test_a_line_that_says_nothing_is_counted_and_passed(fleet: Fleet, line: bytes) -> None:
    device = fleet.names.device(await fleet.add(PHONE))
    before = refused()
    fleet.bridge.events.write(line % (device.encode(), AT))
    said = {
        "phone": PERSON,
        "text": "STOP",
        "kind": "chat",
        "wa_id": "in.1",
        "t": NOW,
    }
    fleet.bridge.events.tell(device, "inbound", **said)

    async def acknowledged() -> bool:
        return fleet.bridge.events.acknowledged == fleet.bridge.events.last

    await eventually(acknowledged)
    assert refused() == before + 1

    async def heard() -> bool:
        return bool(await fleet.hantar.pool.fetchval("SELECT true FROM conversations"))

    await eventually(heard)


async def test_only_who_has_linked_devices_is_told_that_the_bridge_is_away(
    dsn: str, pool: Pool, bridge: FakeBridge
) -> None:
    bridge.ill = True
    with capture_logs() as logs:
        async with running(dsn, pool, bridge) as fleet:
            await looked_at(bridge, 2)
            assert told_away(logs) == 0
            body = {"name": "Phone", "driver": "wwebjs"}
            answer = await fleet.hantar.post("/devices", fleet.account, body)
            assert answer.status == 201, answer.json
            await looked_at(bridge, bridge.looks + 2)
            assert told_away(logs) == 1


async def looked_at(bridge: FakeBridge, times: int) -> None:
    async def looked() -> bool:
        return bridge.looks >= times

    await eventually(looked)


def told_away(logs: Sequence[EventDict]) -> int:
    return sum(each["event"] == "bridge_away" for each in logs)
