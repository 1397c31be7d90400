"""A process that plays WhatsApp: takes calls, journals them, answers, and calls back.

Usage: python -m tests.fault.provider JOURNAL, which prints its port. It speaks JSON lines:
`{"send": {...}}` is a call, answered under its `n`; `{"listen": true}` makes a connection one that
callbacks come through, each pack to be acked by its number; `{"control": {...}}` is the test's.

Every call makes a message, also a second one under the same id, which is what no test may find.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import orjson

from tests.fault.journal import Journal

PACK = 50
ACK_SECONDS = 3.0
LOOK_SECONDS = 0.02
#: What happens to a call unless the test says otherwise.
DELIVERED = {"answer": "sent", "accept": True, "callbacks": [["sent", 0.05], ["delivered", 0.2]]}

Script = Mapping[str, Any]


@dataclass
class Provider:
    """What it remembers, and how it behaves."""

    journal: Journal
    default: Script = field(default_factory=lambda: DELIVERED)
    #: by phone, then by device
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    owed: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    given: dict[int, list[tuple[float, int, dict[str, Any]]]] = field(default_factory=dict)
    acked: dict[int, asyncio.Event] = field(default_factory=dict)
    paused: bool = False
    count: int = 0
    _waiting: list[tuple[dict[str, Any], asyncio.StreamWriter]] = field(default_factory=list)
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listening: asyncio.Task[None] | None = None
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break  # half a call is none
                request = orjson.loads(line)
                if "send" in request:
                    if not self._waiting:
                        asyncio.get_running_loop().call_soon(self._take)
                    self._waiting.append((request, writer))
                elif "listen" in request:
                    listening = asyncio.create_task(self._call_back(writer), name="callbacks")
                elif "ack" in request:
                    self.given.pop(request["ack"], None)
                    if (acked := self.acked.get(request["ack"])) is not None:
                        acked.set()  # else it came too late, and they are told again
                else:
                    writer.write(orjson.dumps(self._control(request["control"])) + b"\n")
        except OSError:
            pass
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            writer.close()

    def _take(self) -> None:
        """All calls that came in this turn of the loop: on the disk, then answered."""
        waiting, self._waiting = self._waiting, []
        lines = []
        chosen = []
        received = time.monotonic()
        for request, writer in waiting:
            call = request["send"]
            script = self._script(call)
            chosen.append((request["n"], call, script, writer))
            lines.append(
                call
                | {
                    "received": received,
                    "accept": script["accept"],
                    "did": script["answer"],
                    "backs": [status for status, _ in script.get("callbacks", ())],
                }
            )
        self.journal.note(*lines)
        for n, call, script, writer in chosen:
            if script["accept"]:
                self._owe(call, script)
            if script["answer"] == "none":
                continue
            answer = {"n": n, "answer": script["answer"]}
            answer |= {key: script[key] for key in ("code", "after", "scope") if key in script}
            if delay := script.get("delay"):
                task = asyncio.create_task(self._answer_late(delay, answer, writer), name="late")
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            else:
                writer.write(orjson.dumps(answer) + b"\n")

    def _script(self, call: Mapping[str, Any]) -> Script:
        for key in (call["phone"], f"device {call['device']}"):
            scripts = self.scripts.get(key)
            if scripts:
                return scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return self.default

    def _owe(self, call: Mapping[str, Any], script: Script) -> None:
        now = time.monotonic()
        for status, after in script.get("callbacks", []):
            self.count += 1
            body = {key: call[key] for key in ("id", "attempt", "device", "phone")}
            heappush(self.owed, (now + after, self.count, body | {"status": status}))

    async def _answer_late(
        self, delay: float, answer: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(delay)
        if not writer.is_closing():
            writer.write(orjson.dumps(answer) + b"\n")

    async def _call_back(self, writer: asyncio.StreamWriter) -> None:
        """Hand over what is due until it is acked; what is not goes to whoever listens next."""
        while not writer.is_closing():
            pack: list[tuple[float, int, dict[str, Any]]] = []
            while self.owed and self.owed[0][0] <= time.monotonic() and len(pack) < PACK:
                pack.append(heappop(self.owed))
            if not pack or self.paused:
                for entry in pack:
                    heappush(self.owed, entry)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            self.count += 1
            number = self.count
            self.given[number] = pack
            acked = self.acked[number] = asyncio.Event()
            try:
                writer.write(orjson.dumps({"pack": number, "of": [e[2] for e in pack]}) + b"\n")
                async with asyncio.timeout(ACK_SECONDS):
                    await acked.wait()
            except (TimeoutError, OSError):
                pass
            finally:
                del self.acked[number]
                for entry in self.given.pop(number, []):
                    heappush(self.owed, entry)

    def _control(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        if "default" in order:
            self.default = order["default"] or DELIVERED
        self.scripts.update(order.get("scripts", {}))
        self.paused = order.get("paused", self.paused)
        for body in order.get("owe", []):
            self.count += 1
            heappush(self.owed, (time.monotonic() + body.pop("after", 0), self.count, body))
        return {"owed": len(self.owed) + sum(map(len, self.given.values()))}


async def main(journal: Path) -> None:
    provider = Provider(Journal(journal))
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.to_thread(sys.stdin.read)  # its owner is gone when this ends


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
