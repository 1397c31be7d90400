"""Who is at the other end, behind proxies that are trusted to say so."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from service.core.addresses import Network

#: A single customer commonly has as many IPv6 addresses as this leaves open.
_IPV6_PREFIX_BITS = 64


def client_network(peer: str, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str:
    """The client's IPv4 address or IPv6 /64, by which strangers are counted.

    `forwarded_for` are the values of X-Forwarded-For in their order. They are read from the end,
    where our own proxies wrote, and only as far as a trusted one says so; what stands before may
    be invented.
    """
    client = _read(peer)
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    while client is not None and hops and any(client in network for network in trusted):
        named = _read(hops.pop())
        if named is None:
            break
        client = named
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((client, _IPV6_PREFIX_BITS), strict=False))
    return str(client) if client is not None else ""


def _read(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address
