"""The page that a simulated device's code opens: what a person does who scans it with a phone."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Protocol

from aiohttp import web

from service.ingress.connection import ask

_STYLE = (
    "body{font:1.125rem/1.6 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}"
    "button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;"
    "color:#fff;background:#0b5c46}"
    "button:focus-visible{outline:3px solid #1b1b1b;outline-offset:3px}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: No script, nothing from elsewhere, in nobody's frame; the address is a secret, so it is not told.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


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
        return _page(
            200,
            "Link this device?",
            "<p>This plays the phone: the simulated device is linked to it, and its messages "
            'go out.</p><form method="post"><button type="submit">Link the device</button></form>',
        )

    async def link(self, request: web.Request) -> web.Response:
        """The deed."""
        if not await ask(self._phone.use(request.match_info["token"])):
            return _over()
        return _page(200, "The device is linked", "<p>You can close this page.</p>")


def _over() -> web.Response:
    return _page(
        410,
        "This code is over",
        "<p>A code works once, and for two minutes. Ask for a new one.</p>",
    )


def _page(status: int, title: str, body: str) -> web.Response:
    heading = escape(title)
    return web.Response(
        status=status,
        text=f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{heading} – Hantar</title><style>{_STYLE}</style>'
        f"</head><body><main><h1>{heading}</h1>{body}</main></body></html>",
        content_type="text/html",
        headers=_HEADERS,
    )
