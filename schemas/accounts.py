"""Accounts and keys: bodies and resources."""

from __future__ import annotations

import msgspec

from schemas.resources import instant
from schemas.shapes import Row, Time


class SignUp(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /accounts."""

    name: str
    email: str


class Account(msgspec.Struct):
    """An account."""

    id: int
    name: str
    email: str
    email_verified: bool
    balance: int


class Key(msgspec.Struct):
    """A key, without its secret."""

    id: int
    name: str
    expires_at: Time | None
    last_used_at: Time | None


class NewKey(Key):
    """A key, with its secret in `key`, this once."""

    key: str | None


class KeptKey(Key):
    """A key as operators list it, also when it is revoked."""

    revoked_at: Time | None


class Me(msgspec.Struct):
    """Who is asking."""

    account: Account
    key: Key


class NewAccount(msgspec.Struct):
    """An account as its owner first sees it."""

    account: Account
    key: NewKey


class Verification(msgspec.Struct):
    """Whether the owner's e-mail is verified, and a word about it for a person."""

    email_verified: bool
    detail: str


def account(row: Row) -> Account:
    """The account resource."""
    return Account(
        row["id"], row["name"], row["email"], row["email_verified_at"] is not None, row["balance"]
    )


def key(row: Row) -> Key:
    """The key resource."""
    return Key(row["id"], row["name"], instant(row["expires_at"]), instant(row["last_used_at"]))


def new_key(row: Row, secret: str | None) -> NewKey:
    """The key resource with its secret."""
    return NewKey(**msgspec.structs.asdict(key(row)), key=secret)


def kept_key(row: Row) -> KeptKey:
    """The key resource with what became of it."""
    return KeptKey(**msgspec.structs.asdict(key(row)), revoked_at=instant(row["revoked_at"]))
