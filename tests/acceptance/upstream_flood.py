"""An upstream service publishes garbage at full speed; what that does to the others."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field

import pika

from service.bus.topology import COMMANDS_DEAD, DEAD_COMMANDS_LIMITS, command_queue
from tests.acceptance.imports import peak_mebibytes
from tests.acceptance.installation import Installation
from tests.acceptance.processes import ROOT, Process
from tests.integration.upstream.foreign import Foreign
from tests.system import eventually

USER = "guest"
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
                )
            ),
        ]


async def flood(installation: Installation, seconds: float) -> Figures:
    """Have garbage published for so long, and measure what others meet."""
    figures = Figures()
    url = installation.processes.environment["HANTAR_AMQP_URL"]
    done = await installation.processes.do("upstream", "add", USER, str(installation.account))
    assert done.code == 0, done
    ingress, intake, *others = await installation.run("ingress", "intake", "dispatcher", "recorder")
    good = Foreign(url, queue=f"hantar.events.{USER}")
    await good.open()
    await _requests(installation, ingress, figures.quiet_requests, until=time.monotonic() + 2)
    flooding = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.acceptance.flooder",
        url,
        USER,
        str(seconds),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    until = time.monotonic() + seconds
    await asyncio.gather(
        _requests(installation, ingress, figures.requests, until=until),
        _commands(installation, good, figures.commands, until=until),
    )
    output, _ = await flooding.communicate()
    figures.garbage = int(output)
    await eventually(lambda: _worked_off(url), within_seconds=AFTERWARDS_SECONDS)
    figures.dead = await asyncio.to_thread(_depth, url, COMMANDS_DEAD)
    figures.intake_mebibytes = peak_mebibytes(intake)
    # A single send goes behind the garbage, and comes through all the same.
    body = {"account": installation.account, "phone": "+60123456789", "body": "After"}
    await good.publish("message.send", body, "after-1")
    [answer] = await good.answers("after-1")
    assert answer.routing_key == "command.accepted"
    await good.close()
    await installation.stop(ingress, intake, *others)
    assert figures.dead <= DEAD_COMMANDS_LIMITS[0] + 100  # quorum queues overshoot a little
    return figures


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
        await good.publish("message.bulk", body, f"good-{number}")
        [answer] = await good.answers(f"good-{number}")
        assert answer.routing_key == "command.accepted"
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
