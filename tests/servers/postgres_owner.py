"""A process that owns a private PostgreSQL: prints its DSN and process id, then waits for its end.

Usage: python -m tests.servers.postgres_owner FOLDER
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from service.embedded import EmbeddedPostgres


async def own(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=True)
    dsn = await server.start()
    sys.stdout.write(json.dumps({"dsn": dsn, "pid": server.pid}) + "\n")
    sys.stdout.flush()
    try:
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.stop()


if __name__ == "__main__":
    asyncio.run(own(Path(sys.argv[1])))
