"""The HTTP application: every request gets an id, a time limit and, if need be, a Problem."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Collection

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from schemas.problems import Problem, unavailable
from service.ingress.auth import CALLER, Authentication
from service.ingress.connections import ConnectionLog
from service.ingress.cors import Cors
from service.ingress.requests import BULK_LIMIT_BYTES
from service.store.pool import CONFLICTS, UNAVAILABLE
from service.telemetry import metrics, tracing

log = structlog.get_logger(__name__)

#: Nothing may take longer; each step inside has a shorter limit of its own.
REQUEST_SECONDS = 30.0
AUTHENTICATE_SECONDS = 5.0
#: What the address of a request is called that nothing answers to.
NO_ROUTE = "none"
#: Answered while the body is still on its way; whoever reads this need not send the rest.
_BODY_UNREAD = frozenset({408, 413})
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


def application(
    authentication: Authentication,
    routes: list[web.RouteDef],
    *,
    open_to_all: Collection[Handler] = (),
    cors: Cors,
) -> web.Application:
    """The API as an aiohttp application; handlers that are `open_to_all` need no key."""

    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        # Here and not in a middleware, so that no way to answer is without it.
        authentication.tell(request, response)
        cors.tell(request, response)

    app = web.Application(
        middlewares=[
            _observe,
            _problems,
            _options,
            _authenticated(authentication, frozenset(open_to_all)),
        ],
        # The handlers have limits of their own; this one is for everything else.
        client_max_size=BULK_LIMIT_BYTES,
        # Bodies are unzipped where their limits are known.
        handler_args={"auto_decompress": False, "logger": ConnectionLog()},
    )
    app.on_response_prepare.append(_shape_late)
    app.on_response_prepare.append(tell)
    app.add_routes(routes)
    for route in (NO_ROUTE, *(resource.canonical for resource in app.router.resources())):
        metrics.REQUEST_SECONDS.labels(route)
        for status in metrics.STATUSES:
            metrics.REQUESTS.labels(route, status)
    return app


async def _shape_late(request: web.Request, response: web.StreamResponse) -> None:
    """What no middleware sees in time: an unknown Expect, which aiohttp refuses before any of them
    runs, gets our shape, and an answer that is streamed its id."""
    if isinstance(response, web.HTTPExpectationFailed):
        request[_REQUEST_ID] = _request_id(request)
        shaped = _http_problem(request, response)
        response.body = shaped.body
        response.headers.update(shaped.headers)
        # aiohttp has counted the bytes of its own text already.
        response.headers["Content-Length"] = str(shaped.content_length)
    if _REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[_REQUEST_ID]


@web.middleware
async def _observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, count and log it; no address or query value enters a log."""
    request[_REQUEST_ID] = request_id = _request_id(request)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    given = request.headers.getall("traceparent", [])
    tracing.begin(given[0] if len(given) == 1 else None)
    began = time.monotonic()
    response = await handler(request)
    response.headers["X-Request-Id"] = request_id
    route = _route(request)
    seconds = time.monotonic() - began
    metrics.REQUESTS.labels(route, f"{response.status // 100}xx").inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds, tracing.exemplar())
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


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-Id", "")
    return given if _SOUND_ID.fullmatch(given) else uuid.uuid4().hex


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else NO_ROUTE


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every way to fail into problem+json."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await handler(request)
    except Problem as problem:
        return _problem_response(request, problem)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except (*UNAVAILABLE, *CONFLICTS) as error:
        log.warning("request_unavailable", error=type(error).__name__)
        return _problem_response(request, unavailable("The service is not available."))
    except Exception:
        log.exception("request_failed")
        return _problem_response(request, Problem(500, "internal", "Something went wrong here."))


def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    code, detail = _CODES.get(error.status, ("bad_request", error.reason))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _problem_response(request, Problem(error.status, code, detail, headers=headers))


def _problem_response(request: web.Request, problem: Problem) -> web.Response:
    response = web.Response(
        status=problem.status,
        body=orjson.dumps(problem.document(request[_REQUEST_ID])),
        content_type="application/problem+json",
        headers=problem.headers,
    )
    if problem.status in _BODY_UNREAD:
        response.force_close()
    return response


@web.middleware
async def _options(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell which methods an address takes, preflights of browsers included, which have no key."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": allowed})
        error.headers["Allow"] = allowed
        raise


def _authenticated(authentication: Authentication, open_to_all: frozenset[Handler]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        found = request.match_info.http_exception is None
        is_open = request.match_info.handler in open_to_all
        if found and not is_open and request.path.startswith("/api/"):
            async with asyncio.timeout(AUTHENTICATE_SECONDS):
                request[CALLER] = await authentication.caller(request)
        return await handler(request)

    return middleware
