"""Group commit: whatever asks while a statement is in flight goes into the next one."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from service.telemetry import metrics

Item = TypeVar("Item")
Result = TypeVar("Result")


class Closed(Exception):
    """The group commit was closed before this could be written."""


class GroupCommit(Generic[Item, Result]):
    """Runs `flush` on everything asked since the last flush began, one flush at a time.

    `flush` takes the items of many callers in the order they came and answers one result per
    item, in the same order. If it raises, every caller in that flush gets the exception. One
    future stands for all the items of a call, so that a message costs no object here.

    Flushes begin at least `apart_seconds` apart, unless one is full: in a trickle each carries
    more, and what comes alone does not wait.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        name: str,
        most_items: int = 2000,
        apart_seconds: float = 0.0,
    ) -> None:
        self._flush = flush
        self._name = name
        self._most_items = most_items
        self._apart_seconds = apart_seconds
        self._began = -math.inf
        self._waiting: deque[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]] = deque()
        self._items_waiting = 0
        self._wake = asyncio.Event()
        self._enough = asyncio.Event()
        self._closing = False
        self._runner: asyncio.Task[None] | None = None
        self._size = metrics.GROUP_SIZE.labels(name)
        self._seconds = metrics.GROUP_SECONDS.labels(name)

    @property
    def depth(self) -> int:
        """Items that wait or are in flight."""
        return self._items_waiting

    def start(self) -> None:
        """Begin to flush; the runner is awaited by `close`."""
        self._runner = asyncio.create_task(self._run(), name=f"group-commit:{self._name}")

    def put(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Result]]:
        """Ask for these items, without waiting; the future holds their results."""
        future: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        if self._closing:
            future.set_exception(Closed(self._name))
            return future
        self._waiting.append((items, future))
        self._items_waiting += len(items)
        self._wake.set()
        if self._items_waiting >= self._most_items:
            self._enough.set()
        return future

    async def close(self) -> None:
        """Flush what was asked before, then stop."""
        self._closing = True
        self._wake.set()
        self._enough.set()
        if self._runner is not None:
            await self._runner

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._gather()
            await self._flush_once()

    async def _gather(self) -> None:
        """Let more come, until the last flush began long enough ago."""
        rest = self._began + self._apart_seconds - time.monotonic()
        if rest <= 0 or self._items_waiting >= self._most_items or self._closing:
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await self._enough.wait()

    async def _flush_once(self) -> None:
        group = [self._waiting.popleft()]
        size = len(group[0][0])
        while self._waiting and size + len(self._waiting[0][0]) <= self._most_items:
            group.append(self._waiting.popleft())
            size += len(group[-1][0])
        items = [item for part, _ in group for item in part]
        began = self._began = time.monotonic()
        try:
            results = await self._flush(items)
        except Exception as error:  # noqa: BLE001 - handed to every caller
            self._answer_error(group, error)
        else:
            start = 0
            for part, future in group:
                if not future.cancelled():
                    future.set_result(results[start : start + len(part)])
                start += len(part)
        finally:
            self._items_waiting -= size
            self._size.observe(size)
            self._seconds.observe(time.monotonic() - began)

    def _answer_error(
        self,
        group: list[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]],
        error: Exception,
    ) -> None:
        for _, future in group:
            if not future.cancelled():
                future.set_exception(error)
