"""The page that shows a device's code, always the newest, until a phone has scanned it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files

from aiohttp import web

from drivers.linking import AlreadyLinked, Linking
from schemas.problems import Problem, unavailable
from service.core.code_link import PATH, good_until
from service.ingress.connection import LINKED, ask, picture
from service.ingress.plain_page import plain_page
from service.store import devices as store
from service.store.pool import UNAVAILABLE, Pool

#: A browser asks again by itself; a request must not take longer than 30 s.
STREAM_SECONDS = 20.0
LOOK_SECONDS = 1.0
STREAMS_LIMIT = 50
_SCRIPT = files("service.ingress").joinpath("code_page.js").read_text()
_BODY = """
<div id="code"><p>On the phone, open WhatsApp, then <b>Settings</b>, <b>Linked devices</b>,
<b>Link a device</b>, and hold it to the code.</p>
<img alt="QR code for the phone to scan" width="360" height="360" hidden></div>
<p role="status"></p>
<noscript><p>This page needs JavaScript to show the code.</p></noscript>
"""

#: The name of an event and what it says.
Event = tuple[str, str]


class CodePage:
    """Handlers of /link/<device>/…: the page, and the events that keep it up to date."""

    def __init__(self, pool: Pool, linkings: Mapping[str, Linking], secret: bytes) -> None:
        self._pool = pool
        self._linkings = linkings
        self._secret = secret
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """The routes of the page."""
        path = f"{PATH}{{device:[0-9]{{1,18}}}}/{{token:[A-Za-z0-9_=-]{{1,100}}}}"
        return [web.get(path, self.show), web.get(f"{path}/events", self.events, allow_head=False)]

    async def show(self, request: web.Request) -> web.Response:
        """The page, without the code."""
        if self._seconds_left(request) <= 0:
            return plain_page(410, "This link is over", "<p>Ask for a new one.</p>")
        return plain_page(200, "Link a phone", _BODY, script=_SCRIPT)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """What changes: `code`, a picture; `scanned`; `linked`, with the phone; `away`."""
        left = self._seconds_left(request)
        if left <= 0:
            raise Problem(410, "link_over", "The link is over.")
        if self._streams >= STREAMS_LIMIT:
            raise unavailable("Too many pages are open.")
        self._streams += 1
        try:
            return await self._tell(request, min(left, STREAM_SECONDS))
        finally:
            self._streams -= 1

    async def _tell(self, request: web.Request, seconds: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        try:
            async with asyncio.timeout(seconds):
                async for name, data in self._changes(int(request.match_info["device"])):
                    await response.write(f"event: {name}\ndata: {data}\n\n".encode())
        except (TimeoutError, ConnectionError):
            pass  # the page asks again, or is gone
        return response

    async def _changes(self, device_id: int) -> AsyncIterator[Event]:
        told: object = None
        while True:
            known, event = await self._look(device_id)
            if known != told:
                told = known
                yield event
            if known == "over":
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, device_id: int) -> tuple[object, Event]:
        """How it is: what tells it from how it was, and the event."""
        try:
            row = await store.one(self._pool, None, device_id)
            if row is None or row["driver"] not in self._linkings:
                return "over", ("gone", "")
            if row["stored_state"] in LINKED:
                return "over", ("linked", row["phone"] or "")
            code = await ask(self._linkings[row["driver"]].code(device_id))
        except AlreadyLinked:
            return "scanned", ("scanned", "")
        except (Problem, *UNAVAILABLE):
            return "away", ("away", "")
        return code.text, ("code", await asyncio.to_thread(picture, code))

    def _seconds_left(self, request: web.Request) -> float:
        match = request.match_info
        until = good_until(self._secret, int(match["device"]), match["token"])
        return 0.0 if until is None else until - time.time()
