"""Verification mails: what is due is handed to the SMTP server, and tried again when it refuses."""

from __future__ import annotations

import asyncio
import random
import time
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

import aiosmtplib
import structlog
from yarl import URL

from service.core.email_token import GOOD_SECONDS, make_token
from service.core.mail import SmtpServer
from service.store import mails as store
from service.store.mails import Mail
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Mails handed over at once, each on a connection of its own.
AT_ONCE = 5
LOOK_SECONDS = 1.0
#: One answer of the server, and a whole mail.
ANSWER_SECONDS = 10.0
MAIL_SECONDS = 45.0
#: A mail taken by a process that died is free again after this.
MINE_SECONDS = 120.0
#: Waits between tries: doubled from the first to the longest; with these, about two days in all.
FIRST_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 3600.0
MOST_ATTEMPTS = 55
PRUNE_EVERY_SECONDS = 60.0
VERIFY_PATH = "/api/v1/verify-email"


class Mails:
    """Sends the mails that are due; a server that is away holds up nothing but these."""

    def __init__(
        self, pool: Pool, server: SmtpServer, *, sender: str, public_url: str, secret: bytes
    ) -> None:
        self._pool = pool
        self._server = server
        self._sender = sender
        self._verify_url = URL(public_url + VERIFY_PATH)
        self._secret = secret
        self._pruned = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for mails that are due."""
        self._task = asyncio.create_task(self._run(), name="mails")

    async def close(self) -> None:
        """Stop; a mail that was being sent is tried again later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            found = 0
            try:
                found = await self._round()
                await self._keep_house()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("mail_round_failed", error=type(error).__name__)
            except Exception:
                log.exception("mail_round_failed")
            if found < AT_ONCE:
                await asyncio.sleep(LOOK_SECONDS)

    async def _round(self) -> int:
        taken = await store.take(self._pool, most=AT_ONCE, mine_seconds=MINE_SECONDS)
        async with asyncio.TaskGroup() as group:
            for mail in taken:
                group.create_task(self._handle(mail), name=f"mail:{mail.id}")
        return len(taken)

    async def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._pruned < PRUNE_EVERY_SECONDS:
            return
        self._pruned = now
        await store.prune(self._pool)

    async def _handle(self, mail: Mail) -> None:
        if mail.verified:
            await store.settle(self._pool, mail.id, "dropped")
            return
        try:
            async with asyncio.timeout(MAIL_SECONDS):
                await self._send(mail)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            await self._note_failure(mail, error)
        else:
            metrics.MAILS.labels("sent").inc()
            log.info("mail_sent", mail_id=mail.id, account_id=mail.account_id)
            await store.settle(self._pool, mail.id, "sent")

    async def _send(self, mail: Mail) -> None:
        server = self._server
        await aiosmtplib.send(
            self._message(mail),
            sender=parseaddr(self._sender)[1],
            recipients=[mail.email],
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            # None: where the server offers it. A password is not sent without.
            start_tls=None if server.tls or server.password is None else True,
            timeout=ANSWER_SECONDS,
        )

    async def _note_failure(self, mail: Mail, error: Exception) -> None:
        # The server's own words may hold the address.
        code = _code(error)
        name = f"{type(error).__name__} {code}" if code else type(error).__name__
        for_good = _refused_for_good(error) or mail.attempts >= MOST_ATTEMPTS
        metrics.MAILS.labels("failed" if for_good else "again").inc()
        log.warning(
            "mail_refused",
            mail_id=mail.id,
            account_id=mail.account_id,
            attempts=mail.attempts,
            error=name,
            given_up=for_good,
        )
        if for_good:
            await store.settle(self._pool, mail.id, "failed", name)
        else:
            await store.again(self._pool, mail.id, name, _wait_seconds(mail.attempts))

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail.email
        message["Date"] = formatdate(usegmt=True)
        # The same at each try, so that a mail that came twice is shown once.
        domain = parseaddr(self._sender)[1].rpartition("@")[2]
        message["Message-ID"] = f"<verify-{mail.id}-{mail.account_id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        # Nothing that was typed at sign-up stands in the text: it may be a stranger who typed it.
        if mail.taken:
            message["Subject"] = "You already have an account"
            message.set_content(_TAKEN.format(host=self._verify_url.host))
        else:
            token = make_token(self._secret, mail.account_id, mail.email, time.time())
            url = self._verify_url.with_query(token=token)
            message["Subject"] = "Verify your e-mail address"
            message.set_content(_VERIFY.format(url=url, hours=GOOD_SECONDS // 3600))
        return message


_VERIFY = """\
Hello,

somebody, probably you, gave this address as the owner's of a new account.
To verify it, open this link within {hours} hours:

{url}

If it was not you, do nothing: without the link the account cannot send.
"""
_TAKEN = """\
Hello,

somebody, probably you, wanted to open an account with this address at
{host}, but the address has an account already.

Go on with the key of that account. If it was not you, do nothing.
"""


def _code(error: Exception) -> int | None:
    """The SMTP code of a refusal."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return max((refused.code for refused in error.recipients), default=None)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None


def _refused_for_good(error: Exception) -> bool:
    """Whether the mail can never be delivered; what is wrong with us may be mended."""
    about_the_mail = aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPDataError
    return isinstance(error, about_the_mail) and (_code(error) or 0) >= 500


def _wait_seconds(attempts: int) -> float:
    wait: float = min(FIRST_WAIT_SECONDS * 2 ** min(attempts - 1, 10), LONGEST_WAIT_SECONDS)
    return wait * random.uniform(0.8, 1.2)
