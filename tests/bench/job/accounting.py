"""What work costs, by the operating system, PostgreSQL and RabbitMQ themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

TICK_SECONDS = 1.0 / os.sysconf("SC_CLK_TCK")
#: Statements of the bench itself carry this comment and are not counted.
OURS = "/* bench */"
_STATEMENTS = f"""
SELECT calls, rows, total_exec_time AS ms, query FROM pg_stat_statements s
JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND query NOT LIKE '%{OURS}%'
ORDER BY total_exec_time DESC
"""


def tree(pid: int) -> list[int]:
    """A process and all that came of it and still runs."""
    found = [pid]
    for each in found:
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text().split()
        except OSError:
            continue
        found += [int(child) for child in children]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all that came of it, those included that it has waited for."""
    ticks = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks * TICK_SECONDS


def rss_mib(pid: int) -> float:
    """The memory of one process."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024.0


class Meter:
    """Counts from when it is made: CPU by name of process."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._pids = pids
        self._began = self._read()

    def seconds(self) -> dict[str, float]:
        """CPU seconds since then."""
        return {name: now - self._began[name] for name, now in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self._pids.items()}


async def forget_statements(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Begin to count statements anew."""
    await pool.execute(f"SELECT pg_stat_statements_reset() {OURS}")


async def statements(pool: asyncpg.Pool[asyncpg.Record]) -> list[dict[str, Any]]:
    """Every statement since then, the costliest first."""
    return [dict(row) for row in await pool.fetch(_STATEMENTS)]


async def wal_bytes(pool: asyncpg.Pool[asyncpg.Record]) -> int:
    """How much PostgreSQL has written to its log so far."""
    found: int = await pool.fetchval(
        f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint {OURS}"
    )
    return found


class Neighbours:
    """What else the machine did since this was made."""

    def __init__(self) -> None:
        self._began = time.monotonic(), _busy_seconds(), cpu_seconds(os.getpid())

    def share(self) -> float:
        """Of all cores, what neither this process nor anything that it started has used."""
        began, busy, ours = self._began
        others = _busy_seconds() - busy - (cpu_seconds(os.getpid()) - ours)
        return max(0.0, others / (time.monotonic() - began) / (os.cpu_count() or 1))


def _busy_seconds() -> float:
    """CPU time of all cores but idle and waiting, what the hypervisor took included."""
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * TICK_SECONDS
