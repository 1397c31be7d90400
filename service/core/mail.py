"""E-mail addresses, and the server that mails are handed to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

ADDRESS_LIMIT_CHARS = 254
_LOCAL_LIMIT_CHARS = 64
#: The syntax that browsers check (HTML, "valid e-mail address"), with dots in their places and at
#: least two labels in the domain.
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_LOCAL}@(?:{_LABEL}\.)+{_LABEL}")
_PORTS = {"smtp": 587, "smtps": 465}


def address_error(text: str) -> str | None:
    """Why the text cannot be an e-mail address, in one sentence, or None."""
    if len(text) > ADDRESS_LIMIT_CHARS:
        return f"Must have at most {ADDRESS_LIMIT_CHARS} characters."
    if _ADDRESS.fullmatch(text) is None or len(text.partition("@")[0]) > _LOCAL_LIMIT_CHARS:
        return "Must be an e-mail address like name@example.com, with the domain in ASCII."
    return None


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails are handed in; a password only ever goes over TLS."""

    host: str
    port: int
    user: str | None
    password: str | None
    #: TLS from the first byte; otherwise by STARTTLS, where it is offered or there is a password
    tls: bool


def read_smtp_url(text: str) -> SmtpServer:
    """The server of `smtp://user:password@host:port` (or `smtps://`); raises ValueError."""
    parts = urlsplit(text)
    sound = parts.scheme in _PORTS and parts.hostname and parts.path in ("", "/")
    if not sound or parts.query or parts.fragment:
        raise ValueError("not smtp://user:password@host:port")
    return SmtpServer(
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "smtps",
    )
