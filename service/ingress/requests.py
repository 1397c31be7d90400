"""Reading what a caller sent: body, idempotency key, query."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import web

from schemas.api import BULK_LIMIT, Bulk, Send
from schemas.decode import decode
from schemas.problems import Problem, invalid
from service.accept import Idempotency, fingerprint

#: A body that has not arrived whole by then is not waited for.
READ_SECONDS = 10.0
SEND_LIMIT_BYTES = 64 * 1024
BULK_LIMIT_BYTES = 20 * 1024 * 1024
_KEY_LIMIT_CHARS = 255

Decoded = TypeVar("Decoded")

_send_decoder = msgspec.json.Decoder(Send)
_bulk_decoder = msgspec.json.Decoder(Bulk)


async def read_send(request: web.Request) -> tuple[Send, Idempotency | None]:
    """The body of a single send."""
    return await _read(request, _send_decoder, SEND_LIMIT_BYTES)


async def read_bulk(request: web.Request) -> tuple[Bulk, Idempotency | None]:
    """The body of a bulk, with between one and a thousand items."""
    bulk, key = await _read(request, _bulk_decoder, BULK_LIMIT_BYTES)
    if not 1 <= len(bulk.messages) <= BULK_LIMIT:
        raise invalid("messages", f"Must have 1 to {BULK_LIMIT} items, not {len(bulk.messages)}.")
    return bulk, key


async def _read(
    request: web.Request, decoder: msgspec.json.Decoder[Decoded], limit_bytes: int
) -> tuple[Decoded, Idempotency | None]:
    _check_content_type(request)
    key = _idempotency_key(request)
    raw = await _body(request, limit_bytes)
    value = decode(raw, decoder)
    if key is None:
        return value, None
    return value, Idempotency(key, fingerprint(request.path, raw))


def _check_content_type(request: web.Request) -> None:
    charset = request.charset or "utf-8"
    if request.content_type != "application/json" or charset.lower() not in ("utf-8", "utf8"):
        raise Problem(
            415, "unsupported_media_type", "Send JSON in UTF-8, as Content-Type: application/json."
        )


def _idempotency_key(request: web.Request) -> str | None:
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    [key, *more] = keys
    visible = all("!" <= char <= "~" for char in key)
    if more or not key or len(key) > _KEY_LIMIT_CHARS or not visible:
        raise Problem(
            400,
            "invalid_idempotency_key",
            f"Give one Idempotency-Key of 1 to {_KEY_LIMIT_CHARS} visible ASCII characters.",
        )
    return key


async def _body(request: web.Request, limit_bytes: int) -> bytes:
    """The whole body, refused as soon as it is known to be too large."""
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                parts.append(part)
    except TimeoutError as error:
        raise Problem(
            408,
            "request_timeout",
            f"The body did not arrive within {READ_SECONDS:.0f} seconds.",
            headers={"Connection": "close"},
        ) from error
    except (web.RequestPayloadError, ValueError) as error:
        raise Problem(400, "bad_request", "The body could not be read.") from error
    return b"".join(parts)


def _too_large(limit_bytes: int) -> Problem:
    return Problem(
        413,
        "payload_too_large",
        f"The body may have up to {limit_bytes} bytes.",
        # What is left of the body is not read, so the connection is of no more use.
        headers={"Connection": "close"},
    )
