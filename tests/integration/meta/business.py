"""An account whose device is a number of the local Cloud API, and the persons it writes to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from service.store import inbound
from service.store.inbound import Kept
from tests.servers.cloud_api import Number
from tests.system import Account, Hantar

PHONE = "+60123456789"
SECRET = "a-test-app-secret"


async def hear(hantar: Hantar, account: Account, phones: Sequence[str]) -> None:
    """These persons have just written to the account's device."""
    async with hantar.pool.acquire() as connection:
        device_id = await connection.fetchval("SELECT max(id) FROM devices")
        now = datetime.now(UTC)
        heard = [Kept(device_id, phone, "text", None, phone, now) for phone in phones]
        await inbound.hear(connection, heard)


def device_of(number: Number) -> dict[str, object]:
    return {
        "name": "Cloud",
        "driver": "meta",
        "limits": {"per_second": None, "pair_seconds": None},
        "settings": {
            "phone_number_id": number.phone_number_id,
            "business_account_id": number.business_account_id,
            "access_token": number.access_token,
            "app_secret": SECRET,
            "verify_token": "a-test-verify-token",
        },
    }
