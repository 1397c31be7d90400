"""The server: takes calls, keeps a journal of them, and calls back."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.servers.cloud_api.callbacks import (
    contact,
    encode,
    error_document,
    inbound,
    messages_value,
    notification,
    sign,
    status,
)
from tests.servers.cloud_api.requests import Message, Refused, check_caller, read_message
from tests.servers.cloud_api.script import Behaviour, Fault, Number

CALL_BACK_SECONDS = 10.0
#: Tries of one webhook; Meta tries for days.
CALL_BACK_TRIES = 50
CALL_BACK_AGAIN_SECONDS = 0.2
ENDLESS_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """A call, and whether a message came of it; `at` is monotonic seconds."""

    at: float
    phone_number_id: str
    message: Message
    taken: bool
    code: int | None = None


class CloudApi:
    """A Graph API of some numbers on a port of loopback; `journal` has every call.

    Callbacks go to `webhook_url` while it is set, each `repeats` times, in random order when
    `shuffled`.
    """

    def __init__(self, *numbers: Number, seed: int = 1) -> None:
        self.numbers = {number.phone_number_id: number for number in numbers}
        self.behaviours: dict[str, Behaviour] = {}
        self.default = Behaviour()
        self.journal: list[Received] = []
        self.media: dict[str, bytes] = {}
        self.webhook_url: str | None = None
        self.repeats = 1
        self.shuffled = False
        self.url = ""
        self._random = random.Random(seed)
        self._calls: Counter[str] = Counter()
        self._wamids = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        self._news = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    async def start(self, port: int = 0) -> None:
        """Listen; `url` is the base of the API then."""
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=CALL_BACK_SECONDS),
            connector=aiohttp.TCPConnector(limit=20),
        )
        await self._listen(port)

    async def _listen(self, port: int) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/{version:v[0-9.]+}/{number}/messages", self._messages),
                web.post("/{version:v[0-9.]+}/{number}/media", self._media),
                web.get("/{version:v[0-9.]+}/{number}", self._number),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def vanish(self) -> None:
        """Leave the port, and close every connection."""
        assert self._runner is not None, "start() was called"
        await self._runner.cleanup()

    async def reappear(self) -> None:
        """Listen on the same port again."""
        await self._listen(int(self.url.rpartition(":")[2]))

    async def close(self) -> None:
        """Stop listening and calling back."""
        self._released.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    async def received(self, calls: int) -> None:
        """Wait until so many calls are in the journal."""
        while len(self.journal) < calls:
            self._news.clear()
            await self._news.wait()

    async def called_back(self) -> None:
        """Wait until every callback owed so far was taken, or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def write(self, number: Number, phone: str, text: str) -> None:
        """A person writes to the number, which opens the window of 24 hours."""
        if number.windows is not None:
            number.windows.add(phone)
        message = inbound(self._wamid(), phone, text)
        value = messages_value(number, contacts=[contact(phone)], messages=[message])
        await self.notify(number, "messages", value)

    async def notify(self, number: Number, field: str, value: Mapping[str, Any]) -> None:
        """Call back with one change; one that is not taken is tried again beside the others."""
        body = encode(notification(number, field, value))
        if self.webhook_url is not None and not await self._post(body, number):
            self._spawn(self._again(body, number))

    async def _again(self, body: bytes, number: Number) -> None:
        for _ in range(CALL_BACK_TRIES):
            await asyncio.sleep(CALL_BACK_AGAIN_SECONDS)
            if await self._post(body, number):
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _post(self, body: bytes, number: Number) -> bool:
        assert self._client is not None, "start() was called"
        assert self.webhook_url is not None, "the caller has looked"
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": sign(body, number.app_secret),
        }
        try:
            async with self._client.post(self.webhook_url, data=body, headers=headers) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            number = self._known(request)
            check_caller(request.headers, number)
            message = read_message(body, number)
        except Refused as refused:
            return _error(refused.status, refused.code, refused.details)
        behaviour = self.behaviours.get(message.phone, self.default)
        self._calls[message.phone] += 1
        if behaviour.latency_seconds:
            await asyncio.sleep(behaviour.latency_seconds)
        code = self._error_code(number, message, behaviour)
        struck = not behaviour.faults or self._calls[message.phone] <= behaviour.faults
        fault = behaviour.fault if struck else None
        taken = code is None and fault not in (Fault.RESET, Fault.ERROR_WITH_200)
        self.journal.append(
            Received(time.monotonic(), number.phone_number_id, message, taken, code)
        )
        self._news.set()
        if code is not None:
            http = behaviour.error[0] if behaviour.error else 429
            return _error(http, code, "scripted")
        wamid = self._wamid()
        if taken:
            owed = self._owe(number, message, behaviour, wamid)
            if behaviour.called_back_first:
                await asyncio.wait([owed])
        if fault is not None:
            return await self._fault(request, fault, wamid)
        return web.json_response(_accepted(message, wamid))

    def _error_code(self, number: Number, message: Message, behaviour: Behaviour) -> int | None:
        if number.throttles(time.monotonic()):
            return 130429
        if behaviour.error is None:
            return None
        if behaviour.errors and self._calls[message.phone] > behaviour.errors:
            return None
        return behaviour.error[1]

    def _owe(
        self, number: Number, message: Message, behaviour: Behaviour, wamid: str
    ) -> asyncio.Task[None]:
        states = list(behaviour.statuses) * self.repeats
        if self.shuffled:
            self._random.shuffle(states)
        return self._spawn(self._call_back(number, message, behaviour, wamid, states))

    async def _call_back(
        self,
        number: Number,
        message: Message,
        behaviour: Behaviour,
        wamid: str,
        states: Sequence[str],
    ) -> None:
        for state in states:
            failure = behaviour.failure if state == "failed" else None
            about = status(wamid, message.phone, state, message.biz_opaque_callback_data, failure)
            value = messages_value(number, contacts=[contact(message.phone)], statuses=[about])
            await self.notify(number, "messages", value)
        if behaviour.reply is not None:
            await self.write(number, message.phone, behaviour.reply)

    async def _fault(self, request: web.Request, fault: Fault, wamid: str) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None, "the connection is open"
        match fault:
            case Fault.HANG_AFTER_ACCEPT:
                await self._released.wait()
            case Fault.HALF_ANSWER:
                transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b'{"messages":[{'
                )
            case Fault.GARBAGE:
                return web.Response(text=f"<html>{wamid}</html>", content_type="text/html")
            case Fault.ERROR_WITH_200:
                return web.json_response(error_document(131000, "scripted"))
            case Fault.ENDLESS_ANSWER:
                return await _endless(request)
            case Fault.RESET | Fault.RESET_AFTER_ACCEPT:
                transport.abort()
        transport.close()
        return web.Response()

    async def _media(self, request: web.Request) -> web.StreamResponse:
        try:
            check_caller(request.headers, self._known(request))
        except Refused as refused:
            return _error(refused.status, refused.code, refused.details)
        form = await request.post()
        upload = form.get("file")
        if form.get("messaging_product") != "whatsapp" or not isinstance(upload, web.FileField):
            return _error(400, 100, "messaging_product and file are needed")
        media_id = str(next(self._wamids))
        self.media[media_id] = upload.file.read()
        return web.json_response({"id": media_id})

    async def _number(self, request: web.Request) -> web.StreamResponse:
        try:
            number = self._known(request)
            check_caller(request.headers, number)
        except Refused as refused:
            return _error(refused.status, refused.code, refused.details)
        known = {
            "display_phone_number": number.display_phone_number,
            "quality_rating": number.quality_rating,
            "messaging_limit_tier": number.messaging_limit_tier,
            "whatsapp_business_manager_messaging_limit": number.portfolio_limit,
            "throughput": {"level": "STANDARD"},
        }
        # A version of the API has one of the limits, and asked for what it lacks it refuses all.
        known = {name: value for name, value in known.items() if value is not None}
        fields = [each for each in request.query.get("fields", "").split(",") if each]
        if not known.keys() >= set(fields):
            return _error(400, 100, "(#100) Tried accessing nonexisting field")
        shown = {name: known[name] for name in fields or known}
        return web.json_response({"id": number.phone_number_id, **shown})

    def _known(self, request: web.Request) -> Number:
        number = self.numbers.get(request.match_info["number"])
        if number is None:
            raise Refused(400, 33, "this object does not exist")
        return number

    def _wamid(self) -> str:
        return f"wamid.LOCAL{next(self._wamids):020d}"


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    piece = b" " * 65_536
    try:
        for _ in range(ENDLESS_BYTES // len(piece)):
            await response.write(piece)
    except ConnectionError:
        return response  # the caller has had enough
    return response


def _accepted(message: Message, wamid: str) -> dict[str, Any]:
    about: dict[str, Any] = {"id": wamid}
    if message.type == "template":
        about["message_status"] = "accepted"
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": message.to, "wa_id": message.phone.removeprefix("+")}],
        "messages": [about],
    }


def _error(http: int, code: int, details: str) -> web.Response:
    return web.Response(
        status=http,
        body=orjson.dumps(error_document(code, details)),
        content_type="application/json",
    )
