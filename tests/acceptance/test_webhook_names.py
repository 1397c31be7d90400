"""A webhook's name may be made to point elsewhere at any time (DNS rebinding)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from service.core.sealing import new_key
from tests.acceptance.installation import Installation
from tests.servers.names import Names
from tests.servers.webhook_receiver import receiving
from tests.system import eventually

NAME = "hooks.example.com"
#: The first may be called, the other belongs to what is inside.
OUTER, INNER = "127.0.0.2", "127.0.0.3"
LIMIT = aiohttp.ClientTimeout(total=30)


async def test_a_name_that_is_made_to_point_inside_is_not_called_there(
    installation: Installation, tmp_path: Path
) -> None:
    names = Names(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text(new_key())
    keys.chmod(0o600)
    # With both addresses only the one that may be reached is.
    names.point(NAME, INNER, OUTER)
    process = installation.processes.start(
        "run",
        "--roles",
        "ingress,dispatcher,recorder",
        environment={
            **names.environment,
            "HANTAR_WEBHOOK_ALLOW": f"{OUTER}/32",
            "HANTAR_SECRET_KEY_FILE": str(keys),
        },
    )
    api, _ = await process.ready()
    headers = {"Authorization": f"Bearer {installation.key}"}
    async with (
        receiving(OUTER) as outer,
        receiving(INNER, URL(outer.url).port or 0) as inner,
        aiohttp.ClientSession(f"{api}/api/v1/", headers=headers, timeout=LIMIT) as http,
    ):
        outer.headers = {"Connection": "close"}  # each call looks the name up
        hook = {"url": outer.url.replace(OUTER, NAME), "events": ["message.delivered"]}

        async def listen() -> tuple[int, Any]:
            async with http.post("webhook-endpoints", json=hook) as answer:
                return answer.status, await answer.json()

        async def send(phone: str) -> None:
            async with http.post("messages/send", json={"phone": phone, "body": "Hi"}) as answer:
                assert answer.status == 202, await answer.text()

        async def deliveries(endpoint_id: int) -> list[Any]:
            async with http.get(f"webhook-endpoints/{endpoint_id}/deliveries") as answer:
                rows: list[Any] = (await answer.json())["data"]
                return rows

        async def delivered() -> bool:
            return len(outer.calls) == 1

        async def tried() -> Any:
            rows = await deliveries(made["data"]["id"])
            return next(
                (row for row in rows if row["state"] != "delivered" and row["attempts"]), None
            )

        assert (await listen())[0] == 422, "one of its addresses is inside"
        names.point(NAME, OUTER)
        status, made = await listen()
        assert status == 201, made
        names.point(NAME, INNER, OUTER)
        await send("0123456789")
        await eventually(delivered)
        names.point(NAME, INNER)
        await send("0123456781")
        row = await eventually(tried)
        assert row["last_status"] is None, row
        assert (len(outer.calls), inner.calls) == (1, [])
    await installation.stop(process)
