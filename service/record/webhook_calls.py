"""The HTTP side of outgoing webhooks: only to addresses they may reach, and for a bounded time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from service.core.addresses import Network, reachable

CALL_SECONDS = 15.0
CONNECT_SECONDS = 5.0
RESOLVE_SECONDS = 5.0
#: Above the calls at once, as one that waited here would wait within its own time.
CONNECTIONS = 300


class Unreachable(Exception):
    """The address of a webhook is one it may not reach; the text says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said; `status` is None when it said nothing, and `error` says why."""

    status: int | None
    error: str
    retry_after_seconds: float | None = None


class _GuardedResolver(AbstractResolver):
    """Answers only addresses that may be reached, at the moment of the connection.

    A name that pointed elsewhere when the endpoint was saved (DNS rebinding) is refused here.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        open_ones = [each for each in found if reachable(each["host"], self._allowed)]
        if not open_ones:
            raise OSError("the name points to no address that webhooks may reach")
        return open_ones

    async def close(self) -> None:
        await self._resolver.close()


class WebhookCalls:
    """Posts webhooks. Redirects are not followed and no answer's body is read."""

    def __init__(self, allowed: Sequence[Network], user_agent: str) -> None:
        self._allowed = allowed
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One try; never raises for what the other side does."""
        target = URL(url)
        if _is_literal(target) and not reachable(target.host or "", self._allowed):
            return Answer(None, "the address is one that webhooks may not reach")
        try:
            async with self._open().post(
                target, data=body, headers=headers, allow_redirects=False
            ) as response:
                wish = _seconds(response.headers.get("Retry-After"))
                error = "" if response.ok else f"answered {response.status}"
                return Answer(response.status, error, wish)
        except TimeoutError:
            return Answer(None, f"no answer within {CALL_SECONDS:g} seconds")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, f"no answer: {type(error).__name__}")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_GuardedResolver(self._allowed),
                    use_dns_cache=False,
                    limit=CONNECTIONS,
                    # A kept connection was checked when it was made.
                    keepalive_timeout=15.0,
                ),
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS, connect=CONNECT_SECONDS),
                headers={"User-Agent": self._user_agent},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


async def check_address(url: str, allowed: Sequence[Network]) -> None:
    """Raises Unreachable for a URL that no webhook may be sent to, as far as can be told now."""
    target = URL(url)
    host = target.host or ""
    if _is_literal(target):
        found = [host]
    else:
        resolver = ThreadedResolver()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = [each["host"] for each in await resolver.resolve(host, target.port or 443)]
        except (TimeoutError, OSError, UnicodeError) as error:
            raise Unreachable("The name of the host cannot be resolved.") from error
    if not found or not all(reachable(address, allowed) for address in found):
        raise Unreachable("The host is not on the public internet.")


def _is_literal(target: URL) -> bool:
    host = target.host or ""
    return ":" in host or host.replace(".", "").isdigit()


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in its two forms; None for what is neither."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
