"""The driver that speaks to `provider.py`. It cannot repeat a send, as no real provider can."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson
import structlog

from drivers.driver import (
    Callback,
    Failed,
    Host,
    Inbound,
    Outcome,
    Report,
    Retry,
    Scope,
    Send,
    Sent,
    Unconfirmed,
)
from service.core.lifecycle import Status

log = structlog.get_logger(__name__)

#: Where the provider, or the proxy before it, listens.
PORT = "FAULT_PROVIDER_PORT"
CALL_SECONDS = float(os.environ.get("FAULT_CALL_SECONDS", "3"))
CONNECT_SECONDS = 1.0
CLOSE_SECONDS = 2.0
RETRY_SECONDS = 0.2


class Connection:
    """One connection to the provider; many calls are under way on it at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read(reader), name="wire:read")

    @property
    def usable(self) -> bool:
        return not self._reading.done() and not self.writer.is_closing()

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                answer = orjson.loads(line)
                future = self.waiting.pop(answer["n"], None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except (OSError, ValueError):
            pass  # half an answer is none
        finally:
            self.writer.close()
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError("lost"))


class Wire:
    """The `wire` driver."""

    repeats = False
    batch_limit = 100
    in_flight_limit = 500

    async def start(self, host: Host) -> None:
        self._host = host
        self._port = int(os.environ[PORT])
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._numbers = count(1)
        self._listening = asyncio.create_task(self._listen_for_ever(), name="wire:listen")

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        try:
            connection = await self._open()
        except (OSError, TimeoutError):
            return  # nothing begun: it all goes back to its queue
        calls: list[tuple[Send, int, asyncio.Future[dict[str, Any]]]] = []
        for send in batch:
            if not connection.usable:
                break
            number = next(self._numbers)
            future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            before = time.monotonic()
            if not report.begin(send):
                continue
            connection.waiting[number] = future
            call = {
                "id": send.message_id,
                "attempt": send.attempt,
                "device": send.device_id,
                "epoch": send.epoch,
                "phone": send.phone,
                "pid": os.getpid(),
                # The engine took its time of the call between these two.
                "before": before,
                "at": time.monotonic(),
            }
            connection.writer.write(orjson.dumps({"n": number, "send": call}) + b"\n")
            report.made([send])
            calls.append((send, number, future))
        await asyncio.gather(*(_finish(connection, report, *call) for call in calls))

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def _open(self) -> Connection:
        async with self._opening:
            if self._connection is None or not self._connection.usable:
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await asyncio.open_connection("127.0.0.1", self._port)
                self._connection = Connection(*streams)
            return self._connection

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it was, they are still owed
                log.warning("wire_lost", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b'{"listen": true}\n')
            while line := await reader.readline():
                pack = orjson.loads(line)
                await self._host.call_back([_callback(item) for item in pack["of"]])
                writer.write(orjson.dumps({"ack": pack["pack"]}) + b"\n")
        finally:
            writer.close()


async def _finish(
    connection: Connection,
    report: Report,
    send: Send,
    number: int,
    future: asyncio.Future[dict[str, Any]],
) -> None:
    report.done(send, await _outcome(send, future))
    connection.waiting.pop(number, None)


async def _outcome(send: Send, future: asyncio.Future[dict[str, Any]]) -> Outcome:
    try:
        async with asyncio.timeout(CALL_SECONDS):
            answer = await future
    except TimeoutError:
        return Unconfirmed("no_answer")
    except OSError:
        return Unconfirmed("connection_lost")
    code = answer.get("code", answer["answer"])
    match answer["answer"]:
        case "sent":
            return Sent(f"wire.{send.message_id}.{send.attempt}")
        case "failed":
            return Failed(code, "refused")
        case "retry":
            scope = Scope(answer.get("scope", "message"))
            return Retry(code, answer.get("after"), scope, counts=scope is Scope.MESSAGE)
    return Unconfirmed(code)


def _callback(item: dict[str, Any]) -> Callback | Inbound:
    now = datetime.now(UTC)
    if "text" in item:
        return Inbound(item["device"], item["phone"], item["text"], f"in.{item['phone']}", now)
    provider_id = f"wire.{item['id']}.{item['attempt']}"
    code = "undeliverable" if item["status"] == "failed" else None
    return Callback(
        item["id"], item["attempt"], Status(item["status"]), now, provider_id, code, code
    )
