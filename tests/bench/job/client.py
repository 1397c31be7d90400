"""What the HTTP client of the `meta` driver costs alone: python -m tests.bench.job.client URL N.

Prints CPU-ms a call; so many are in flight as a dispatcher has.
"""

from __future__ import annotations

import asyncio
import sys
import time

from drivers.meta.calls import CONNECTIONS_LIMIT, Calls

BODY = b'{"messaging_product":"whatsapp","to":"60120000000","type":"text","text":{"body":"hello"}}'
WARM = 500


async def call(url: str, count: int) -> float:
    calls = Calls(url, "a-token-of-tests")
    left = iter(range(count + WARM))
    began = 0.0

    async def caller() -> None:
        nonlocal began
        for n in left:
            if n == WARM:
                began = time.process_time()
            await calls.post("/v24.0/106540352242922/messages", BODY, lambda: True)

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS_LIMIT)))
    spent = time.process_time() - began
    await calls.close()
    return spent * 1000 / count


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(call(sys.argv[1], int(sys.argv[2]))):.5f}\n")
