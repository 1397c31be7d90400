"""The examples of the API page, tried one after the other as they stand, as after `make run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from tests.acceptance.demo import Demo, start
from tests.acceptance.processes import Processes
from tests.system import Answer, eventually

#: The one thing that is not as after `make run`: nobody else is asked here, so the webhook of the
#: example goes to this machine.
ALLOWED = {"HANTAR_WEBHOOK_ALLOW": "127.0.0.0/8"}
PUBLIC, LOCAL = "https://example.com", "http://127.0.0.1:9"
#: What the demo does not have, with the answer that its page documents: strangers may not sign up,
#: and no mail goes out, so that there is no token either.
REFUSED = {
    "accounts_sign_up": (403, "signup_closed"),
    "accounts_verify": (422, "validation_failed"),
    "accounts_resend": (403, "forbidden"),
}


async def tried(running: Demo, method: str, path: str, described: Mapping[str, Any]) -> Answer:
    """What the page sends when nothing is filled in but what it shows."""
    parameters = [each for each in described["parameters"] if "example" in each]
    ids = {each["name"]: each["example"] for each in parameters if each["in"] == "path"}
    query = {each["name"]: each["example"] for each in parameters if each["in"] == "query"}
    headers = {"Authorization": f"Bearer {running.key}"}
    body = None
    if "requestBody" in described:
        [(kind, content)] = described["requestBody"]["content"].items()
        headers["Content-Type"] = kind
        shown = content["example"]
        body = shown if isinstance(shown, str) else orjson.dumps(shown).decode()
        body = body.replace(PUBLIC, LOCAL)
    url = f"{running.url}/api/v1{path.format(**ids)}"
    limit = aiohttp.ClientTimeout(total=30)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=limit) as http,
        http.request(method, url, data=body, params=query) as answer,
    ):
        is_json = "json" in answer.headers.get("Content-Type", "")
        content = await answer.json(content_type=None) if is_json else await answer.text()
        return Answer(answer.status, dict(answer.headers), content)


async def test_every_example_works_as_it_stands(processes: Processes) -> None:
    running = await start(processes, environment=ALLOWED)
    document = (await running.call("GET", "/openapi.json")).json
    operations = [
        (method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    assert len(operations) > 50
    by_name = {each["operationId"]: (method, path, each) for method, path, each in operations}
    wrong = []
    for method, path, described in operations:
        name = described["operationId"]
        if path.endswith("/deliveries"):
            # There is something to tell once something happened.
            assert (await tried(running, *by_name["messages_send"])).status == 202
            await _until(running, "/webhook-endpoints/1/deliveries", "id")
        answer = await tried(running, method, path, described)
        if name == "imports_create":
            # It is worked off beside the answer.
            await _until(running, "/contacts/imports", "completed_at")
        if name in REFUSED:
            right = (answer.status, answer.json["code"]) == REFUSED[name]
        else:
            right = answer.status < 300
        if not right or str(answer.status) not in described["responses"]:
            wrong.append((method, path, answer.status, answer.json))
    assert wrong == []


async def _until(running: Demo, path: str, field: str) -> None:
    async def look() -> bool:
        found = (await running.call("GET", path)).json["data"]
        return bool(found) and all(each[field] for each in found)

    await eventually(look)
