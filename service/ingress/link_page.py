"""The page that a simulated device's code opens: what a person does who scans it with a phone."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from service.ingress.connection import ask
from service.ingress.plain_page import plain_page


class Phone(Protocol):
    """Who can open codes, as a phone does."""

    async def good(self, token: str) -> bool:
        """Whether this token would link a device now."""
        ...

    async def use(self, token: str) -> bool:
        """Link the device, once; False when the token is none, over, or used."""
        ...


class LinkPage:
    """Handlers of /link/…: a GET shows a button, a POST links, as link previews must not link."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def routes(self) -> list[web.RouteDef]:
        """The routes of the page."""
        path = "/link/{token:[A-Za-z0-9_-]{1,200}}"
        return [web.get(path, self.show), web.post(path, self.link)]

    async def show(self, request: web.Request) -> web.Response:
        """The question."""
        if not await ask(self._phone.good(request.match_info["token"])):
            return _over()
        return plain_page(
            200,
            "Link this device?",
            "<p>This plays the phone: the simulated device is linked to it, and its messages "
            'go out.</p><form method="post"><button type="submit">Link the device</button></form>',
        )

    async def link(self, request: web.Request) -> web.Response:
        """The deed."""
        if not await ask(self._phone.use(request.match_info["token"])):
            return _over()
        return plain_page(200, "The device is linked", "<p>You can close this page.</p>")


def _over() -> web.Response:
    return plain_page(
        410,
        "This code is over",
        "<p>A code works once, and for two minutes. Ask for a new one.</p>",
    )
