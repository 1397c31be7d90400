"""What goes wrong on a connection outside of any request."""

from __future__ import annotations

import structlog
from aiohttp.http import HttpProcessingError

log = structlog.get_logger(__name__)


class ConnectionLog:
    """The logger of aiohttp's connections; takes of `logging.Logger` what they call.

    Bytes that never became a request are named, not shown, as they may hold a key; and they are
    no error of ours.
    """

    def debug(self, *_: object, **__: object) -> None:
        """Drop it: it repeats what our own events say."""

    def exception(self, _message: str, *_: object, exc_info: object = True) -> None:
        """Log what broke while a connection was read or answered."""
        if isinstance(exc_info, HttpProcessingError):
            log.info("bytes_refused", error=type(exc_info).__name__)
        else:
            log.error("connection_failed", exc_info=exc_info)
