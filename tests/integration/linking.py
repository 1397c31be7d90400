"""The codes of simulated devices, as another process hands them out."""

from __future__ import annotations

from drivers.linking import LinkHost
from drivers.simulator.linking import SimulatorLinking
from service.store import accounts
from tests.contract.linking_side import Linked
from tests.system import Hantar


async def address_of(hantar: Hantar, device_id: int) -> str:
    """The address that a device's code holds."""
    async with hantar.pool.acquire() as connection:
        installation = await accounts.installation(connection)
    assert installation is not None
    host = LinkHost(hantar.pool, lambda: hantar.api, installation.secret, Linked())
    code = await SimulatorLinking(host).code(device_id)
    return code.text
