"""How the database would do what a statement asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson

_PARTITION = re.compile(r"_\d{6}")


class Explained:
    """Stands in for a connection, or a pool: explains what it is asked instead of doing it.

    Each statement is planned for its values, and once more as a server does that has been asked
    often: for any values.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self.plans: list[str] = []

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Explain; there are no rows."""
        custom = await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)
        self.plans.append(custom)
        self.plans.append(await self._generic(statement, values))
        return []

    async def execute(self, statement: str, *values: Any) -> None:
        """Explain; what is set for a transaction is set, as each statement is in one of its own."""
        if "SET LOCAL" in statement:
            await self._connection.execute(statement.replace("SET LOCAL", "SET"))
        else:
            await self.fetch(statement, *values)

    async def fetchrow(self, statement: str, *values: Any) -> None:
        """Explain."""
        await self.fetch(statement, *values)

    async def fetchval(self, statement: str, *values: Any) -> None:
        """Explain."""
        await self.fetch(statement, *values)

    async def _generic(self, statement: str, values: tuple[Any, ...]) -> str:
        prepared = await self._connection.prepare(statement)
        literals = []
        for value, kind in zip(values, prepared.get_parameters(), strict=True):
            name = f"{kind.name.removesuffix('[]')}[]" if kind.kind == "array" else kind.name
            literals.append(
                await self._connection.fetchval(
                    f"SELECT quote_nullable($1::{name}::text) || '::{name}'", value
                )
            )
        await self._connection.execute("SET plan_cache_mode = force_generic_plan")
        await self._connection.execute(f"PREPARE generic AS {statement}")
        plan: str = await self._connection.fetchval(
            f"EXPLAIN (FORMAT JSON) EXECUTE generic ({', '.join(literals)})"
        )
        await self._connection.execute("DEALLOCATE generic; RESET plan_cache_mode")
        return plan

    @property
    def scans(self) -> set[tuple[str, str]]:
        """Table and index, or table and kind of scan, over all plans and partitions."""
        nodes = [node for plan in self.plans for node in _nodes(orjson.loads(plan)[0]["Plan"])]
        return {
            (_PARTITION.sub("", node["Relation Name"]), _PARTITION.sub("", _way(node)))
            for node in nodes
            if "Relation Name" in node and node["Node Type"] != "ModifyTable"
        }

    @property
    def comparisons(self) -> list[str]:
        """What is compared for each row of one side with each of the other, over all plans."""
        nodes = [node for plan in self.plans for node in _nodes(orjson.loads(plan)[0]["Plan"])]
        loops = [node for node in nodes if node["Node Type"] == "Nested Loop"]
        return [node["Join Filter"] for node in loops if "Join Filter" in node]

    @property
    def partitions(self) -> list[set[str]]:
        """The partitions that each plan reads."""
        return [set(re.findall(r'"Relation Name": "(messages_\d+)"', plan)) for plan in self.plans]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _way(node: dict[str, Any]) -> str:
    """The index that a scan uses, else its kind; a bitmap's index stands below it."""
    if node["Node Type"] == "Bitmap Heap Scan":
        return "+".join(each["Index Name"] for each in _nodes(node) if "Index Name" in each)
    way: str = node.get("Index Name", node["Node Type"])
    return way
