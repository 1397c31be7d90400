"""WhatsApp's server and the phones of its people, for browsers that are sent here."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from tests.servers.certificate import self_signed

PAGE = Path(__file__).parent / "page"
CONTRACT = Path(__file__).parents[3] / "drivers" / "wwebjs" / "bridge" / "contract.json"
HOST = "web.whatsapp.com"
Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that WhatsApp took; `repeated` when it has seen that id from that sender before."""

    sender: str
    phone: str
    wa_id: str
    body: str
    kind: str
    repeated: bool


@dataclass
class Options:
    """How this WhatsApp behaves; may be changed while it runs."""

    #: acks that follow a message by themselves
    acks: tuple[int, ...] = (1, 2, 3)
    #: how long each of them takes
    delay_seconds: float = 0.0
    #: messages are swallowed: neither taken nor answered
    swallow: bool = False
    #: nobody gets in
    closed: bool = False
    #: the page is in sync before the library looks
    sync_at_once: bool = False
    #: modules and members that the page does not have
    missing: list[str] = field(default_factory=list)
    #: the page is not WhatsApp's
    blank: bool = False
    #: chats are known by their LID, not by their number
    lid: bool = False
    #: phones without WhatsApp
    strangers: set[str] = field(default_factory=set)
    #: phones to which every message is refused
    refusing: set[str] = field(default_factory=set)


@dataclass
class Session:
    """A browser that is linked to a phone, and what it has not been told yet."""

    phone: str
    token: str
    socket: web.WebSocketResponse | None = None
    owed: dict[int, Frame] = field(default_factory=dict)


class WhatsAppWeb:
    """Listens on a loopback port; `flags` send a Chromium there and nowhere else."""

    def __init__(self) -> None:
        self.options = Options()
        self.deliveries: list[Delivery] = []
        self.unknown_modules: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._refs: dict[str, web.WebSocketResponse] = {}
        self._typed: dict[str, tuple[str, web.WebSocketResponse]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, folder: Path) -> None:
        """Listen; the certificate is kept in the folder."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/ws", self._serve),
                web.static("/page", PAGE),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        tls, _ = self_signed(folder)
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.port: int = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Everybody is cut off."""
        for session in self._sessions.values():
            await self._cut(session)
        for socket in list(self._refs.values()):
            await socket.close()
        for task in self._tasks:
            task.cancel()
        await self._runner.cleanup()

    @property
    def flags(self) -> list[str]:
        """For Chromium: this is WhatsApp, and there is nothing else in the world."""
        rules = f"MAP {HOST} 127.0.0.1:{self.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        return [f"--host-resolver-rules={rules}", "--ignore-certificate-errors", "--no-sandbox"]

    async def scan(self, code: str, phone: str) -> bool:
        """A phone scans a code; False when it is not one that is shown right now."""
        return await self._pair(self._refs.pop(code.split(",")[0], None), phone)

    async def type(self, code: str, phone: str) -> bool:
        """A person types a code on the phone; False when it is none for it."""
        if self._typed.get(code, ("",))[0] != phone:
            return False
        return await self._pair(self._typed.pop(code)[1], phone)

    async def _pair(self, socket: web.WebSocketResponse | None, phone: str) -> bool:
        if socket is None or socket.closed:
            return False
        # Whatever else the page shows is over.
        self._refs = {ref: one for ref, one in self._refs.items() if one is not socket}
        self._typed = {code: one for code, one in self._typed.items() if one[1] is not socket}
        session = Session(phone, uuid.uuid4().hex)
        self._sessions[session.token] = session
        await socket.send_json({"type": "paired", "token": session.token, **self._who(phone)})
        return True

    async def write(self, phone: str, sender: str, body: str, kind: str = "chat") -> str:
        """A person writes to the phone; the id of the message."""
        wa_id = f"3A{uuid.uuid4().hex[:18].upper()}"
        for session in self._linked(phone):
            frame: Frame = {"type": "msg", "from": self._wid(sender), "phone": f"{sender[1:]}@c.us"}
            frame |= {"id": wa_id, "body": body, "kind": kind, "t": int(time.time())}
            await self._owe(session, frame)
        return wa_id

    async def ack(self, delivery: Delivery, ack: int) -> None:
        """The phone of the recipient tells something of a message."""
        for session in self._linked(delivery.sender):
            frame = {"type": "ack", "to": self._wid(delivery.phone), "id": delivery.wa_id}
            await self._owe(session, frame | {"ack": ack})

    async def unlink(self, phone: str) -> None:
        """The phone ends its links."""
        for session in self._linked(phone):
            del self._sessions[session.token]
            if session.socket and not session.socket.closed:
                await session.socket.send_json({"type": "logout"})

    async def drop(self, phone: str) -> None:
        """The connections of the phone's browsers are cut; they come back by themselves."""
        for session in self._linked(phone):
            await self._cut(session)

    async def push(self, phone: str, frame: Frame) -> None:
        """The phone's browsers are told this: reload, conflict, a state."""
        for session in self._linked(phone):
            if session.socket and not session.socket.closed:
                await session.socket.send_json(frame)

    async def idle(self) -> None:
        """Nobody scans: the pages stop showing codes until they are refreshed."""
        for socket in self._refs.values():
            await socket.send_json({"type": "idle"})
        self._refs.clear()

    async def rotate(self) -> None:
        """Every code shown is replaced."""
        shown, self._refs = self._refs, {}
        for socket in shown.values():
            await self._show(socket)

    def _linked(self, phone: str) -> list[Session]:
        return [session for session in self._sessions.values() if session.phone == phone]

    def _wid(self, phone: str) -> str:
        # A LID says nothing of the number; here it is the number backwards behind a mark.
        return f"99{phone[:0:-1]}@lid" if self.options.lid else f"{phone[1:]}@c.us"

    @staticmethod
    def _phone(wid: str) -> str:
        user, server = wid.split("@")
        return f"+{user[:1:-1]}" if server == "lid" else f"+{user}"

    def _who(self, phone: str) -> Frame:
        return {"me": f"{phone[1:]}@c.us", "lid": f"99{phone[:0:-1]}@lid"}

    async def _index(self, _: web.Request) -> web.Response:
        if self.options.blank:
            return web.Response(text="<!doctype html>", content_type="text/html")
        options = {"sync_at_once": self.options.sync_at_once, "missing": self.options.missing}
        given = f"window.OPTIONS={json.dumps(options)};window.CONTRACT={CONTRACT.read_text()}"
        names = ("parts", "app", "modules")
        scripts = "".join(f'<script src="/page/{name}.js"></script>' for name in names)
        text = f"<!doctype html><title>WhatsApp</title><script>{given}</script>{scripts}"
        return web.Response(text=text, content_type="text/html")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.options.closed:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session: Session | None = None
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                frame = json.loads(message.data)
                if frame["type"] == "hello":
                    session = await self._hello(socket, frame["token"])
                else:
                    await self._take(socket, session, frame)
        return socket

    async def _hello(self, socket: web.WebSocketResponse, token: str | None) -> Session | None:
        session = self._sessions.get(token or "")
        if session is None:
            await (socket.send_json({"type": "logout"}) if token else self._show(socket))
            return None
        session.socket = socket
        await socket.send_json({"type": "open", **self._who(session.phone)})
        for frame in list(session.owed.values()):
            await socket.send_json(frame)
        return session

    async def _show(self, socket: web.WebSocketResponse) -> None:
        ref = f"2@{uuid.uuid4().hex}"
        self._refs[ref] = socket
        await socket.send_json({"type": "ref", "ref": ref})

    async def _take(
        self, socket: web.WebSocketResponse, session: Session | None, frame: Frame
    ) -> None:
        match frame["type"]:
            case "send" if session:
                self._accept(session, frame)
            case "got" if session:
                session.owed.pop(frame["n"], None)
            case "refresh":
                await self._show(socket)
            case "exists":
                phone = f"+{frame['user']}"
                found = None if phone in self.options.strangers else self._wid(phone)
                answer = {"found": found, "phone": f"{frame['user']}@c.us"}
                await socket.send_json({"type": "answer", "q": frame["q"], **answer})
            case "pair":
                code = uuid.uuid4().hex[:8].upper()
                self._typed[code] = (f"+{frame['phone']}", socket)
                await socket.send_json({"type": "answer", "q": frame["q"], "code": code})
            case "logout" if session:
                self._sessions.pop(session.token, None)
                await socket.send_json({"type": "answer", "q": frame["q"]})
            case "unknown":
                self.unknown_modules.add(frame["name"])

    def _accept(self, session: Session, frame: Frame) -> None:
        if self.options.swallow:
            return
        phone = self._phone(frame["to"])
        known = {(one.sender, one.wa_id) for one in self.deliveries}
        repeated = (session.phone, frame["id"]) in known
        refused = phone in self.options.refusing
        body = frame.get("body") or ""
        delivery = Delivery(session.phone, phone, frame["id"], body, frame["kind"], repeated)
        if not refused:
            self.deliveries.append(delivery)
        task = asyncio.create_task(self._tell(delivery, (-1,) if refused else self.options.acks))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, delivery: Delivery, acks: tuple[int, ...]) -> None:
        for ack in acks:
            await asyncio.sleep(self.options.delay_seconds)
            await self.ack(delivery, ack)

    async def _owe(self, session: Session, frame: Frame) -> None:
        number = next(self._numbers)
        session.owed[number] = frame | {"n": number}
        if session.socket and not session.socket.closed:
            try:
                await session.socket.send_json(session.owed[number])
            except ConnectionError:
                return  # told when it comes back

    @staticmethod
    async def _cut(session: Session) -> None:
        if session.socket and not session.socket.closed:
            await session.socket.close()
