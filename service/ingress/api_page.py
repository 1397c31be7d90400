"""The descriptions that Hantar gives of itself, as documents and as pages that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from service.ingress import asyncapi
from service.ingress.events_page import page as events_page
from service.ingress.openapi import document
from service.ingress.operations import PREFIX, Operation

DOCUMENT_PATH = f"{PREFIX}/openapi.json"
PAGE_PATH = f"{PREFIX}/docs"
#: The shorter address, which people guess.
SHORT_PATH = "/docs"
#: The same of the queues.
EVENTS_DOCUMENT_PATH = f"{PREFIX}/asyncapi.json"
EVENTS_PAGE_PATH = f"{PAGE_PATH}/events"
EVENTS_SHORT_PATH = f"{SHORT_PATH}/events"
_MINUTES_5 = "max-age=300"
#: The page takes nothing from elsewhere and sends nothing there, whatever a text in it says.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "style-src 'self' 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
#: Addresses are relative, so that the page works behind any prefix of a proxy.
_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "page.js": "text/javascript",
    "page.css": "text/css",
    "favicon.png": "image/png",
}


class ApiPage:
    """Handlers of /openapi.json, /asyncapi.json and /docs, made from the whole table of operations
    and that of the queues."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._document = orjson.dumps(document(operations))
        events = asyncapi.document()
        self._events_document = orjson.dumps(events)
        self._events_page = events_page(events)
        folder = files("service.ingress").joinpath("swagger_ui")
        self._page = folder.joinpath("page.html").read_bytes()
        self._assets = {name: folder.joinpath(name).read_bytes() for name in _FILES}

    def routes(self) -> list[web.RouteDef]:
        """Where all of it is."""
        return [
            web.get(DOCUMENT_PATH, self.openapi),
            web.get(EVENTS_DOCUMENT_PATH, self.asyncapi),
            web.get(PAGE_PATH, self.page),
            web.get(EVENTS_PAGE_PATH, self.events_page),
            web.get(f"{PAGE_PATH}/{{file:[a-z.-]+}}", self.asset),
            web.get(SHORT_PATH, self.short),
            web.get(EVENTS_SHORT_PATH, self.events_short),
        ]

    def open_to_all(self) -> list[Handler]:
        """Whoever has no key yet reads how to get one."""
        return [
            self.openapi,
            self.asyncapi,
            self.page,
            self.events_page,
            self.asset,
            self.short,
            self.events_short,
        ]

    async def openapi(self, _: web.Request) -> web.Response:
        """The document of the HTTP API."""
        return _answer(self._document, "application/json")

    async def asyncapi(self, _: web.Request) -> web.Response:
        """The document of the queues."""
        return _answer(self._events_document, "application/json")

    async def page(self, _: web.Request) -> web.Response:
        """The page."""
        return _answer(self._page, "text/html")

    async def events_page(self, _: web.Request) -> web.Response:
        """The page of the queues."""
        return _answer(self._events_page, "text/html")

    async def asset(self, request: web.Request) -> web.Response:
        """A file of the page."""
        name = request.match_info["file"]
        if name not in self._assets:
            raise web.HTTPNotFound
        return _answer(self._assets[name], _FILES[name])

    async def short(self, _: web.Request) -> web.Response:
        """The way to the page."""
        return _see(PAGE_PATH.removeprefix("/"))

    async def events_short(self, _: web.Request) -> web.Response:
        """The way to the page of the queues."""
        return _see(f"..{EVENTS_PAGE_PATH}")


def _see(address: str) -> web.Response:
    return web.Response(status=302, headers={"Location": address})


def _answer(body: bytes, content_type: str) -> web.Response:
    response = web.Response(
        body=body,
        content_type=content_type,
        charset="utf-8" if content_type.startswith("text/") else None,
        headers={
            "Cache-Control": _MINUTES_5,
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )
    response.enable_compression()
    return response
