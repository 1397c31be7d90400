"""Four processes on a real PostgreSQL and a real RabbitMQ, and what a bulk meets when one dies.

The simulated WhatsApp counts calls and keeps nothing back: a second call is a second message.
"""

from __future__ import annotations

import time
from typing import Any

import yarl

from tests.acceptance.installation import VALID, Installation, held
from tests.acceptance.processes import Processes
from tests.acceptance.wire import wire_to
from tests.system import Answer, eventually

#: 988 messages over two devices of 80 a second take 6 s.
BULK_SECONDS = 30.0
KILL_SECONDS = 60.0
#: A claim reaches 50 ms ahead, 4 messages at 80 a second; the rest waits for its answer.
IN_FLIGHT = 20


def accepted(answer: Answer) -> dict[int, int]:
    """Place in the bulk by id of the message."""
    assert answer.status == 202
    return {item["id"]: item["index"] for item in answer.json["queued"]}


async def test_a_bulk_passes_through_four_processes(
    installation: Installation, processes: Processes
) -> None:
    again = await processes.do("migrate")
    assert (again.code, again.output) == (0, "database and broker are up to date\n")
    running = await installation.run("ingress", "dispatcher", "dispatcher", "recorder")
    await installation.shared_out()
    answer = await installation.bulk(running[0], {"messages": installation.sample()})
    ids = set(accepted(answer))
    assert (len(ids), len(answer.json["rejected"])) == (VALID, 12)
    await installation.delivered(ids, within_seconds=BULK_SECONDS)
    assert await installation.calls() == dict.fromkeys(ids, 1)
    await installation.books_agree(spent=VALID)
    await installation.stop(*running)
    left = await installation.pool.fetchrow(
        "SELECT (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM claims) AS claims,"
        " (SELECT count(*) FROM parked) AS parked, (SELECT count(*) FROM doubts) AS doubts,"
        " (SELECT count(*) FROM workers) AS workers, (SELECT count(owner) FROM shard_leases)"
    )
    assert left is not None
    assert list(left.values()) == [0] * 6


async def kill_a_dispatcher_amid(
    installation: Installation, messages: list[dict[str, Any]], *, after_calls: int
) -> tuple[set[int], float]:
    """Accepted ids and the time of death, once the other dispatcher has taken over its shard."""
    ingress, victim, heir, _ = await installation.run(
        "ingress", "dispatcher", "dispatcher", "recorder"
    )
    await installation.shared_out()
    [shard] = held(victim)
    before = await installation.owners()
    places = accepted(await installation.bulk(ingress, {"messages": messages}))
    await installation.called(after_calls)
    victim.kill()
    died_at = time.monotonic()
    called = (await installation.calls()).keys()
    of_victim = {
        id_
        for id_, place in places.items()
        if messages[place]["device"] == installation.devices[shard]
    }
    assert of_victim & called, "it died too early to prove anything"
    assert of_victim - called, "it died too late to prove anything"

    async def inherited() -> bool:
        return held(heir) == set(installation.devices)

    await eventually(inherited)
    assert (await installation.owners())[shard][1] > before[shard][1]
    return set(places), died_at


async def test_a_dispatcher_killed_amid_a_bulk_loses_and_doubles_nothing(
    installation: Installation,
) -> None:
    """What was in its hands is in doubt: without a word on it, it is sent this once more."""
    messages = [message | {"delivery": "at_least_once"} for message in installation.sample()]
    ids, died_at = await kill_a_dispatcher_amid(installation, messages, after_calls=200)
    assert len(ids) == VALID
    await installation.delivered(ids, within_seconds=died_at + KILL_SECONDS - time.monotonic())
    assert await installation.calls() == dict.fromkeys(ids, 1)
    resent = await installation.pool.fetchval("SELECT count(*) FROM messages WHERE resent")
    assert 0 < resent <= IN_FLIGHT
    await installation.books_agree(spent=VALID)


async def test_what_may_not_be_sent_again_stays_in_doubt_when_a_dispatcher_is_killed(
    installation: Installation,
) -> None:
    ids, _ = await kill_a_dispatcher_amid(installation, installation.sample()[:500], after_calls=80)

    async def settled() -> bool:
        called = (await installation.calls()).keys()
        delivered = await installation.with_status("delivered")
        unconfirmed = await installation.with_status("unconfirmed")
        return delivered == called and unconfirmed == ids - called

    await eventually(settled, within_seconds=KILL_SECONDS)
    assert set((await installation.calls()).values()) == {1}
    unconfirmed = await installation.with_status("unconfirmed")
    assert len(unconfirmed) <= IN_FLIGHT
    reserved = await installation.pool.fetch("SELECT id FROM messages WHERE credit = 'reserved'")
    assert {row["id"] for row in reserved} == unconfirmed
    await installation.books_agree(spent=len(ids))


async def test_dispatchers_are_replaced_one_by_one_amid_a_bulk(installation: Installation) -> None:
    ingress, first, second, _ = await installation.run(
        "ingress", "dispatcher", "dispatcher", "recorder"
    )
    await installation.shared_out()
    answer = await installation.bulk(ingress, {"messages": installation.sample()[:600]})
    ids = set(accepted(answer))
    await installation.called(50)
    await installation.stop(first)
    [third] = await installation.run("dispatcher")
    await installation.stop(second)
    assert (await installation.calls()).keys() < ids, "they stopped too late to prove anything"
    await installation.delivered(ids, within_seconds=BULK_SECONDS)
    assert held(third) == set(installation.devices)
    assert await installation.calls() == dict.fromkeys(ids, 1)
    await installation.books_agree(spent=len(ids))


async def test_an_ingress_killed_between_commit_and_publish_loses_nothing(
    installation: Installation, processes: Processes
) -> None:
    broker = yarl.URL(processes.environment["HANTAR_AMQP_URL"])
    _, recorder = await installation.run("dispatcher", "recorder")
    bulk: dict[str, Any] = {"messages": installation.sample()[:100]}
    async with wire_to(broker.port or 0) as wire:
        through_wire = {"HANTAR_AMQP_URL": str(broker.with_port(wire.port))}
        victim = processes.start("run", "--roles", "ingress", environment=through_wire)
        await victim.ready()
        wire.silence()
        first = await installation.bulk(victim, bulk, key="once")
        ids = set(accepted(first))
        victim.kill()
        assert await installation.pool.fetchval("SELECT count(*) FROM outbox") > 0
        assert await installation.calls() == {}
    await installation.delivered(ids, within_seconds=BULK_SECONDS)
    assert await installation.calls() == dict.fromkeys(ids, 1)
    assert recorder.events("outbox_swept")
    [ingress] = await installation.run("ingress")
    again = await installation.bulk(ingress, bulk, key="once")
    assert (again.status, again.json) == (202, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    await installation.books_agree(spent=len(ids))
