"""`hantar device qr`: codes in the terminal, until the device is linked."""

from __future__ import annotations

import re

from drivers.linking import LinkHost
from drivers.simulator.linking import PATH, SimulatorLinking
from service.core.code_link import good_until
from service.store import accounts
from service.store.pool import Pool
from tests.acceptance.processes import Processes
from tests.contract.linking_side import Linked
from tests.database import SHARDS
from tests.servers.fake_bridge import fake_bridge
from tests.system import eventually, make_account

URL = "https://hantar.example.com"


async def test_codes_are_drawn_until_the_device_is_linked(
    processes: Processes, dsn: str, pool: Pool
) -> None:
    processes.environment |= {
        "HANTAR_DATABASE_URL": dsn,
        "HANTAR_AMQP_URL": "amqp://nobody@127.0.0.1:1/",
        "HANTAR_SHARDS": str(SHARDS),
        "HANTAR_PUBLIC_URL": URL,
    }
    account = await make_account(pool)
    installation = await accounts.installation(pool)
    assert installation is not None
    phone = SimulatorLinking(LinkHost(pool, lambda: URL, installation.secret, Linked()))
    linked = await processes.do("device", "qr", str(account.device_id))
    assert (linked.code, linked.output) == (0, f"device {account.device_id} is linked\n")

    page = await processes.do("device", "qr", str(account.device_id), "--web")
    begin, _, token = page.output.strip().rpartition("/")
    assert begin == f"{URL}{PATH}{account.device_id}"
    assert good_until(installation.secret, account.device_id, token)

    await phone.logout(account.device_id)
    shown = processes.start("device", "qr", str(account.device_id))
    first = await shown.says("Ctrl-C")
    assert first.count("█") > 50
    await pool.execute("UPDATE simulator_unlinked SET expires_at = now()")

    async def fresh() -> list[str]:
        found = re.findall(rf"^or open {URL}{PATH}(\S+)$", shown.output, re.MULTILINE)
        return found if len(found) == 2 else []

    old, new = await eventually(fresh)
    assert not await phone.use(old)
    assert await phone.use(new)
    assert await shown.ends() == 0
    assert shown.output.endswith(f"device {account.device_id} is linked\n")


async def test_a_code_to_type_is_printed_until_the_phone_is_linked(
    processes: Processes, dsn: str, pool: Pool
) -> None:
    async with fake_bridge() as bridge:
        processes.environment |= {
            "HANTAR_DATABASE_URL": dsn,
            "HANTAR_AMQP_URL": "amqp://nobody@127.0.0.1:1/",
            "HANTAR_WWEBJS_BRIDGE": str(bridge.socket),
        }
        account = await make_account(pool)
        ask = ("device", "qr", str(account.device_id), "--phone", "011-5551 0009")
        simulated = await processes.do(*ask)
        assert (simulated.code, simulated.output) == (1, "")
        assert simulated.error == "Error: a simulator device has no code to type\n"
        await pool.execute("UPDATE devices SET driver = 'wwebjs' WHERE id = $1", account.device_id)
        for wrong in (("--phone", "12"), ("--phone", "0123456789", "--web")):
            assert (await processes.do(*ask[:3], *wrong)).code == 2
        shown = processes.start(*ask)
        printed = await shown.says("Ctrl-C")
        [(first, second)] = re.findall(r"^Type on the phone: (.{4})-(.{4})$", printed, re.MULTILINE)
        assert await bridge.type(first + second, "+601155510009")
        assert await shown.ends() == 0
        assert shown.output.endswith(f"device {account.device_id} is linked\n")


async def test_what_has_no_code_is_said_in_one_line(
    processes: Processes, dsn: str, pool: Pool
) -> None:
    processes.environment |= {
        "HANTAR_DATABASE_URL": dsn,
        "HANTAR_AMQP_URL": "amqp://nobody@127.0.0.1:1/",
    }
    account = await make_account(pool)
    await pool.execute("UPDATE devices SET driver = 'meta' WHERE id = $1", account.device_id)
    for device_id in (account.device_id, 2**63 - 1):
        done = await processes.do("device", "qr", str(device_id))
        assert (done.code, done.output) == (1, "")
        assert done.error.startswith("Error: ")
        assert len(done.error.splitlines()) == 1
