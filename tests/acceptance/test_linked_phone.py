"""`hantar run --driver wwebjs`: the bridge, a code, a phone, a message; and an end of it all."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from tests.acceptance.processes import Processes
from tests.servers.bridge import ended, wrapped_chromium
from tests.servers.whatsapp_web import WhatsAppWeb
from tests.system import eventually

PHONE, PERSON = "+60123450001", "+60123456789"


async def test_a_phone_that_scans_the_code_in_the_terminal_sends(
    processes: Processes, tmp_path: Path, bridge_program: None
) -> None:
    web = WhatsAppWeb()
    await web.start(tmp_path)
    processes.environment |= {
        "HANTAR_BRIDGE_BROWSER": str(wrapped_chromium(tmp_path)),
        "HANTAR_BRIDGE_TEST_FLAGS": json.dumps(web.flags),
    }
    running = processes.start("run", "--driver", "wwebjs", "--listen", "127.0.0.1:0")
    api, _ = await running.ready()
    assert (await running.says("Ctrl-C leaves")).count("█") > 50
    folder = processes.folder / ".hantar" / "bridge"
    connector = aiohttp.UnixConnector(str(folder / "bridge.sock"))
    async with aiohttp.ClientSession("http://bridge", connector=connector) as http:
        async with http.get("/v1/devices") as answer:
            [device] = (await answer.json())["devices"]
        async with http.get(f"/v1/devices/{device['id']}/qr") as answer:
            assert await web.scan((await answer.json())["code"], PHONE)
    printed = await running.says('"device":')
    device_id = int(printed.rpartition('"device":')[2].partition("}")[0])
    key = (processes.folder / ".hantar/demo.env").read_text().partition("API_KEY=")[2].strip()
    body = {"phone": PERSON, "body": "Hello from Hantar!", "device": device_id}
    headers = {"Authorization": f"Bearer {key}"}
    # A device that may send so many a minute rests for the first, as nobody knows of the last.
    limits = {"per_second": 5, "per_minute": None, "jitter_seconds": 0}
    async with aiohttp.ClientSession(f"{api}/api/v1/", headers=headers) as http:
        async with http.patch(f"devices/{device_id}", json={"limits": limits}) as answer:
            assert answer.status == 200, await answer.text()
        async with http.post("messages/send", json=body) as answer:
            assert answer.status == 202, await answer.text()

    async def arrived() -> bool:
        return [(d.sender, d.phone) for d in web.deliveries] == [(PHONE, PERSON)]

    await eventually(arrived, within_seconds=60)
    assert await running.interrupt() == 0
    await ended(folder)
    await web.close()
