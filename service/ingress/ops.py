"""The ops listener: is it alive, can it keep its promises, what are its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from service.ingress.connections import ConnectionLog
from service.telemetry import metrics as figures
from service.telemetry.instruments import REGISTRY


def ops_application(checks: Mapping[str, Callable[[], bool]]) -> web.Application:
    """`/livez`, `/readyz` (200 when every check holds, else 503 with the names) and `/metrics`."""

    for name, check in checks.items():
        figures.READY.labels(name).set_function(check)

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        states = {name: check() for name, check in checks.items()}
        ready = all(states.values())
        return web.Response(
            status=200 if ready else 503,
            body=orjson.dumps({"status": "ok" if ready else "not ready", "checks": states}),
            content_type="application/json",
        )

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(REGISTRY), headers={"Content-Type": content_type})

    app = web.Application(handler_args={"logger": ConnectionLog()})
    app.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return app
