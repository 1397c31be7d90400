"""`hantar doctor` names what is broken in a set-up, and what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aio_pika
import pytest

from service.bus.topology import CALLBACKS, COMMANDS_DEAD, declare, dispatch_queue
from service.cli.doctor_broker import check_broker
from service.cli.doctor_database import check_database
from service.cli.findings import Finding
from service.core.sealing import Seal, new_key, read_keys
from service.settings import Settings, load
from service.store.devices import PURPOSE
from service.store.outbox import lead
from service.store.pool import Pool
from tests.acceptance.processes import Processes
from tests.database import SHARDS
from tests.servers.broker_users import as_user, load_definitions
from tests.servers.rabbitmq import RabbitNode
from tests.system import eventually, make_account

NOWHERE = "127.0.0.1:1"
SEAL = Seal(read_keys(new_key()))


def settings(**changes: object) -> Settings:
    servers = {"database_url": f"postgresql://h@{NOWHERE}/h", "amqp_url": f"amqp://h@{NOWHERE}/"}
    return load(**{**servers, "shards": SHARDS, "lease_seconds": 0.5, **changes})


def told(findings: list[Finding], check: str) -> Finding:
    """The one finding about it that is not well."""
    [finding] = [each for each in findings if each.check == check]
    assert finding.verdict != "ok", finding
    assert finding.advice, finding
    return finding


async def served(pool: Pool) -> None:
    """A dispatcher that beats faster than anybody looks would say."""
    await pool.execute("UPDATE shard_leases SET owner = 'd', epoch = 1")


async def lower_balance(pool: Pool) -> None:
    account = await make_account(pool, credits=10)
    await pool.execute("UPDATE accounts SET balance = 3 WHERE id = $1", account.id)


async def forget_the_outbox(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO outbox (exchange, routing_key, type, body, created_at) "
        "VALUES ('hantar.dispatch', 'x', 't', '', now() - interval '5 minutes')"
    )


async def stop_a_device(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute(
        "UPDATE devices SET state = 'error', state_reason = 'token_refused' WHERE id = $1",
        account.device_id,
    )


async def seal_with_another_key(pool: Pool) -> None:
    account = await make_account(pool)
    sealed = Seal(read_keys(new_key())).seal("s3cret", PURPOSE)
    await pool.execute(
        "UPDATE devices SET secrets = jsonb_build_object('access_token', encode($2, 'base64')) "
        "WHERE id = $1",
        account.device_id,
        sealed,
    )


async def break_an_index(pool: Pool) -> None:
    await pool.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'doubts_due'::regclass"
    )


async def switch_an_endpoint_off(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute(
        "INSERT INTO webhook_endpoints"
        " (account_id, url, events, secret, is_active, disabled_reason)"
        " VALUES ($1, 'https://example.com', '{}', '', false, 'gone')",
        account.id,
    )


async def leave_it(pool: Pool) -> None:
    """No dispatcher is there."""


async def link_through_no_bridge(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute("UPDATE devices SET driver = 'wwebjs' WHERE id = $1", account.device_id)


async def forget_a_token(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute(
        "UPDATE devices SET driver = 'meta', state = 'unlinked' WHERE id = $1", account.device_id
    )


async def unlink_a_phone(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute("UPDATE devices SET state = 'logged_out' WHERE id = $1", account.device_id)


async def lose_a_migration(pool: Pool) -> None:
    await pool.execute("DELETE FROM schema_migrations WHERE version = '20261124000008'")


@pytest.mark.parametrize(
    ("breaks", "check", "says", "advises"),
    [
        (lose_a_migration, "migrations", "lacks 1 migration", "hantar migrate"),
        (break_an_index, "indexes", "doubts_due", "REINDEX INDEX CONCURRENTLY doubts_due"),
        (leave_it, "leases", "nobody serves 2 of 2", "hantar run --roles dispatcher"),
        (leave_it, "events", "nobody publishes them", "hantar run --roles recorder"),
        (forget_the_outbox, "outbox", "300 s old", "broker"),
        (lower_balance, "credits", "1 account", "hantar credits audit"),
        (stop_a_device, "devices", "token_refused", "hantar device resume"),
        (unlink_a_phone, "devices", "logged_out", "hantar device qr"),
        (forget_a_token, "devices", "never made ready", "access token"),
        (link_through_no_bridge, "bridge", "nothing answers", "HANTAR_WWEBJS_BRIDGE"),
        (seal_with_another_key, "secrets", "does not open", "HANTAR_SECRET_KEY_FILE"),
        (switch_an_endpoint_off, "webhooks", "1 were switched off", "deliveries"),
    ],
)
async def test_what_is_broken_in_the_database(
    dsn: str,
    pool: Pool,
    breaks: Callable[[Pool], Awaitable[None]],
    check: str,
    says: str,
    advises: str,
) -> None:
    await breaks(pool)
    finding = told(await check_database(settings(), dsn, SEAL), check)
    assert says in finding.detail
    assert advises in finding.advice


async def test_whoever_publishes_events_is_found(dsn: str, pool: Pool) -> None:
    async with pool.acquire() as connection:
        assert await lead(connection)
        found = await check_database(settings(), dsn, SEAL)
    assert [each.verdict for each in found if each.check == "events"] == ["ok"]


async def test_a_database_that_is_away_and_another_number_of_shards(dsn: str) -> None:
    away = await check_database(settings(), f"postgresql://hantar@{NOWHERE}/hantar", SEAL)
    assert "HANTAR_DATABASE_URL" in told(away, "database").advice
    nobody = await check_database(settings(), f"{dsn}_of_nobody", SEAL)
    assert "has no such database" in told(nobody, "database").detail
    other = await check_database(settings(shards=16), dsn, SEAL)
    assert told(other, "shards").advice.startswith(f"set HANTAR_SHARDS={SHARDS}")


@pytest.fixture
async def declared(vhost: str) -> str:
    """A broker as `hantar migrate` leaves it."""
    await declare(vhost, SHARDS, timeout_seconds=60.0)
    return vhost


async def test_what_is_broken_at_the_broker(declared: str) -> None:
    async with await aio_pika.connect(declared) as connection:
        channel = await connection.channel()
        for queue in (CALLBACKS, dispatch_queue(0, express=True)):
            await channel.queue_delete(queue)
        await channel.declare_queue(dispatch_queue(0, express=True), durable=True)
        await channel.default_exchange.publish(aio_pika.Message(b"x"), routing_key=COMMANDS_DEAD)
        findings = await check_broker(declared, SHARDS)
        assert CALLBACKS in told(findings, "topology").detail
        assert "hantar migrate" in told(findings, "topology").advice
        assert "dispatcher,recorder,intake" in told(findings, "consumers").advice
        assert "1 in hantar.commands.dead" in told(findings, "dead letters").detail
    await declare_missing(declared)
    assert (
        dispatch_queue(0, express=True)
        in told(await check_broker(declared, SHARDS), "topology").detail
    )
    away = await check_broker(f"amqp://hantar:x@{NOWHERE}/", SHARDS)
    assert "HANTAR_AMQP_URL" in told(away, "broker").advice


async def declare_missing(address: str) -> None:
    async with await aio_pika.connect(address) as connection:
        channel = await connection.channel()
        await channel.declare_queue(CALLBACKS, durable=True)


async def test_users_who_may_see_everything_and_not(declared: str, rabbit_node: RabbitNode) -> None:
    await load_definitions(rabbit_node, declared)
    role = await check_broker(as_user(declared, "hantar-dispatcher"), SHARDS)
    assert "hantar-operator" in told(role, "permissions").advice
    operator = await check_broker(as_user(declared, "hantar-operator"), SHARDS)
    verdicts = {finding.check: finding.verdict for finding in operator}
    assert (verdicts["permissions"], verdicts["topology"]) == ("ok", "ok")


async def test_a_broker_with_an_alarm(declared: str, rabbit_node: RabbitNode) -> None:
    await rabbit_node.control("set_vm_memory_high_watermark", "absolute", "1MB")

    async def alarmed() -> Finding | None:
        findings = await check_broker(declared, SHARDS)
        return next((each for each in findings if each.check == "alarms" and each.advice), None)

    try:
        finding = await eventually(alarmed)
    finally:
        await rabbit_node.control("set_vm_memory_high_watermark", "absolute", "1073741824")
    assert "rabbitmq-diagnostics alarms" in finding.advice


async def test_the_command_says_it_and_fails(dsn: str, processes: Processes) -> None:
    processes.environment |= {
        "HANTAR_DATABASE_URL": dsn,
        "HANTAR_AMQP_URL": f"amqp://hantar:amqp-sesame@{NOWHERE}/",
        "HANTAR_SHARDS": str(SHARDS),
        "HANTAR_LEASE_SECONDS": "0.5",
    }
    done = await processes.do("doctor", "--json")
    assert done.code == 1
    assert '"check":"broker","verdict":"failed"' in done.output
    assert "amqp-sesame" not in done.output + done.error
    wrong = await processes.do("doctor", environment={"HANTAR_SHARDS": "many"})
    assert (wrong.code, "HANTAR_SHARDS" in wrong.output) == (1, True)
