"""An upstream service publishes garbage at full speed; what that does to the others."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pika

from service.bus.topology import COMMANDS_DEAD, DEAD_COMMANDS_LIMITS, command_queue, own_key
from service.bus.upstream_queues import Permissions
from tests.acceptance.imports import peak_mebibytes
from tests.acceptance.installation import Installation
from tests.acceptance.processes import ROOT, Process
from tests.integration.upstream.foreign import DIRECT_REPLY, Foreign, Heard
from tests.servers.broker_users import add_user, as_user
from tests.servers.rabbitmq import RabbitNode
from tests.system import eventually, make_account

#: The service that floods, and one that behaves.
MAD, SHOP = "mad", "shop"
PAUSE_SECONDS = 0.2
#: Garbage that may be left is worked off within this.
AFTERWARDS_SECONDS = 120.0


@dataclass
class Figures:
    """What was measured on the way; seconds of each request or command."""

    garbage: int = 0
    quiet_requests: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)
    quiet_sends: list[float] = field(default_factory=list)
    sends: list[float] = field(default_factory=list)
    intake_mebibytes: float = 0.0
    dead: int = 0

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"garbage {self.garbage:,}, dead {self.dead:,}, intake {self.intake_mebibytes:.0f} MiB",
            *(
                f"{name}: median {statistics.median(times) * 1000:.0f} ms, most "
                f"{max(times) * 1000:.0f} ms, {len(times)} of them"
                for name, times in (
                    ("HTTP before", self.quiet_requests),
                    ("HTTP meanwhile", self.requests),
                    ("bulk commands meanwhile", self.commands),
                    ("single sends before", self.quiet_sends),
                    ("single sends meanwhile", self.sends),
                )
            ),
        ]


async def flood(installation: Installation, node: RabbitNode, seconds: float) -> Figures:
    """Have garbage published for so long, and measure what others meet."""
    figures = Figures()
    url = installation.processes.environment["HANTAR_AMQP_URL"]
    rival = await make_account(installation.pool, credits=100)
    for user, account in ((MAD, rival.id), (SHOP, installation.account)):
        added = await installation.processes.do("upstream", "add", user, str(account), "--json")
        may = Permissions(*(added.json[name] for name in ("configure", "write", "read")))
        await add_user(node, url, user, may)
    ingress, intake, *others = await installation.run("ingress", "intake", "dispatcher", "recorder")
    singles, bulks = [
        Foreign(as_user(url, SHOP), user=SHOP, queue=f"hantar.events.{SHOP}") for _ in range(2)
    ]
    async with AsyncExitStack() as stack:
        for service in (singles, bulks):
            await service.open()
            stack.push_async_callback(service.close)
        until = time.monotonic() + 3
        await asyncio.gather(
            _requests(installation, ingress, figures.quiet_requests, until=until),
            _sends(installation, singles, figures.quiet_sends, until=until),
        )
        flooding = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.acceptance.flooder",
            *(as_user(url, MAD), MAD, str(rival.id), str(seconds)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        until = time.monotonic() + seconds
        await asyncio.gather(
            _requests(installation, ingress, figures.requests, until=until),
            _commands(installation, bulks, figures.commands, until=until),
            _sends(installation, singles, figures.sends, until=until),
        )
        output, _ = await flooding.communicate()
        figures.garbage = int(output)
        await eventually(lambda: _worked_off(url), within_seconds=AFTERWARDS_SECONDS)
        figures.dead = await asyncio.to_thread(_depth, url, COMMANDS_DEAD)
        figures.intake_mebibytes = peak_mebibytes(intake)
    await installation.stop(ingress, intake, *others)
    assert figures.dead <= DEAD_COMMANDS_LIMITS[0] + 100  # quorum queues overshoot a little
    return figures


async def _sends(
    installation: Installation, service: Foreign, took: list[float], *, until: float
) -> None:
    """Single sends of a service that behaves, one after the other, under its own routing key."""
    while time.monotonic() < until:
        number, began = time.monotonic_ns(), time.monotonic()
        phone = f"+6012{5_000_000 + number % 1_000_000}"
        body = {"account": installation.account, "phone": phone, "body": "Hi"}
        await _accepted(service, own_key("message.send", SHOP), body, f"single-{number}")
        took.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_SECONDS)


async def _accepted(service: Foreign, routing_key: str, body: object, name: str) -> None:
    """Publish a command, and return when it is accepted."""
    await service.publish(routing_key, body, name, reply_to=DIRECT_REPLY)

    async def look() -> Heard | None:
        return next((each for each in service.replies if each.correlation_id == name), None)

    answer = await service.until(look, within_seconds=60)
    assert answer.type == "hantar.command.accepted.v1", answer


async def _requests(
    installation: Installation, ingress: Process, took: list[float], *, until: float
) -> None:
    """Bulks of one over HTTP, one after the other."""
    while time.monotonic() < until:
        number, began = len(took), time.monotonic()
        phone = f"+6012{3_000_000 + number}"
        body = {"messages": [{"phone": phone, "body": f"{began}"}]}
        answer = await installation.bulk(ingress, body)
        assert answer.status == 202, answer
        took.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_SECONDS)


async def _commands(
    installation: Installation, good: Foreign, took: list[float], *, until: float
) -> None:
    """Bulk commands of a service that behaves, one after the other."""
    while time.monotonic() < until:
        number, began = len(took), time.monotonic()
        messages = [{"phone": f"+6012{4_000_000 + number}", "body": "Hi"}]
        body = {"account": installation.account, "messages": messages}
        await _accepted(good, "message.bulk", body, f"good-{number}")
        took.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_SECONDS)


async def _worked_off(url: str) -> bool:
    return await asyncio.to_thread(_depth, url, command_queue("message.send")) == 0


def _depth(url: str, queue: str) -> int:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        depth: int = connection.channel().queue_declare(queue, passive=True).method.message_count
        return depth
    finally:
        connection.close()
