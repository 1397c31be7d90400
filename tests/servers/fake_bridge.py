"""A bridge without browsers: protocol 1 on a real unix socket, with phones that do as scripted."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

Json = dict[str, Any]


@dataclass(slots=True)
class Way:
    """What happens to messages to a phone."""

    #: status and code of the first calls, which send nothing
    answers: list[tuple[int, str]] = field(default_factory=list)
    #: taken, and never spoken of
    silent: bool = False
    #: the connection is cut instead of an answer, once; before or after WhatsApp has it
    cut: str = ""
    #: of the page's outbox: the answer is `pending`
    pending: bool = False
    after_seconds: float = 0.0
    #: events that follow
    acks: tuple[int, ...] = (1, 2)
    #: how often each event is told
    told: int = 1
    reply: str = ""
    new_chat: bool = False


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that reached a device, and whether WhatsApp has made a new message of it."""

    device: str
    id: str
    accepted: bool


@dataclass(slots=True)
class Device:
    """A linked device, or one that wants to be."""

    id: str
    state: str = "stopped"
    me: str | None = None
    reason: str | None = None
    since: str = ""
    epoch: int = 0
    code: str | None = None
    issued_at: str = ""
    #: by the id of WhatsApp's
    acks: dict[str, int] = field(default_factory=dict)

    def shown(self) -> Json:
        return {
            "id": self.id,
            "desired": "up",
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "me": self.me,
            "missing": None,
        }


def problem(status: int, code: str, **members: object) -> web.Response:
    """What a caller is told."""
    body = {"code": code, "detail": "As scripted.", **members}
    return web.json_response(body, status=status)


class FakeBridge:
    """Devices and their events outlive `vanish`, as those of a bridge outlive its process."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.ways: dict[str, Way] = {}
        self.journal: list[Sending] = []
        self.acknowledged = 0
        #: it is there, and yet of no use
        self.ill = False
        #: times that somebody has looked whether it is there
        self.looks = 0
        self._devices: dict[str, Device] = {}
        self._events: list[bytes] = []
        self._news = asyncio.Event()
        self._codes = count(1)
        self._tries: dict[str, int] = {}
        self._runner: web.AppRunner | None = None

    # What a test does

    def link(self, device: str, me: str) -> None:
        """The device has its phone."""
        self._devices[device] = Device(device, "ready", me, since=_now())

    def devices(self) -> list[str]:
        """Those it knows."""
        return sorted(self._devices)

    def lose(self) -> None:
        """Its data folder is gone."""
        self._devices.clear()

    def code(self, device: str) -> str:
        """What the device shows."""
        code = self._devices[device].code
        assert code is not None
        return code

    def rotate(self, device: str) -> None:
        """WhatsApp replaces the code."""
        found = self._devices[device]
        found.code, found.issued_at = f"2@code-{device}-{next(self._codes)}", _now()
        self.tell(device, "qr", code=found.code)

    async def scan(self, code: str, me: str) -> bool:
        """Hold a phone to the code; whether that linked a device."""
        for device in self._devices.values():
            if device.code == code:
                device.code = None
                self.move(device.id, "ready", me=me)
                return True
        return False

    def move(self, device: str, state: str, *, me: str | None = None, reason: str = "") -> None:
        """Put a device into a state, and tell of it."""
        found = self._devices[device]
        found.state, found.me, found.reason, found.since = state, me, reason or None, _now()
        self.tell(device, "state", state=state, me=me, reason=found.reason, missing=None)

    def tell(self, device: str, type_: str, **members: object) -> None:
        """Write an event."""
        event = {"seq": len(self._events) + 1, "boot_id": "b", "at": _now(), "device": device}
        self.write(orjson.dumps(event | {"type": type_} | members))

    @property
    def written(self) -> int:
        """Events so far."""
        return len(self._events)

    def write(self, line: bytes) -> None:
        """Write whatever it is where an event belongs."""
        self._events.append(line)
        self._news.set()
        self._news = asyncio.Event()

    async def vanish(self) -> None:
        """The process is gone, with every connection."""
        assert self._runner is not None
        runner, self._runner = self._runner, None
        self._news.set()
        self._news = asyncio.Event()
        assert runner.server is not None
        for handler in runner.server.connections:
            if handler.transport is not None:
                handler.transport.abort()
        await runner.cleanup()

    async def reappear(self) -> None:
        """It is back."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/v1/health", self._health),
                web.get("/v1/devices", self._list),
                web.get("/v1/devices/{device}", self._one),
                web.put("/v1/devices/{device}", self._put),
                web.delete("/v1/devices/{device}", self._delete),
                web.get("/v1/devices/{device}/qr", self._qr),
                web.post("/v1/devices/{device}/logout", self._logout),
                web.post("/v1/devices/{device}/messages", self._send),
                web.get("/v1/devices/{device}/messages/{wa_id}", self._look_up),
                web.get("/v1/events", self._stream),
                web.post("/v1/events/ack", self._acknowledge),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    # What the driver asks

    async def _health(self, _: web.Request) -> web.Response:
        self.looks += 1
        if self.ill:
            return problem(503, "unavailable")
        return web.json_response({"protocol": 1, "devices": len(self._devices)})

    async def _list(self, _: web.Request) -> web.Response:
        shown = [self._devices[name].shown() for name in sorted(self._devices)]
        return web.json_response({"devices": shown})

    async def _one(self, request: web.Request) -> web.Response:
        device = self._devices.get(request.match_info["device"])
        return problem(404, "unknown_device") if device is None else _shown(device)

    async def _put(self, request: web.Request) -> web.Response:
        name = request.match_info["device"]
        device = self._devices.setdefault(name, Device(name))
        if device.state in ("stopped", "logged_out", "conflict", "incompatible", "crashed"):
            device.code = f"2@code-{name}-{next(self._codes)}"
            device.issued_at = _now()
            self.move(name, "qr")
        return _shown(device)

    async def _delete(self, request: web.Request) -> web.Response:
        self._devices.pop(request.match_info["device"], None)
        return web.Response(status=204)

    async def _qr(self, request: web.Request) -> web.Response:
        device = self._devices[request.match_info["device"]]
        if device.code is None:
            return problem(409, "no_code", state=device.state)
        return web.json_response({"code": device.code, "issued_at": device.issued_at})

    async def _logout(self, request: web.Request) -> web.Response:
        device = self._devices.get(request.match_info["device"])
        if device is None:
            return problem(404, "unknown_device")
        device.code = None
        self.move(device.id, "logged_out", reason="logout")
        return _shown(device)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        device = self._devices.get(request.match_info["device"])
        asked = await request.json()
        if device is None:
            return problem(404, "unknown_device")
        if device.state != "ready":
            return problem(503, "device_not_ready", state=device.state)
        if asked["epoch"] < device.epoch:
            self.journal.append(Sending(device.id, asked["id"], accepted=False))
            return problem(409, "stale_epoch", epoch=device.epoch)
        device.epoch = asked["epoch"]
        way = self.ways.get(asked["to"], Way())
        tries = self._tries[asked["id"]] = self._tries.get(asked["id"], 0) + 1
        refused = way.answers[tries - 1] if tries <= len(way.answers) else None
        if refused or way.cut == "before":
            self.journal.append(Sending(device.id, asked["id"], accepted=False))
        if refused:
            status, code = refused
            if code == "failed":
                return problem(status, code, new_chat=way.new_chat)
            return problem(status, code)
        if way.cut == "before":
            way.cut = ""
            return _cut(request)
        name = f"{device.id}/{asked['id']}"
        wa_id = "3EB0" + hashlib.sha256(name.encode()).hexdigest()[:18].upper()
        duplicate = wa_id in device.acks
        self.journal.append(Sending(device.id, asked["id"], accepted=not duplicate))
        if not duplicate:
            self._go_out(device, wa_id, way, asked["to"])
        if way.cut == "after":
            way.cut = ""
            return _cut(request)
        if way.silent:
            return problem(504, "unknown_outcome")
        await asyncio.sleep(way.after_seconds)
        return web.json_response(
            {
                "wa_id": wa_id,
                "status": "pending" if way.pending else "sent",
                "ack": 0 if way.pending else 1,
                "duplicate": duplicate,
                "new_chat": None if duplicate else way.new_chat,
            }
        )

    def _go_out(self, device: Device, wa_id: str, way: Way, phone: str) -> None:
        device.acks[wa_id] = 0 if way.silent or way.pending else 1
        for ack in way.acks:
            device.acks[wa_id] = ack
            for _ in range(way.told):
                self.tell(device.id, "ack", wa_id=wa_id, ack=ack)
        if way.reply:
            said: Json = {"from": f"{phone[1:]}@c.us", "phone": phone, "text": way.reply}
            said |= {"kind": "chat", "t": _now(), "swept": False, "wa_id": f"in.{wa_id}"}
            self.tell(device.id, "inbound", **said)

    async def _look_up(self, request: web.Request) -> web.Response:
        device = self._devices[request.match_info["device"]]
        if device.state != "ready":
            return problem(503, "device_not_ready", state=device.state)
        if self.ways.get(request.query["to"], Way()).silent:
            return problem(504, "unknown_outcome")
        wa_id = request.match_info["wa_id"]
        ack = device.acks.get(wa_id)
        return web.json_response({"wa_id": wa_id, "found": ack is not None, "ack": ack})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        runner, told = self._runner, self.acknowledged
        hello = {"type": "hello", "protocol": 1, "boot_id": "b", "log_id": "l", "seq": told}
        await response.write(orjson.dumps(hello) + b"\n")
        while self._runner is runner:
            news = self._news
            for event in self._events[told:]:
                await response.write(event + b"\n")
            told = len(self._events)
            await news.wait()
        return response

    async def _acknowledge(self, request: web.Request) -> web.Response:
        self.acknowledged = max(self.acknowledged, (await request.json())["upto"])
        return web.json_response({"acked": self.acknowledged})


def _shown(device: Device) -> web.Response:
    return web.json_response(device.shown())


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _now() -> str:
    # Rounded up, as a code is not issued before it was asked for.
    now = datetime.now(UTC).timestamp()
    at = datetime.fromtimestamp(-(-now * 1000 // 1) / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@asynccontextmanager
async def fake_bridge() -> AsyncIterator[FakeBridge]:
    """A bridge that listens."""
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        bridge = FakeBridge(Path(folder) / "bridge.sock")
        await bridge.reappear()
        try:
            yield bridge
        finally:
            if bridge._runner is not None:  # noqa: SLF001 - its own module
                await bridge.vanish()
