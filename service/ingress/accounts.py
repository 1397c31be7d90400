"""Accounts made by their owners, the verification of e-mails, and who is asking."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, replace
from math import ceil

import msgspec
from aiohttp import web

from schemas import accounts as schema
from schemas.accounts import Me, NewAccount, SignUp, Verification
from schemas.problems import Problem, invalid
from schemas.shapes import One
from service.core.email_token import EmailToken, read_token
from service.core.keys import derived_key, key_hash, new_key
from service.core.mail import address_error
from service.core.quota import Quota
from service.ingress import checks
from service.ingress.auth import CALLER
from service.ingress.limits import ClientLimit, rate_limited
from service.ingress.operations import Operation, Parameter
from service.ingress.pages import refuse_unknown, single
from service.ingress.replies import encoded, found, one, reply
from service.ingress.requests import read_json, read_nothing
from service.once import Answer, Idempotency, Once
from service.store import accounts as store
from service.store import mails
from service.store.accounts import EmailTaken
from service.store.pool import Connection, Pool

#: Of one client address.
SIGN_UPS = Quota(per_second=10 / 3600, burst=5)
#: Whose idempotency keys those of sign-ups are: no account's.
NOBODY = 0
#: The name of the key that a new account begins with.
FIRST_KEY = "first"

_decoder = msgspec.json.Decoder(SignUp)
_answer_decoder = msgspec.json.Decoder(One[NewAccount])
_TOKEN = Parameter("token", "The token in the mail.")
_VERIFIED = Verification(True, "The e-mail address is verified. You can close this page.")
_ALREADY = Verification(True, "The e-mail address was verified before. You can close this page.")
_GOOD_LINK = Verification(False, "The link is good; open it to verify the e-mail address.")
#: Whether the address has got that many is nobody's business who may not read its mails.
_SENT = Verification(
    False,
    "A mail with a link is sent, unless its address has been sent "
    f"{mails.DAILY_OF_ADDRESS} within a day.",
)


@dataclass(frozen=True, slots=True)
class SignUpRules:
    """Whether strangers may make accounts, and whether mails can be sent at all."""

    is_open: bool
    sends_mail: bool


class Accounts:
    """Handlers of /accounts, /verify-email and /me."""

    def __init__(
        self, pool: Pool, once: Once, rules: SignUpRules, clients: ClientLimit, secret: bytes
    ) -> None:
        self._pool = pool
        self._once = once
        self._rules = rules
        self._clients = clients
        self._secret = secret

    def operations(self) -> list[Operation]:
        """The operations of this resource."""
        return [
            Operation(
                method="POST",
                path="/accounts",
                handler=self.sign_up,
                summary="Make an account where sign-up is open; its key is shown this once.",
                body=SignUp,
                answers={201: One[NewAccount]},
                problems=("signup_closed",),
                example={"name": "Kedai Contoh", "email": "owner@example.com"},
                open_to_all=True,
            ),
            Operation(
                method="GET",
                path="/verify-email",
                handler=self.verify,
                summary="Verify the owner's e-mail by the link in a mail.",
                query=(_TOKEN,),
                answers={200: One[Verification]},
                problems=("invalid_state",),
                open_to_all=True,
            ),
            Operation(
                method="POST",
                path="/verify-email/resend",
                handler=self.resend,
                summary="Ask for another verification mail: one a minute, five a day.",
                answers={200: One[Verification], 202: One[Verification]},
                problems=("forbidden",),
            ),
            Operation(
                method="GET",
                path="/me",
                handler=self.me,
                summary="The account and the key that ask.",
                answers={200: One[Me]},
            ),
        ]

    async def sign_up(self, request: web.Request) -> web.Response:
        """A new account with its first key, and a mail to its owner.

        An address that has an account is answered like any other, so that nobody learns who has
        one; the mail tells its owner, and only one account can ever verify an address.
        """
        if not self._rules.is_open:
            raise Problem(403, "signup_closed", "Accounts are made by the operator here.")
        body, key = await read_json(request, _decoder)
        checks.name(body.name, "name")
        if error := address_error(body.email):
            raise invalid("email", error)
        secret = new_key()
        if key is not None:
            key, secret = self._own_key(request, key)

        async def work(connection: Connection) -> Answer:
            self._clients.take(request, "Too many accounts are made from here.")
            account = await store.sign_up(connection, name=body.name, email=body.email)
            made = await store.create_key(
                connection,
                account["id"],
                name=FIRST_KEY,
                key_hash=key_hash(secret),
                expires_at=None,
            )
            await mails.queue(connection, account["id"], body.email)
            shown = NewAccount(
                schema.account(account), schema.new_key(found(made, "account"), None)
            )
            # Stored without the secret, of which only the hash is kept.
            return Answer(201, encoded(shown))

        answer = await self._once.run(NOBODY, key, work)
        shown = _answer_decoder.decode(answer.body).data
        shown.key.key = secret
        return reply(replace(answer, body=encoded(shown)))

    def _own_key(self, request: web.Request, key: Idempotency) -> tuple[Idempotency, str]:
        """The idempotency key as this client's alone, and the API key that belongs to it.

        A repeated request is shown the same API key, though only its hash is stored: it is derived.
        It is nobody's who guesses the idempotency key, as the client's address is a part of both.
        """
        client = f"{self._clients.client(request)}\0{key.key}".encode()
        seed = hmac.digest(self._secret, b"hantar sign-up\0" + key.fingerprint + client, "sha512")
        return replace(key, key=hashlib.sha256(client).hexdigest()), derived_key(seed)

    async def verify(self, request: web.Request) -> web.Response:
        """Take the e-mail as verified.

        A scanner that opens the link in its owner's place locks nobody out: the second time is
        answered 200 as well. HEAD only looks.
        """
        refuse_unknown(request.query, frozenset({_TOKEN.name}))
        token = read_token(self._secret, single(request.query, _TOKEN.name) or "")
        if token is None:
            raise _bad_link("The link is not whole. Open it as it stands in the mail.")
        async with self._pool.acquire() as connection, connection.transaction():
            verification = await self._verify(connection, token, look=request.method == "HEAD")
        response = one(verification)
        # The address holds the token.
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    async def _verify(
        self, connection: Connection, token: EmailToken, *, look: bool
    ) -> Verification:
        account = await store.account(connection, token.account_id)
        if account is None or not token.is_for(account["email"]):
            raise _bad_link("The link is for an address that the account no longer has.")
        if account["email_verified_at"] is not None:
            return _ALREADY
        if token.expires_at <= time.time():
            raise _bad_link("The link is too old. Ask for a new mail.")
        if look:
            return _GOOD_LINK
        try:
            await store.verify_account(connection, token.account_id)
        except EmailTaken:
            detail = "Another account has verified this e-mail address."
            raise Problem(409, "invalid_state", detail) from None
        return _VERIFIED

    async def resend(self, request: web.Request) -> web.Response:
        """Another mail, unless the address is verified already."""
        key = await read_nothing(request)
        if not self._rules.sends_mail:
            raise Problem(
                403, "forbidden", "No mail is sent here; the operator verifies addresses."
            )
        account_id = request[CALLER].account_id

        async def work(connection: Connection) -> Answer:
            account = found(await store.account(connection, account_id), "account")
            if account["email_verified_at"] is not None:
                return Answer(200, encoded(_ALREADY))
            wait = await mails.wait_seconds(connection, account_id, account["email"])
            if wait > 0:
                raise rate_limited("Another mail was asked for lately.", ceil(wait))
            await mails.queue(connection, account_id, account["email"])
            return Answer(202, encoded(_SENT))

        return reply(await self._once.run(account_id, key, work))

    async def me(self, request: web.Request) -> web.Response:
        """Who is asking."""
        caller = request[CALLER]
        async with self._pool.acquire() as connection:
            account = await store.account(connection, caller.account_id)
            key = await store.key(connection, caller.key_id)
        return one(Me(schema.account(found(account, "account")), schema.key(found(key, "key"))))


def _bad_link(detail: str) -> Problem:
    return invalid(_TOKEN.name, detail)
