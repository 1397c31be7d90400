"""A webhook's name may be made to point elsewhere at any time (DNS rebinding)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from service.core.sealing import new_key
from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.servers.names import Names
from tests.servers.webhook_receiver import receiving
from tests.system import eventually

NAME = "hooks.example.com"
#: The first may be called, the other belongs to what is inside.
OUTER, INNER = "127.0.0.2", "127.0.0.3"


def start(installation: Installation, names: Names, folder: Path) -> Process:
    """One process that sees the names."""
    keys = folder / "keys"
    keys.write_text(new_key())
    keys.chmod(0o600)
    settings = {"HANTAR_WEBHOOK_ALLOW": f"{OUTER}/32", "HANTAR_SECRET_KEY_FILE": str(keys)}
    roles = "ingress,dispatcher,recorder"
    return installation.processes.start(
        "run", "--roles", roles, environment=names.environment | settings
    )


async def call(http: aiohttp.ClientSession, path: str, body: object = None) -> tuple[int, Any]:
    """The status and the body of an answer."""
    method = "GET" if body is None else "POST"
    async with http.request(method, path, json=body) as answer:
        return answer.status, await answer.json()


async def test_a_name_that_is_made_to_point_inside_is_not_called_there(
    installation: Installation, tmp_path: Path
) -> None:
    names = Names(tmp_path)
    names.point(NAME, INNER, OUTER)
    process = start(installation, names, tmp_path)
    api, _ = await process.ready()
    headers = {"Authorization": f"Bearer {installation.key}"}
    async with (
        receiving(OUTER) as outer,
        receiving(INNER, URL(outer.url).port or 0) as inner,
        aiohttp.ClientSession(f"{api}/api/v1/", headers=headers) as http,
    ):
        outer.headers = {"Connection": "close"}  # each call looks the name up
        hook = {"url": outer.url.replace(OUTER, NAME), "events": ["message.delivered"]}
        status, _ = await call(http, "webhook-endpoints", hook)
        assert status == 422, "one of its addresses is inside"
        names.point(NAME, OUTER)
        status, made = await call(http, "webhook-endpoints", hook)
        assert status == 201, made

        async def delivered() -> bool:
            return len(outer.calls) == 1

        async def refused() -> Any:
            path = f"webhook-endpoints/{made['data']['id']}/deliveries?state=pending"
            _, found = await call(http, path)
            return next((row for row in found["data"] if row["attempts"]), None)

        # With both addresses only the one that may be reached is.
        names.point(NAME, INNER, OUTER)
        await call(http, "messages/send", {"phone": "0123456789", "body": "Hi"})
        await eventually(delivered)
        names.point(NAME, INNER)
        await call(http, "messages/send", {"phone": "0123456781", "body": "Hi"})
        row = await eventually(refused)
        assert row["last_status"] is None, row
        assert (len(outer.calls), inner.calls) == (1, [])
    await installation.stop(process)
