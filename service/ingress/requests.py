"""Reading what a caller sent: body, idempotency key, query."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from schemas.api import Bulk, Send
from schemas.decode import decode, decode_bulk
from schemas.problems import Problem, invalid
from service.once import Idempotency, fingerprint

#: A body that has not arrived whole by then is not waited for.
READ_SECONDS = 10.0
SEND_LIMIT_BYTES = 64 * 1024
BULK_LIMIT_BYTES = 20 * 1024 * 1024
#: A body of any other resource.
JSON_LIMIT_BYTES = 256 * 1024
KEY_LIMIT_CHARS = 255
#: zlib's word for the gzip format
_GZIP_WBITS = 31

Decoded = TypeVar("Decoded")

_send_decoder = msgspec.json.Decoder(Send)
_bulk_decoder = msgspec.json.Decoder(Bulk)


async def read_send(
    request: web.Request, *, within_seconds: float
) -> tuple[Send, Idempotency | None]:
    """The body of a single send."""
    return await _read(request, _decode_send, SEND_LIMIT_BYTES, within_seconds)


async def read_bulk(
    request: web.Request, *, within_seconds: float
) -> tuple[Bulk, Idempotency | None]:
    """The body of a bulk, with between one and a thousand items."""
    return await _read(request, _decode_bulk, BULK_LIMIT_BYTES, within_seconds)


async def read_json(
    request: web.Request,
    decoder: msgspec.json.Decoder[Decoded],
    *,
    limit_bytes: int = JSON_LIMIT_BYTES,
) -> tuple[Decoded, Idempotency | None]:
    """A body of the decoder's type, and the idempotency key if there is one."""

    def decode_body(raw: bytes) -> Decoded:
        return decode(raw, decoder)

    return await _read(request, decode_body, limit_bytes, READ_SECONDS)


async def read_nothing(request: web.Request) -> Idempotency | None:
    """The idempotency key of a request without a body; an empty object is one."""
    key = idempotency_key(request)
    raw = await read_body(request, JSON_LIMIT_BYTES, READ_SECONDS)
    if raw.strip() not in (b"", b"{}"):
        raise invalid("body", "This takes no body.")
    return Idempotency(key, fingerprint(request.path, b"{}")) if key is not None else None


def _decode_send(raw: bytes) -> Send:
    return decode(raw, _send_decoder)


def _decode_bulk(raw: bytes) -> Bulk:
    return decode_bulk(raw, _bulk_decoder)


async def _read(
    request: web.Request,
    decode_body: Callable[[bytes], Decoded],
    limit_bytes: int,
    within_seconds: float,
) -> tuple[Decoded, Idempotency | None]:
    # A charset is not looked at: JSON has none but UTF-8, and other bytes will not decode.
    if request.content_type != "application/json":
        raise Problem(
            415, "unsupported_media_type", "Send JSON, as Content-Type: application/json."
        )
    key = idempotency_key(request)
    raw = await read_body(request, limit_bytes, within_seconds)
    value = decode_body(raw)
    if key is None:
        return value, None
    return value, Idempotency(key, fingerprint(request.path, raw))


def idempotency_key(request: web.Request) -> str | None:
    """The caller's key, if there is one; raises the 400 Problem."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    [key, *more] = keys
    visible = all("!" <= char <= "~" for char in key)
    if more or not key or len(key) > KEY_LIMIT_CHARS or not visible:
        raise Problem(
            400,
            "invalid_idempotency_key",
            f"Give one Idempotency-Key of 1 to {KEY_LIMIT_CHARS} visible ASCII characters.",
        )
    return key


async def read_body(request: web.Request, limit_bytes: int, within_seconds: float) -> bytes:
    """The whole body, refused as soon as it is known to be too large."""
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    coding = request.headers.get("Content-Encoding", "identity").lower()
    if coding not in ("identity", "gzip"):
        raise Problem(
            415,
            "unsupported_media_type",
            "Send the body as it is, or with Content-Encoding: gzip.",
            headers={"Accept-Encoding": "gzip"},
        )
    parts: AsyncIterator[bytes] = request.content.iter_any()
    if coding == "gzip":
        parts = _inflated(parts, limit_bytes)
    try:
        async with asyncio.timeout(within_seconds):
            return await _joined(parts, limit_bytes)
    except TimeoutError as error:
        detail = f"The body did not arrive within {within_seconds:g} seconds."
        raise Problem(408, "request_timeout", detail) from error
    except (ConnectionError, web.RequestPayloadError, zlib.error) as error:
        raise _unreadable() from error


async def _joined(parts: AsyncIterator[bytes], limit_bytes: int) -> bytes:
    kept: list[bytes] = []
    size = 0
    async for part in parts:
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        kept.append(part)
    return b"".join(kept)


async def _inflated(parts: AsyncIterator[bytes], limit_bytes: int) -> AsyncIterator[bytes]:
    """The unzipped parts; one byte over the limit is the most that is unzipped of any."""
    inflater = zlib.decompressobj(_GZIP_WBITS)
    async for part in parts:
        yield inflater.decompress(part, limit_bytes + 1)
        if inflater.unused_data:
            break
    if not inflater.eof or inflater.unused_data:
        raise _unreadable()


def _unreadable() -> Problem:
    return Problem(400, "bad_request", "The body could not be read.")


def _too_large(limit_bytes: int) -> Problem:
    return Problem(413, "payload_too_large", f"The body may have up to {limit_bytes} bytes.")
