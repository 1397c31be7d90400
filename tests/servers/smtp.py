"""A real SMTP server on loopback that keeps what it is handed, and refuses on demand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session

_LINK = re.compile(r"https?://\S+/verify-email\?\S+")
_WITHIN_SECONDS = 20.0


class MailServer:
    """The server; `mails` are those it took, in order."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        #: what a recipient is refused with, once
        self.refusals: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="mail.test"), "127.0.0.1", port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def url(self) -> str:
        """What HANTAR_SMTP_URL is to be."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802 - the name is the library's
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if address in self.refusals:
            return self.refusals.pop(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _: SMTP, __: Session, envelope: Envelope
    ) -> str:
        """Keep a mail."""
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        async with self._changed:
            self.mails += [(address, message) for address in envelope.rcpt_tos]
            self._changed.notify_all()
        return "250 OK"

    async def mail_to(self, address: str, count: int = 1) -> EmailMessage:
        """The `count`th mail to this address, once it has come."""
        async with asyncio.timeout(_WITHIN_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.to(address)) >= count)
        return self.to(address)[count - 1]

    def to(self, address: str) -> list[EmailMessage]:
        """The mails to this address."""
        return [message for recipient, message in self.mails if recipient == address]


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A server that runs."""
    server = MailServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def link_in(message: EmailMessage) -> str:
    """The verification link of a mail."""
    match = _LINK.search(message.get_content())
    assert match, "there is no link"
    return match[0]


def token_in(message: EmailMessage) -> str:
    """The token of the link."""
    return parse_qs(urlsplit(link_in(message)).query)["token"][0]
