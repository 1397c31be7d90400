"""`hantar run`, `hantar migrate`, `hantar check-config`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from pathlib import Path

import click
import structlog

from service import failpoints
from service.app import Addresses, App
from service.bus.topology import TopologyMismatch, declare
from service.cli import linked_phone
from service.cli.database import FAILED, KEY_FILE, URL_FILE
from service.cli.demo import DEMO_FILE, Demo, prepare_demo, print_demo
from service.core.sealing import Seal, new_key, read_keys
from service.embedded import EmbeddedPostgres
from service.roles.listening import CannotListen
from service.settings import Settings, load
from service.store import accounts, leases, migrations
from service.store.migrations import MigrationError
from service.store.pool import UNAVAILABLE, Dedicated, open_pool
from service.telemetry import logs

log = structlog.get_logger(__name__)

#: After a signal the process is gone within this time, whatever hangs.
WATCHDOG_SECONDS = 9.5
DECLARE_SECONDS = 60.0


@click.command()
@click.option("--roles", help="Some of ingress,intake,dispatcher,recorder; default all.")
@click.option("--listen", help="host:port of the API.")
@click.option("--ops-listen", help="host:port of /livez, /readyz and /metrics.")
@click.option(
    "--driver",
    type=click.Choice(["simulator", linked_phone.DRIVER]),
    default="simulator",
    help="Of the embedded default: wwebjs also starts the bridge, and waits for a phone.",
)
def run(roles: str | None, listen: str | None, ops_listen: str | None, driver: str) -> None:
    """Run Hantar: on real servers, or all in one process on an embedded default.

    With HANTAR_DATABASE_URL and HANTAR_AMQP_URL it uses these servers, which `hantar migrate`
    has prepared. Without them it starts a private PostgreSQL under .hantar/, a simulated
    WhatsApp and a demo account.
    """
    settings = load(roles=roles, listen=listen, ops_listen=ops_listen)
    bridge = None
    if driver == linked_phone.DRIVER:
        if not settings.embedded:
            raise click.UsageError("on real servers the bridge is a service of its own")
        bridge = linked_phone.bridge_program()
        socket = settings.data_dir.absolute() / "bridge" / "bridge.sock"
        settings = settings.model_copy(update={"wwebjs_bridge": str(socket)})
    _configure_logs(settings)
    failpoints.arm(failpoints.read_rules(settings.failpoints), settings.failpoint_journal)
    try:
        asyncio.run(_run(settings, bridge))
    except (*FAILED, TopologyMismatch, CannotListen) as error:
        raise click.ClickException(_explain(error)) from None


@click.command()
def migrate() -> None:
    """Bring the database and the broker to what this version needs; safe to repeat."""
    settings = load()
    _configure_logs(settings)
    if settings.database_url is None or settings.amqp_url is None:
        raise click.UsageError("set HANTAR_DATABASE_URL and HANTAR_AMQP_URL")
    dsn, amqp_url = settings.database_url.get_secret_value(), settings.amqp_url.get_secret_value()

    async def work() -> None:
        for applied in await prepare_database(dsn, settings.shards):
            click.echo(f"applied {applied}")
        await declare(amqp_url, settings.shards, timeout_seconds=DECLARE_SECONDS)
        click.echo("database and broker are up to date")

    try:
        asyncio.run(work())
    except (*FAILED, TopologyMismatch) as error:
        raise click.ClickException(_explain(error)) from None


@click.command("check-config")
@click.option(
    "--print-defaults", is_flag=True, help="Print every default, as a file of settings begins."
)
def check_config(print_defaults: bool) -> None:
    """Read every setting and show it; secrets are masked."""
    if print_defaults:
        click.echo(defaults(), nl=False)
        return
    settings = load()
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = "" if value is None else str(value)
        click.echo(f"HANTAR_{name.upper()}={shown}  # {field.description}")


def defaults() -> str:
    """Every setting with its meaning and default, as the lines of an environment file."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        lines += [f"# {field.description}", f"# HANTAR_{name.upper()}={default}", ""]
    return "\n".join(lines)


async def prepare_database(dsn: str, shards: int) -> list[str]:
    """Migrate and fix the number of shards; the names of the migrations applied."""
    applied = await migrations.migrate(dsn)
    pool = await open_pool(dsn, name="migrate", size=1)
    try:
        async with pool.acquire() as connection:
            await accounts.install(connection, shards)
            found = await accounts.installation(connection)
    finally:
        await pool.close()
    if found is None or found.shards != shards:
        raise MigrationError(
            f"HANTAR_SHARDS is {shards}, but the installation was made with "
            f"{found.shards if found else 'none'}"
        )
    return [f"{migration.version}_{migration.name}" for migration in applied]


async def _run(settings: Settings, bridge: Path | None) -> None:
    stopping = _stop_on_signals()
    if settings.database_url is not None:
        seal = _seal(settings.secret_key_file)
        await _serve(settings, settings.database_url.get_secret_value(), seal, stopping)
        return
    postgres = EmbeddedPostgres(settings.data_dir / "postgres", durable=True)
    dsn = await postgres.start()
    url_file = settings.data_dir / URL_FILE
    try:
        if postgres.notice:
            click.echo(postgres.notice)
        await prepare_database(dsn, settings.shards)
        await _free_leases(dsn)
        _write_private(url_file, dsn)
        key_file = settings.secret_key_file or settings.data_dir / KEY_FILE
        if settings.secret_key_file is None and not key_file.exists():
            _write_private(key_file, f"{new_key()}\n")
        await _serve(settings, dsn, _seal(key_file), stopping, bridge)
    finally:
        url_file.unlink(missing_ok=True)
        await postgres.stop()


async def _free_leases(dsn: str) -> None:
    """The folder is this process's alone, so what was killed before holds nothing any more."""
    start = Dedicated(dsn, name="start")
    try:
        async with start as connection:
            await leases.free_all(connection)
    finally:
        await start.close()


def _seal(key_file: Path | None) -> Seal:
    """What seals secrets; without a file it refuses to, and everything else works."""
    if key_file is None:
        return Seal([])
    try:
        return Seal(read_keys(key_file.read_text("ascii")))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"HANTAR_SECRET_KEY_FILE {key_file}: {error}") from None


async def _serve(
    settings: Settings,
    dsn: str,
    seal: Seal,
    stopping: asyncio.Event,
    bridge: Path | None = None,
) -> None:
    # What is loaded by now stays: looked through again by each full collection of garbage, it
    # would stop the loop for longer than a call may be late. So do collections after every few
    # hundred new objects, where thousands are in flight and hardly any is ever in a cycle.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    app = App(settings, dsn, seal)
    addresses = await app.start()
    phone: asyncio.Task[None] | None = None
    try:
        if settings.embedded and not stopping.is_set():
            demo = await _show_demo(settings, dsn, addresses)
            if bridge is not None and demo is not None:
                keeping = linked_phone.keep_phone(settings, dsn, demo, bridge)
                phone = asyncio.create_task(keeping, name="linked phone")
        await stopping.wait()
        log.info("stopping")
    finally:
        if phone is not None:
            phone.cancel()
            await asyncio.wait([phone])
        await app.stop()
    log.info("stopped")


async def _show_demo(settings: Settings, dsn: str, addresses: Addresses) -> Demo | None:
    if addresses.api is None:
        return None
    demo_file = settings.data_dir / DEMO_FILE
    demo = await prepare_demo(dsn, demo_file, addresses.api, shards=settings.shards)
    _write_private(demo_file, f"HANTAR_URL={demo.url}\nHANTAR_API_KEY={demo.key}\n")
    print_demo(demo, demo_file, addresses)
    return demo


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _stop_on_signals() -> asyncio.Event:
    """The event that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            log.warning("hurried")
            os._exit(1)
        stopping.set()
        watchdog = threading.Timer(WATCHDOG_SECONDS, _give_up)
        watchdog.daemon = True
        watchdog.start()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping


def _give_up() -> None:
    log.error("stop_took_too_long", seconds=WATCHDOG_SECONDS)
    os._exit(1)


def _configure_logs(settings: Settings) -> None:
    as_json = None if settings.log_format == "auto" else settings.log_format == "json"
    logs.configure(level=settings.log_level, json=as_json)


def _explain(error: BaseException) -> str:
    if isinstance(error, MigrationError | TopologyMismatch | CannotListen):
        return str(error)
    if isinstance(error, UNAVAILABLE):
        return f"a server cannot be reached ({type(error).__name__}: {error})"
    return f"{type(error).__name__}: {error}"
