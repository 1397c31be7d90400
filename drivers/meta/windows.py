"""Whether a person may be sent a text: they have to have written within 24 hours.

Source: Meta's page on customer service windows. Outside of one, only approved templates go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TIMEOUT_SECONDS = 5.0
#: A little less than a day, as a message takes a moment to arrive there.
_OPEN = """
SELECT phone FROM conversations
WHERE device_id = $1 AND phone = ANY($2::text[])
    AND heard_at > now() - interval '24 hours' + interval '10 seconds'
"""


async def open_windows(pool: Any, device_id: int, phones: Sequence[str]) -> set[str]:
    """Those of these persons whose window is open."""
    rows = await pool.fetch(_OPEN, device_id, phones, timeout=TIMEOUT_SECONDS)
    return {row["phone"] for row in rows}
