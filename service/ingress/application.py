"""The HTTP application: every request gets an id, a time limit and, if need be, a Problem."""

from __future__ import annotations

import asyncio
import re
import time
import uuid

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from schemas.problems import Problem, unavailable
from service.ingress.auth import CALLER, authenticate
from service.ingress.requests import BULK_LIMIT_BYTES
from service.store.pool import UNAVAILABLE, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Nothing may take longer; each step inside has a shorter limit of its own.
REQUEST_SECONDS = 30.0
_REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_SOUND_ID = re.compile(r"[\x21-\x7e]{1,128}")
_CODES = {
    400: ("bad_request", "The request is not valid."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    413: ("payload_too_large", "The body is too large."),
    415: ("unsupported_media_type", "This kind of body is not taken."),
    417: ("bad_request", "This expectation cannot be met."),
}


def application(pool: Pool, routes: list[web.RouteDef]) -> web.Application:
    """The API as an aiohttp application."""
    app = web.Application(
        middlewares=[_observe, _problems, _authenticated(pool)],
        # The handlers have limits of their own; this one is for everything else.
        client_max_size=BULK_LIMIT_BYTES,
    )
    app.add_routes(routes)
    app.router.add_route("GET", "/api/v1/messages/send", _method_not_allowed("POST"))
    app.router.add_route("GET", "/api/v1/messages/bulk", _method_not_allowed("POST"))
    return app


def _method_not_allowed(*allowed: str) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


@web.middleware
async def _observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, count and log it; no address or query value enters a log."""
    given = request.headers.get("X-Request-Id", "")
    request_id = given if _SOUND_ID.fullmatch(given) else uuid.uuid4().hex
    request[_REQUEST_ID] = request_id
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    began = time.monotonic()
    response = await handler(request)
    response.headers["X-Request-Id"] = request_id
    route = _route(request)
    seconds = time.monotonic() - began
    metrics.REQUESTS.labels(route, f"{response.status // 100}xx").inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    caller = request.get(CALLER)
    log.info(
        "request",
        method=request.method,
        route=route,
        status=response.status,
        milliseconds=round(seconds * 1000, 1),
        account_id=caller.account_id if caller else None,
    )
    return response


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every way to fail into problem+json."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await handler(request)
    except Problem as problem:
        return _problem_response(request, problem)
    except web.HTTPException as error:
        code, detail = _CODES.get(error.status, ("bad_request", error.reason))
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _problem_response(request, Problem(error.status, code, detail, headers=headers))
    except UNAVAILABLE as error:
        log.warning("request_unavailable", error=type(error).__name__)
        return _problem_response(request, unavailable("The service is not available."))
    except Exception:
        log.exception("request_failed")
        return _problem_response(request, Problem(500, "internal", "Something went wrong here."))


def _problem_response(request: web.Request, problem: Problem) -> web.Response:
    if problem.status == 413 or problem.headers.get("Connection") == "close":
        request.protocol.force_close()
    return web.Response(
        status=problem.status,
        body=orjson.dumps(problem.document(request[_REQUEST_ID])),
        content_type="application/problem+json",
        headers=problem.headers,
    )


def _authenticated(pool: Pool) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        found = request.match_info.http_exception is None
        if found and request.path.startswith("/api/"):
            request[CALLER] = await authenticate(request, pool)
        return await handler(request)

    return middleware
