"""Which addresses an outgoing webhook may reach: public ones, and networks that were allowed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Networks that carry an IPv4 address inside an IPv6 one, and where it begins (RFC 6052, 3056).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


def read_networks(text: str) -> list[Network]:
    """Networks in CIDR form, divided by commas; raises ValueError."""
    return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]


def reachable(address: str, allowed: Sequence[Network]) -> bool:
    """Whether a webhook may be sent there; what is no address may not."""
    try:
        # A scope (fe80::1%eth0) only occurs with addresses that are never public.
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_public(each) or _in(each, allowed) for each in _meanings(found))


def _meanings(address: Address) -> list[Address]:
    """The address, and the IPv4 address it stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address in _NAT64:
        return [address, ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)]
    return [address]


def _public(address: Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and address in _SITE_LOCAL
    return address.is_global and not address.is_multicast and not site_local


def _in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
