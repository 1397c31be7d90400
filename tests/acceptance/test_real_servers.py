"""Four processes on a real PostgreSQL and a real RabbitMQ, and what a bulk meets when one dies.

The simulated WhatsApp counts calls and keeps nothing back: a second call is a second message.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import yarl

from tests.acceptance.installation import VALID, Installation, held
from tests.acceptance.processes import Processes
from tests.acceptance.wire import wire_to
from tests.system import Answer, eventually

#: 988 messages over two devices of 80 a second take 6 s.
BULK_SECONDS = 30.0
KILL_SECONDS = 60.0
#: Claims reach 50 ms ahead: 4 messages at 80 a second, and some whose claim was just answered.
IN_FLIGHT = 20
#: Made by both dispatchers in less time than WhatsApp takes to answer.
CALLS_UNANSWERED = 30
#: By then it has decided on what it found.
CALLS_OF_HEIR = 50


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


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a killed dispatcher left, when another one has taken over its shard."""

    accepted: set[int]
    #: handed over, and not answered in its lifetime
    doubted_called: set[int]
    #: claimed, and not handed over any more
    doubted_uncalled: set[int]
    died_at: float


async def kill_a_dispatcher_amid(
    installation: Installation, messages: list[dict[str, Any]], *, after_calls: int
) -> Aftermath:
    """Kill it while calls wait for their answers.

    The recorder was stopped before, so that the heir cannot know what WhatsApp has to say on them.
    """
    installation.processes.environment["HANTAR_SIMULATOR_LATENCY_MS"] = "300"
    ingress, victim, heir, recorder = await installation.run(
        "ingress", "dispatcher", "dispatcher", "recorder"
    )
    await installation.shared_out()
    [shard] = held(victim)
    before = await installation.owners()
    places = accepted(await installation.bulk(ingress, {"messages": messages}))
    await installation.called(after_calls)
    await installation.stop(recorder)
    await installation.called(len(await installation.calls()) + CALLS_UNANSWERED)
    victim.kill()
    died_at = time.monotonic()
    device = installation.devices[shard]
    of_victim = {id_ for id_, place in places.items() if messages[place]["device"] == device}
    called = (await installation.calls()).keys()
    assert of_victim & called, "it died too early to prove anything"
    assert of_victim - called, "it died too late to prove anything"

    async def inherited() -> bool:
        row = await installation.pool.fetchrow(
            "SELECT (SELECT count(*) FROM simulator_calls WHERE device_id = $1 AND epoch > $3),"
            " (SELECT count(*) FROM claims WHERE shard = $2 AND epoch <= $3) AS orphans",
            device,
            shard,
            before[shard][1],
        )
        return row is not None and row["count"] >= CALLS_OF_HEIR and row["orphans"] == 0

    await eventually(inherited)
    assert held(heir) == set(installation.devices)
    doubted = await installation.with_status("unconfirmed")
    assert doubted <= of_victim
    called = (await installation.calls()).keys()  # anew: its last call may have come in since
    return Aftermath(set(places), doubted & called, doubted - called, died_at)


async def test_a_dispatcher_killed_amid_a_bulk_loses_and_doubles_nothing(
    installation: Installation,
) -> None:
    """What was in its hands is in doubt: if no word comes, it is sent this once more."""
    messages = [message | {"delivery": "at_least_once"} for message in installation.sample()]
    left = await kill_a_dispatcher_amid(installation, messages, after_calls=200)
    await installation.run("recorder")
    assert len(left.accepted) == VALID
    assert left.doubted_called
    within_seconds = left.died_at + KILL_SECONDS - time.monotonic()
    await installation.delivered(left.accepted, within_seconds=within_seconds)
    assert await installation.calls() == dict.fromkeys(left.accepted, 1)
    resent = await installation.pool.fetch("SELECT id FROM messages WHERE resent")
    assert {row["id"] for row in resent} == left.doubted_uncalled
    await installation.books_agree(spent=VALID)


async def test_what_may_not_be_sent_again_stays_in_doubt_when_a_dispatcher_is_killed(
    installation: Installation,
) -> None:
    messages = installation.sample()
    left = await kill_a_dispatcher_amid(installation, messages, after_calls=50)
    assert left.doubted_called

    async def all_called() -> bool:
        return not await installation.with_status("queued", "sending")

    await eventually(all_called, within_seconds=BULK_SECONDS)
    await installation.run("recorder")

    async def settled() -> bool:
        unconfirmed = await installation.with_status("unconfirmed")
        delivered = await installation.with_status("delivered")
        return unconfirmed == left.doubted_uncalled and delivered == left.accepted - unconfirmed

    await eventually(settled, within_seconds=KILL_SECONDS)
    assert await installation.calls() == dict.fromkeys(left.accepted - left.doubted_uncalled, 1)
    assert len(left.doubted_uncalled) <= IN_FLIGHT
    reserved = await installation.pool.fetch("SELECT id FROM messages WHERE credit = 'reserved'")
    assert {row["id"] for row in reserved} == left.doubted_uncalled
    await installation.books_agree(spent=len(left.accepted))


async def test_dispatchers_are_replaced_one_by_one_amid_a_bulk(installation: Installation) -> None:
    ingress, first, second, _ = await installation.run(
        "ingress", "dispatcher", "dispatcher", "recorder"
    )
    await installation.shared_out()
    answer = await installation.bulk(ingress, {"messages": installation.sample()})
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
