"""Logs: constant event names with ids as fields; JSON unless a person is watching."""

from __future__ import annotations

import logging
import sys
import warnings

import aiohttp
import structlog

#: Fields that would carry a person's data or a secret; dropped wherever they come from.
_PRIVATE = frozenset({"phone", "body", "text", "name", "email", "key", "token", "authorization"})


def _drop_private(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    for field in _PRIVATE & event.keys():
        event[field] = "[dropped]"
    return event


def configure(*, level: str = "info", json: bool | None = None) -> None:
    """Send structlog and the libraries' own logs to stderr in one format."""
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_private,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # The default prints local variables where `rich` is installed, texts and phones among them.
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    finish = [structlog.processors.format_exc_info, renderer] if as_json else [renderer]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their warnings repeat what our own events say; their debug lines hold payloads.
    for library in ("aio_pika", "asyncio", "aiohttp.access"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # They quote what a caller sent.
    for warning in (aiohttp.BadContentDispositionHeader, aiohttp.BadContentDispositionParam):
        warnings.simplefilter("ignore", warning)
    # It prints the body of a message returned too late, and says again what our events say.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
