"""The command line: exit code 0 done, 1 failed, 2 wrong use, and never a traceback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from service.cli import main
from service.core.keys import key_hash
from service.core.sealing import Seal, new_key, read_keys
from service.core.words import Words
from service.store import accounts, unread
from service.store.pool import Pool
from tests.acceptance.processes import Done, Processes
from tests.database import SHARDS
from tests.system import Hantar, make_account, run_app

#: Nothing listens there.
NOWHERE = "127.0.0.1:1"
SERVERS = {
    "HANTAR_DATABASE_URL": f"postgresql://hantar:pg-sesame@{NOWHERE}/hantar",
    "HANTAR_AMQP_URL": f"amqp://hantar:amqp-sesame@{NOWHERE}/",
}
NO_ID = 2**63 - 1
BEYOND_IDS = 2**63


@pytest.fixture
def hantar(dsn: str, processes: Processes) -> Processes:
    """Commands on a migrated database; none of them needs the broker."""
    processes.environment |= SERVERS | {
        "HANTAR_DATABASE_URL": dsn,
        "HANTAR_SHARDS": str(SHARDS),
    }
    return processes


@pytest.fixture
async def api(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """The same database as a running installation shows it."""
    async for running in run_app(dsn, pool):
        yield running


async def do_all(processes: Processes, *commands: str) -> dict[str, Done]:
    """Run commands side by side."""
    done = await asyncio.gather(*(processes.do(*command.split()) for command in commands))
    return dict(zip(commands, done, strict=True))


async def read(processes: Processes, *commands: str) -> list[Any]:
    """What commands print with --json."""
    done = await do_all(processes, *(f"{command} --json" for command in commands))
    return [each.json for each in done.values()]


def in_one_line(done: Done) -> bool:
    """Whether it failed and said why, beside its log, in one line."""
    said = [line for line in done.error.splitlines() if not line.startswith("{")]
    return done.code == 1 and len(said) == 1 and said[0].startswith("Error: ") and not done.output


def as_wrong_use(done: Done) -> bool:
    """Whether it refused to begin and said why in its last line."""
    return done.code == 2 and done.error.splitlines()[-1].startswith("Error: ")


async def test_an_account_is_made_ready_to_send(hantar: Processes) -> None:
    [account] = await read(hantar, "account create --email a@example.com --name Åsa")
    number = account["id"]
    expected = {"name": "Åsa", "email": "a@example.com", "email_verified": False, "balance": 0}
    assert account == expected | {"id": number}
    verified, grant, device = await read(
        hantar,
        f"account verify {number}",
        f"credits grant {number} 500 --note gift",
        f"device add --account {number} --name d --driver simulator --per-second 5",
    )
    # Which of the three came first is open.
    assert verified | {"balance": 0} == account | {"email_verified": True}
    assert (grant["type"], grant["amount"], grant["balance_after"]) == ("grant", 500, 500)
    assert (device["state"], device["is_default"]) == ("ready", True)
    assert device["limits"]["per_second"] == 5.0

    [paused] = await read(hantar, f"device pause {device['id']}")
    assert paused["state"] == "paused"
    [resumed] = await read(hantar, f"device resume {device['id']}")
    assert resumed == device | {"updated_at": resumed["updated_at"]}
    assert await read(
        hantar, "account list", "device list", f"credits show {number}", "credits audit"
    ) == [
        [verified | {"balance": 500}],
        [resumed],
        {"balance": 500, "reserved": 0},
        [],
    ]


async def test_what_a_provider_said_that_nothing_reads_is_shown(
    hantar: Processes, pool: Pool, tmp_path: Path
) -> None:
    account = await make_account(pool)
    keys = tmp_path / "keys"
    keys.write_text(f"{new_key()}\n")
    body = Words(Seal(read_keys(keys.read_text()))).close('{"id":7}')
    at = datetime(2026, 11, 25, 10, tzinfo=UTC)
    for _ in range(2):
        await unread.keep(pool, [unread.Kept(account.device_id, "flows", body, at)])
    [table, known, none] = (
        await do_all(hantar, "device unread", "device unread --json", f"device unread {NO_ID}")
    ).values()
    assert "flows" in table.output
    [row] = known.json
    assert (row["kind"], row["count"], row["body"]) == ("flows", 2, None), "there is no key"
    assert none.output == "none\n"
    hantar.environment["HANTAR_SECRET_KEY_FILE"] = str(keys)
    [[opened]] = await read(hantar, f"device unread {account.device_id}")
    assert opened == row | {"body": '{"id":7}'}


async def test_a_key_works_until_it_is_revoked(hantar: Processes, pool: Pool) -> None:
    account = await make_account(pool, device=False)
    [made] = await read(
        hantar, f"key create --account {account.id} --name k --expires-at 2099-01-01"
    )
    secret = made.pop("key")
    assert made["expires_at"] == "2099-01-01T00:00:00.000Z"
    caller = await accounts.authenticate(pool, key_hash(secret))
    assert caller is not None
    assert (caller.account_id, caller.key_id) == (account.id, made["id"])
    [revoked] = await read(hantar, f"key revoke {made['id']}")
    assert revoked == made | {"revoked_at": revoked["revoked_at"]}
    assert revoked["revoked_at"] is not None
    assert await accounts.authenticate(pool, key_hash(secret)) is None
    [listed] = await read(hantar, f"key list --account {account.id}")
    assert revoked in listed
    assert secret not in str(listed)


async def test_resources_are_those_of_the_api(api: Hantar, hantar: Processes) -> None:
    account = await api.account()
    body = {"phone": "0123456789", "body": "hello", "reference": "r-1"}
    sent = (await api.post("/messages/send", account, body)).json["data"]
    message = await api.until(account, sent["id"], "delivered")
    accounts, keys, devices, credits, story = await read(
        hantar,
        "account list",
        f"key list --account {account.id}",
        f"device list --account {account.id}",
        f"credits show {account.id}",
        f"messages show {message['id']}",
    )
    me = (await api.get("/me", account)).json["data"]
    assert accounts == [me["account"]]
    assert [key | {"last_used_at": None} for key in keys] == [
        me["key"] | {"last_used_at": None, "revoked_at": None}
    ]
    assert devices == (await api.get("/devices", account)).json["data"]
    assert credits == (await api.get("/credits", account)).json["data"]
    shown = {name: value for name, value in message.items() if name not in ("phone", "body")}
    assert {name: story[name] for name in shown} == shown
    assert story["account_id"] == account.id
    assert [step["status"] for step in story["history"]] == [
        "created", "queued", "sent", "delivered",
    ]  # fmt: skip
    [granted] = await read(hantar, f"credits grant {account.id} 7 --note gift")
    assert granted == (await api.get("/credits/ledger", account)).json["data"][0]


async def test_people_get_words_and_tables(hantar: Processes, pool: Pool) -> None:
    account = await make_account(pool)
    message = await pool.fetchval(
        """INSERT INTO messages (account_id, device_id, phone, body, status, priority)
        VALUES ($1, $2, '+60123456789', 'hello', 'queued', 1) RETURNING id""",
        account.id,
        account.device_id,
    )
    done = await do_all(
        hantar,
        "account list",
        f"credits show {account.id}",
        f"messages show {message}",
        f"key list --account {NO_ID}",
        "--help",
    )
    table, credits, story, none, usage = (each.output for each in done.values())
    assert [each.code for each in done.values()] == [0] * 5
    assert [line.split()[0] for line in table.splitlines()] == ["id", str(account.id)]
    assert credits == "balance: 1000\nreserved: 0\n"
    assert "status: queued" in story
    assert "waiting.reason: behind" in story
    assert re.search(r"^history: 20\S+Z, created$", story, re.MULTILINE)
    assert "hello" not in story
    assert "60123456789" not in story
    assert none == "none\n"
    assert "credits" in usage


async def test_the_audit_tells_whose_books_do_not_agree(hantar: Processes, pool: Pool) -> None:
    await make_account(pool)
    bad = await make_account(pool)
    before = await hantar.do("credits", "audit")
    assert (before.code, before.output) == (0, "every account agrees\n")
    await pool.execute("UPDATE accounts SET balance = balance + 1 WHERE id = $1", bad.id)
    after = await hantar.do("credits", "audit")
    assert after.code == 1
    assert [line.split()[:3] for line in after.output.splitlines()[1:]] == [
        [str(bad.id), "1001", "1000"]
    ]
    assert after.error == "Error: 1 account(s) do not agree\n"


async def test_what_is_not_there_is_a_failure_in_one_line(hantar: Processes) -> None:
    done = await do_all(
        hantar,
        f"account verify {NO_ID}",
        f"key create --account {NO_ID} --name k",
        f"key revoke {NO_ID}",
        f"credits grant {NO_ID} 1",
        f"credits show {NO_ID} --json",
        f"device add --account {NO_ID} --name d --driver simulator",
        f"device pause {NO_ID}",
        f"messages show {NO_ID}",
    )
    assert {command: each for command, each in done.items() if not in_one_line(each)} == {}


async def test_an_email_has_one_account(hantar: Processes) -> None:
    first = await hantar.do("account", "create", "--email", "a@example.com", "--name", "A")
    again = await hantar.do("account", "create", "--email", "A@EXAMPLE.com", "--name", "B")
    assert first.code == 0
    assert in_one_line(again), again


@pytest.mark.parametrize(
    "command",
    [
        "nonsense",
        "account create --name A",
        "account create --email nobody --name A",
        "account create --email a@example.com --name \udcff",
        "credits grant 1 0",
        f"credits show {BEYOND_IDS}",
        "device add --account 1 --name d --driver telegraph",
        "device add --account 1 --name d --driver simulator --per-second nan",
        "device add --account 1 --name d --driver simulator --per-second 0",
        "key create --account 1 --name k --expires-at tomorrow",
        "key create --account 1 --name k --expires-at 9999-12-31T23:59:59-01:00",
        "events replay --account 1 --since 0001-01-01T00:00:00+01:00",
        "run --roles cook",
        "run --listen 8080",
    ],
)
def test_wrong_use_is_told_from_failure(command: str) -> None:
    # Not a process each: nothing is begun that could need one.
    done = CliRunner().invoke(main, command.split())
    assert as_wrong_use(Done(done.exit_code, done.stdout, done.stderr)), done


async def test_settings_are_shown_without_their_secrets(processes: Processes) -> None:
    processes.environment |= SERVERS | {"HANTAR_LEASE_SECONDS": "7"}
    done = await processes.do("check-config")
    assert done.code == 0
    assert "HANTAR_DATABASE_URL=****" in done.output
    assert "HANTAR_LEASE_SECONDS=7.0" in done.output
    assert "sesame" not in done.output


async def test_a_misspelt_setting_is_warned_about(processes: Processes) -> None:
    done = await processes.do("check-config", environment={"HANTAR_LISTN": "127.0.0.1:1"})
    assert done.code == 0
    assert done.error == (
        "Warning: HANTAR_LISTN is no setting and does nothing; is HANTAR_LISTEN meant?\n"
    )


async def test_settings_that_miss_or_are_wrong_are_wrong_use(processes: Processes) -> None:
    one = {"HANTAR_DATABASE_URL": SERVERS["HANTAR_DATABASE_URL"]}
    settings = [{}, one, SERVERS | {"HANTAR_SHARDS": "0"}, SERVERS | {"HANTAR_ROLES": "cook"}]
    done = await asyncio.gather(
        *(processes.do("migrate", environment=each) for each in settings),
        processes.do("run", environment=one),
        processes.do("run", environment={"HANTAR_ROLES": "ingress"}),
        processes.do("check-config", environment={"HANTAR_LISTEN": "here"}),
    )
    assert [each for each in done if not (as_wrong_use(each) and "HANTAR_" in each.error)] == []


async def test_servers_out_of_reach_are_a_failure_in_one_line(
    processes: Processes, dsn: str
) -> None:
    missing = dsn + "_not_there"
    done = await asyncio.gather(
        processes.do("account", "list"),  # there is no embedded default to reach
        processes.do("account", "list", environment=SERVERS),
        processes.do("migrate", environment=SERVERS),
        processes.do("run", environment=SERVERS),
        processes.do("run", environment=SERVERS | {"HANTAR_DATABASE_URL": missing}),
        processes.do("run", environment=SERVERS | {"HANTAR_DATABASE_URL": dsn}),
        processes.do("account", "list", environment=SERVERS | {"HANTAR_DATABASE_URL": missing}),
    )
    assert [each for each in done if not in_one_line(each)] == []
    assert "sesame" not in str(done)


async def test_a_database_that_does_not_fit_is_refused(
    hantar: Processes, empty_dsn: str, pool: Pool
) -> None:
    other_shards = {"HANTAR_SHARDS": str(SHARDS + 1)}
    refused = [
        await hantar.do("run", environment={"HANTAR_DATABASE_URL": empty_dsn}),
        await hantar.do("migrate", environment=other_shards),
    ]
    await pool.execute("INSERT INTO schema_migrations (version) VALUES ('99990101000000')")
    refused += (await do_all(hantar, "run", "migrate", "account list")).values()
    assert [each for each in refused if not in_one_line(each)] == []
    why = ["run `hantar migrate`", "HANTAR_SHARDS", *["the database is newer"] * 3]
    assert [reason in each.error for reason, each in zip(why, refused, strict=True)] == [True] * 5
    with pytest.raises(asyncpg.UndefinedTableError):
        await _count_accounts(empty_dsn)


async def _count_accounts(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=5.0)
    try:
        await connection.fetchval("SELECT count(*) FROM accounts", timeout=5.0)
    finally:
        await connection.close(timeout=5.0)
