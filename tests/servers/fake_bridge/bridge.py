"""A bridge without browsers: protocol 1 on a real unix socket, with phones that do as scripted."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from drivers.wwebjs.names import wa_id_of
from tests.servers.fake_bridge.events import LOG_ID, now
from tests.servers.fake_bridge.phones import AT_REST, Device, Json, Phones, Sending, Way

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """What is answered instead."""

    def __init__(self, status: int, code: str, **members: object) -> None:
        super().__init__(code)
        self.answer = problem(status, code, **members)


def problem(status: int, code: str, **members: object) -> web.Response:
    """What a caller is told."""
    body = {"code": code, "detail": "As scripted.", **members}
    return web.json_response(body, status=status)


class FakeBridge(Phones):
    """Devices and their events outlive `vanish`, as those of a bridge outlive its process."""

    def __init__(self, socket: Path) -> None:
        super().__init__()
        self.socket = socket
        #: it is there, and yet of no use
        self.ill = False
        #: times that somebody has looked whether it is there
        self.looks = 0
        self._tries: dict[str, int] = {}
        self._runner: web.AppRunner | None = None
        self._mute: asyncio.Server | None = None
        self._unanswered: list[asyncio.StreamWriter] = []

    async def vanish(self) -> None:
        """The process is gone, with every connection."""
        assert self._runner is not None
        runner, self._runner, self.heard = self._runner, None, False
        self.events.interrupt()
        assert runner.server is not None
        for handler in runner.server.connections:
            if handler.transport is not None:
                handler.transport.abort()
        await runner.cleanup()

    async def go_mute(self) -> None:
        """Connections are cut, new ones are taken, and nothing is answered any more."""
        # At no moment is there nobody who takes them.
        mute = self.socket.with_suffix(".mute")
        self._mute = await asyncio.start_unix_server(self._never_answer, str(mute))
        mute.replace(self.socket)
        await self.vanish()

    async def _never_answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._unanswered.append(writer)
        with suppress(ConnectionError):
            while await reader.read(65_536):
                continue
        writer.close()

    async def reappear(self) -> None:
        """It is back."""
        if self._mute is not None:
            self._mute.close()
            for writer in self._unanswered:
                writer.transport.abort()
            self._mute = None
        app = web.Application(middlewares=[_with_problems])
        device = "/v1/devices/{device}"
        app.add_routes(
            [
                web.get("/v1/health", self._health),
                web.get("/v1/devices", self._list),
                web.get(device, self._one),
                web.put(device, self._put),
                web.delete(device, self._delete),
                web.get(f"{device}/qr", self._qr),
                web.post(f"{device}/pairing-code", self._pairing_code),
                web.post(f"{device}/check", self._check),
                web.post(f"{device}/restart", self._restart),
                web.post(f"{device}/logout", self._logout),
                web.post(f"{device}/messages", self._send),
                web.get(device + "/messages/{wa_id}", self._look_up),
                web.get("/v1/events", self.events.serve),
                web.post("/v1/events/ack", self._acknowledge),
            ]
        )
        self.heard = True
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    # What the driver asks

    async def _health(self, _: web.Request) -> web.Response:
        self.looks += 1
        if self.ill:
            return problem(503, "unavailable")
        return web.json_response(
            {
                "protocol": 1,
                "boot_id": self.events.boot_id,
                "log_id": LOG_ID,
                "pid": os.getpid(),
                "versions": {"bridge": "0", "library": "0", "browser": None},
                "seq": self.events.last,
                "acked": self.events.acknowledged,
                "rss_bytes": 1,
                "devices": len(self._devices),
                "rejections": 0,
            }
        )

    async def _list(self, _: web.Request) -> web.Response:
        shown = [self._devices[name].shown() for name in sorted(self._devices)]
        return web.json_response({"devices": shown})

    async def _one(self, request: web.Request) -> web.Response:
        return web.json_response(self._device(request).shown())

    async def _put(self, request: web.Request) -> web.Response:
        asked = await _body(request, "desired", optional=("proxy",))
        name = _name(request)
        device = self._devices.setdefault(name, Device(name))
        device.desired = asked["desired"]
        if device.desired == "down":
            self.move(name, "stopped", reason="desired")
        elif device.state in AT_REST:
            self.move(name, "starting", reason="desired")
            self.bring_up(device)
        return web.json_response(device.shown())

    async def _delete(self, request: web.Request) -> web.Response:
        self._devices.pop(_name(request), None)
        return web.Response(status=204)

    async def _qr(self, request: web.Request) -> web.Response:
        device = self._showing(request)
        return web.json_response({"code": device.code, "issued_at": device.issued_at})

    async def _pairing_code(self, request: web.Request) -> web.Response:
        phone = (await _body(request, "phone"))["phone"]
        made = f"{next(self._codes):08}", now()
        code, issued_at = self._showing(request).pairing.setdefault(phone, made)
        return web.json_response({"code": code, "issued_at": issued_at})

    async def _check(self, request: web.Request) -> web.Response:
        asked = await _body(request, "phone")
        self._ready(request)
        way = self.ways.get(asked["phone"], Way())
        return web.json_response({"registered": not way.stranger})

    async def _restart(self, request: web.Request) -> web.Response:
        device = self._device(request)
        device.restarts += 1
        self.move(device.id, "starting", reason="restart")
        shown = device.shown()
        self.bring_up(device)
        return web.json_response(shown, status=202)

    async def _logout(self, request: web.Request) -> web.Response:
        device = self._device(request)
        self.move(device.id, "logged_out", reason="logout")
        return web.json_response(device.shown())

    async def _send(self, request: web.Request) -> web.StreamResponse:
        asked = await _body(request, "id", "epoch", "to", "text")
        device = self._device(request)
        if asked["epoch"] < device.epoch:
            self.journal.append(Sending(device.id, asked["id"], accepted=False))
            raise Refused(409, "stale_epoch", epoch=device.epoch)
        device.epoch = asked["epoch"]
        self._ready(request)
        way = self.ways.get(asked["to"], Way())
        wa_id = wa_id_of(device.id, asked["id"])
        self._refuse(device, asked["id"], wa_id, way)
        if way.cut == "before":
            way.cut = ""
            return _cut(request)
        duplicate = wa_id in device.acks
        self.journal.append(Sending(device.id, asked["id"], accepted=not duplicate))
        if not duplicate:
            self.hand(device, wa_id, asked["to"])
        if way.cut == "after":
            way.cut = ""
            return _cut(request)
        if way.silent:
            raise Refused(504, "unknown_outcome")
        await asyncio.sleep(way.after_seconds)
        return web.json_response(
            {
                "wa_id": wa_id,
                "status": "pending" if way.pending else "sent",
                "ack": 0 if way.pending else max(device.acks[wa_id], 1),
                "duplicate": duplicate,
                "new_chat": None if duplicate else way.new_chat,
            }
        )

    def _refuse(self, device: Device, id_: str, wa_id: str, way: Way) -> None:
        tries = self._tries[id_] = self._tries.get(id_, 0) + 1
        refusal = way.answers[tries - 1] if tries <= len(way.answers) else None
        if way.stranger:
            refusal = (422, "not_on_whatsapp")
        if refusal or way.cut == "before":
            self.journal.append(Sending(device.id, id_, accepted=False))
        if refusal is None:
            return
        if refusal[1] == "failed":
            raise Refused(*refusal, wa_id=wa_id, new_chat=way.new_chat if tries == 1 else None)
        raise Refused(*refusal)

    async def _look_up(self, request: web.Request) -> web.Response:
        device = self._ready(request)
        if self.ways.get(request.query["to"], Way()).silent:
            raise Refused(504, "unknown_outcome")
        wa_id = request.match_info["wa_id"]
        ack = device.acks.get(wa_id)
        return web.json_response({"wa_id": wa_id, "found": ack is not None, "ack": ack})

    async def _acknowledge(self, request: web.Request) -> web.Response:
        upto = (await _body(request, "upto"))["upto"]
        if upto > self.events.last:
            raise Refused(400, "bad_request")
        self.events.acknowledge(upto)
        return web.json_response({"acked": self.events.acknowledged})

    def _device(self, request: web.Request) -> Device:
        device = self._devices.get(_name(request))
        if device is None:
            raise Refused(404, "unknown_device")
        return device

    def _ready(self, request: web.Request) -> Device:
        device = self._device(request)
        if device.state != "ready":
            raise Refused(503, "device_not_ready", state=device.state)
        return device

    def _showing(self, request: web.Request) -> Device:
        device = self._device(request)
        if device.code is None:
            raise Refused(409, "no_code", state=device.state)
        return device


@web.middleware
async def _with_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return refused.answer
    except web.HTTPNotFound:
        return problem(404, "not_found")
    except web.HTTPMethodNotAllowed:
        return problem(405, "method_not_allowed")


def _name(request: web.Request) -> str:
    name = request.match_info["device"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise Refused(400, "bad_request")
    return name


async def _body(request: web.Request, *needed: str, optional: tuple[str, ...] = ()) -> Json:
    body: Json = await request.json()
    if set(needed) - body.keys() or body.keys() - {*needed, *optional}:
        raise Refused(400, "bad_request")
    return body


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


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
