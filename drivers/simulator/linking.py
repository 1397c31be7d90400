"""How simulated devices are linked: their code is a web address that does it when confirmed."""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from typing import Any

import asyncpg

from drivers.linking import AlreadyLinked, Code, LinkHost, NoPairing, OutOfReach

#: A code is good so long; one is handed out again while half of that is left.
CODE_SECONDS = 120
TIMEOUT_SECONDS = 5.0
#: Below the public address; a token follows.
PATH = "/link/"
_NONCE_BYTES = 12
_SIGNATURE_BYTES = 16
_TOKEN_BYTES = 8 + _NONCE_BYTES + _SIGNATURE_BYTES

# What is being replaced is a code with less than half of its time left.
_CODE = """
UPDATE simulator_unlinked SET
    nonce = CASE WHEN expires_at < now() + make_interval(secs => $3 / 2) THEN $2 ELSE nonce END,
    expires_at = CASE WHEN expires_at < now() + make_interval(secs => $3 / 2)
        THEN now() + make_interval(secs => $3) ELSE expires_at END
WHERE device_id = $1
RETURNING nonce, expires_at
"""
_GOOD = """
SELECT device_id FROM simulator_unlinked
WHERE device_id = $1 AND nonce = $2 AND expires_at > now()
"""
_LINK = """
DELETE FROM simulator_unlinked WHERE device_id = $1 AND nonce = $2 AND expires_at > now()
RETURNING device_id
"""
_UNLINK = """
INSERT INTO simulator_unlinked (device_id, nonce, expires_at) VALUES ($1, $2, now())
ON CONFLICT (device_id) DO UPDATE SET nonce = EXCLUDED.nonce, expires_at = EXCLUDED.expires_at
"""
_OUT_OF_REACH = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class SimulatorLinking:
    """The linking of the `simulator` driver, and the phone that opens its codes.

    Codes lie in Postgres beside the simulator's other memory, so that any process can hand them
    out and any other take them back.
    """

    def __init__(self, host: LinkHost) -> None:
        self._host = host

    async def code(self, device_id: int) -> Code:
        """A web address, signed, good for two minutes and one use."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        row = await self._ask(_CODE, device_id, nonce, float(CODE_SECONDS))
        if row is None:
            raise AlreadyLinked
        return Code(self._address(device_id, row["nonce"]), row["expires_at"])

    async def pairing_code(self, _device_id: int, _phone: str, /) -> Code:
        """Its phone is a web page, on which nothing is typed."""
        raise NoPairing

    async def logout(self, device_id: int) -> None:
        """The device has no phone, and no code from before gives it one."""
        await self._ask(_UNLINK, device_id, secrets.token_bytes(_NONCE_BYTES))

    async def close(self) -> None:
        """There is nothing to release."""

    async def good(self, token: str) -> bool:
        """Whether this token would link a device now."""
        read = self._read(token)
        return read is not None and await self._ask(_GOOD, *read) is not None

    async def use(self, token: str) -> bool:
        """Link the device of this token, which is used up; False, and nothing is done, when it is
        none, over, or used."""
        read = self._read(token)
        if read is None or await self._ask(_LINK, *read) is None:
            return False
        await self._host.linked(read[0], _phone(read[0]))
        return True

    async def _ask(self, statement: str, *values: object) -> Any:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._host.pool.fetchrow(statement, *values)
        except _OUT_OF_REACH as error:
            raise OutOfReach(type(error).__name__) from error

    def _address(self, device_id: int, nonce: bytes) -> str:
        data = device_id.to_bytes(8) + nonce
        token = base64.urlsafe_b64encode(data + self._sign(data)).decode()
        return f"{self._host.public_url()}{PATH}{token}"

    def _read(self, token: str) -> tuple[int, bytes] | None:
        """Device and nonce, if the token was made here."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            return None
        data, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
        if len(raw) != _TOKEN_BYTES or not hmac.compare_digest(signature, self._sign(data)):
            return None
        return int.from_bytes(data[:8]), data[8:]

    def _sign(self, data: bytes) -> bytes:
        message = b"simulator code" + data
        return hmac.digest(self._host.secret, message, "sha256")[:_SIGNATURE_BYTES]


def _phone(device_id: int) -> str:
    """The phone that a simulated device turns out to have."""
    return f"+60115551{device_id % 10_000:04}"
