"""What is known of persons before they are called: whether they wrote, whether they are refused.

Source: Meta's page on customer service windows. A text goes only to who wrote within 24 hours;
to others only approved templates go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from drivers.meta.errors import code_of, rule_of

TIMEOUT_SECONDS = 5.0
#: A little less than a day, as a message takes a moment to arrive there.
_KNOWN = """
SELECT n.phone, h.code, c.heard_at IS NOT NULL AS window_open
FROM unnest($2::text[]) AS n (phone)
LEFT JOIN conversations c ON c.device_id = $1 AND c.phone = n.phone
    AND c.heard_at > now() - interval '24 hours' + interval '10 seconds'
LEFT JOIN holds h ON h.device_id = $1 AND h.name = 'refused:' || n.phone AND h.hold_until > now()
"""


# Templates that were refused somebody as marketing lately; which are some Meta does not tell.
_MARKETING = """
SELECT name FROM unnest($2::text[]) AS n (name)
WHERE EXISTS (SELECT FROM holds h
    WHERE h.device_id = $1 AND h.name = 'marketing:' || n.name AND h.hold_until > now())
"""


class Person(NamedTuple):
    """Whether they may be sent a text, and the code for which Meta would refuse whatever it is, or
    whatever is marketing."""

    window_open: bool
    refused: int | None = None
    no_marketing: int | None = None


async def known(pool: Any, device_id: int, phones: Sequence[str]) -> dict[str, Person]:
    """What this device knows of each of these."""
    rows = await pool.fetch(_KNOWN, device_id, phones, timeout=TIMEOUT_SECONDS)
    return {row["phone"]: _person(row) for row in rows}


async def marketing(pool: Any, device_id: int, names: Sequence[str]) -> set[str]:
    """Those of these templates that are known to be marketing."""
    rows = await pool.fetch(_MARKETING, device_id, names, timeout=TIMEOUT_SECONDS)
    return {row["name"] for row in rows}


def _person(row: Any) -> Person:
    code = code_of(row["code"]) if row["code"] else None
    if code is not None and rule_of(code).marketing:
        return Person(row["window_open"], no_marketing=code)
    return Person(row["window_open"], code)
