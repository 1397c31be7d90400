"""The demo account of the embedded default."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click

from service.app import Addresses
from service.core.keys import key_hash, new_key
from service.store import accounts, devices
from service.store.pool import Connection, open_pool

#: Address and key, for scripts.
DEMO_FILE = "demo.env"
EMAIL = "demo@example.com"
CREDITS = 10_000
DEVICES = ("Simulated phone 1", "Simulated phone 2")
PER_SECOND = 50.0


@dataclass(frozen=True, slots=True)
class Demo:
    """How to reach the demo account, and what it has left."""

    url: str
    key: str
    balance: int


async def prepare_demo(dsn: str, demo_file: Path, url: str, *, shards: int) -> Demo:
    """The demo account, made the first time; its key from before, or a new one if that is lost."""
    pool = await open_pool(dsn, name="demo", size=1)
    try:
        async with pool.acquire() as connection, connection.transaction():
            account_id = await demo_account(connection, shards)
            key = _known_key(demo_file)
            if key is None or await accounts.authenticate(connection, key_hash(key)) is None:
                key = new_key()
                await accounts.create_key(
                    connection, account_id, name="demo", key_hash=key_hash(key), expires_at=None
                )
            credit = await accounts.credit(connection, account_id)
            assert credit is not None, "the account is there"
    finally:
        await pool.close()
    return Demo(url, key, credit["balance"])


async def demo_account(connection: Connection, shards: int) -> int:
    """Its id; it is made the first time."""
    for row in await accounts.accounts(connection):
        if row["email"] == EMAIL:
            return int(row["id"])
    made = await accounts.create_account(connection, name="Demo", email=EMAIL, verified=True)
    assert made is not None, "an insert without a condition makes a row"
    await accounts.grant(connection, made["id"], CREDITS, "demo")
    for name in DEVICES:
        await devices.create(
            connection,
            made["id"],
            devices.Device(name=name, limits={"per_second": PER_SECOND}),
            driver="simulator",
            state="ready",
            shards=shards,
        )
    return int(made["id"])


def _known_key(demo_file: Path) -> str | None:
    return _known(demo_file, "HANTAR_API_KEY")


def known_url(data_dir: Path) -> str | None:
    """Where the embedded default that keeps its data there answers, if it has ever run."""
    return _known(data_dir / DEMO_FILE, "HANTAR_URL")


def _known(demo_file: Path, name: str) -> str | None:
    try:
        lines = demo_file.read_text().splitlines()
    except OSError:
        return None
    found = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
    return found[0] if found else None


def print_demo(demo: Demo, demo_file: Path, addresses: Addresses) -> None:
    """Say what runs where, with commands that work as printed."""
    auth = f"-H 'Authorization: Bearer {demo.key}'"
    json = "-H 'Content-Type: application/json'"
    sample = shlex.quote(f"@{_sample()}")
    click.echo(
        f"""
Hantar is running at {demo.url} (metrics: {addresses.ops}/metrics). Ctrl-C stops it.
The database is private to this machine's user, on a loopback port with a password.
Demo account: {demo.balance:,} credits, two simulated devices of {PER_SECOND:.0f} messages a second.
Address and key are in {demo_file}. Read and try the API at {demo.url}/docs

Send one message:
  curl -X POST {demo.url}/api/v1/messages/send {auth} {json} \\
    -d '{{"phone":"0123456789","body":"Hello from Hantar!"}}'

Send a thousand:
  curl -X POST {demo.url}/api/v1/messages/bulk {auth} {json} \\
    --data-binary {sample}

See how many are delivered (meta.total):
  curl {auth} '{demo.url}/api/v1/messages?status=delivered&per_page=1'
"""
    )


def _sample() -> str:
    return str(Path(str(files("schemas").joinpath("examples", "bulk-1000.json"))).resolve())
