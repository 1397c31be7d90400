"""A foreign service publishes bulks while the intake is killed and the broker restarted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from tests.acceptance.installation import Installation
from tests.acceptance.processes import Process
from tests.servers.rabbitmq import RabbitNode
from tests.system import eventually

#: Commands without an answer at once, so that there is something to publish until the end.
UNANSWERED = 8
#: Every so many commands are published twice, by a service that is not sure.
TWICE = 10
#: The user at the broker.
USER = "guest"
PER_SECOND = 5000
RETRY_SECONDS = 0.2
WITHIN_SECONDS = 300.0


@dataclass(slots=True)
class Figures:
    """What was measured on the way."""

    commands: int = 0
    answers: int = 0
    answered_seconds: float = 0.0
    delivered_seconds: float = 0.0
    event_messages: int = 0
    events_repeated: int = 0
    #: messages of which a later event was heard before an earlier one
    out_of_order: int = 0
    publishes_repeated: int = 0


@dataclass
class Service:
    """An upstream service that publishes until it is confirmed, and acks what it has noted."""

    url: str
    account: int
    devices: list[int]
    commands: int
    bulk: int
    answers: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    #: per message the changes in the order in which they were heard: seq and status
    changes: dict[int, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    published: int = 0
    repeated: int = 0
    event_messages: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def name(self, number: int) -> str:
        """The message_id of a command."""
        return f"load-{number}"

    def body(self, number: int) -> bytes:
        """Messages to persons of their own."""
        first = number * self.bulk
        return orjson.dumps(
            {
                "account": self.account,
                "body": "Hello",
                "messages": [
                    {
                        "phone": f"+6012{1_000_000 + first + place}",
                        "device": self.devices[place % len(self.devices)],
                        "reference": f"{number}.{place}",
                    }
                    for place in range(self.bulk)
                ],
            }
        )

    def publish_all(self) -> None:
        """Every command, whatever happens to the broker."""
        number = 0
        while number < self.commands and not self._over.is_set():
            try:
                with _channel(self.url) as channel:
                    channel.confirm_delivery()
                    while number < self.commands and not self._over.is_set():
                        if number - len(self.answers) >= UNANSWERED:
                            channel.connection.process_data_events(RETRY_SECONDS)
                            continue
                        for _ in range(2 if number % TWICE == 0 else 1):
                            self._publish(channel, number)
                        number += 1
                        self.published = number
            except (AMQPError, OSError):
                self.repeated += 1
                time.sleep(RETRY_SECONDS)

    def _publish(self, channel: BlockingChannel, number: int) -> None:
        properties = pika.BasicProperties(
            message_id=self.name(number),
            user_id=USER,
            type="hantar.message.bulk.v1",
            content_type="application/json",
            delivery_mode=2,
        )
        body = self.body(number)
        channel.basic_publish("hantar.commands", "message.bulk", body, properties, mandatory=True)

    def listen(self) -> None:
        """Every event, until it is over."""
        while not self._over.is_set():
            try:
                with _channel(self.url) as channel:
                    channel.basic_qos(prefetch_count=200)
                    for method, properties, body in channel.consume(
                        f"hantar.events.{USER}", inactivity_timeout=RETRY_SECONDS
                    ):
                        if method is not None:
                            self._hear(properties.correlation_id, body)
                            channel.basic_ack(method.delivery_tag)
                        if self._over.is_set():
                            break
            except (AMQPError, OSError):
                time.sleep(RETRY_SECONDS)

    def _hear(self, command: str | None, body: bytes) -> None:
        if command is not None:
            self.answers[command].append(body)
            return
        self.event_messages += 1
        for event in orjson.loads(body)["events"]:
            self.changes[event["message_id"]].append((event["seq"], event["status"]))

    def end(self) -> None:
        """Both threads are to come to an end."""
        self._over.set()


@contextmanager
def _channel(url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


async def load_through_kills(
    installation: Installation,
    sends: int,
    *,
    kills: int,
    bulk: int = 1000,
    node: RabbitNode | None = None,
) -> Figures:
    """Publish so many sends, and check that each was answered, sent and told of once.

    The intake is killed so often, at equal distances; with a `node` the broker is restarted in the
    middle of it.
    """
    service = await _prepare(installation, sends, bulk)
    others = await installation.run("dispatcher", "recorder")
    [intake] = await installation.run("intake")
    began = time.monotonic()
    threads = [
        asyncio.create_task(asyncio.to_thread(work))
        for work in (service.publish_all, service.listen)
    ]
    figures = Figures(commands=service.commands)
    try:
        stages = [service.commands * (n + 1) // (kills + 1) for n in range(kills)]
        for place, stage in enumerate(stages):
            await _answered(service, stage)
            if node is not None and place == kills // 2:
                await asyncio.to_thread(node.stop)
                node.launch()  # on this thread: it would end with another one
                await asyncio.to_thread(node.await_ready)
            intake = await _killed(installation, service, intake)
        await _answered(service, service.commands)
        figures.answered_seconds = time.monotonic() - began
        await _delivered(installation, sends)
        figures.delivered_seconds = time.monotonic() - began
        await _told(installation, service)
    finally:
        service.end()
        await asyncio.gather(*threads)
    await _check(installation, service, sends, figures)
    await installation.stop(intake, *others)
    return figures


async def _prepare(installation: Installation, sends: int, bulk: int) -> Service:
    do = installation.processes.do
    account = str(installation.account)
    for command in (f"upstream add {USER} {account}", f"credits grant {account} {sends}"):
        done = await do(*command.split())
        assert done.code == 0, done
    await installation.pool.execute("UPDATE devices SET per_second = $1", float(PER_SECOND))
    url = installation.processes.environment["HANTAR_AMQP_URL"]
    devices = list(installation.devices.values())
    return Service(url, installation.account, devices, sends // bulk, bulk)


async def _answered(service: Service, count: int) -> None:
    async def look() -> bool:
        return len(service.answers) >= count

    await eventually(look, within_seconds=WITHIN_SECONDS)


async def _killed(installation: Installation, service: Service, intake: Process) -> Process:
    """Killed while commands are unanswered, and started again."""
    assert len(service.answers) < service.commands, "killed too late to prove anything"
    intake.kill()
    [again] = await installation.run("intake")
    return again


async def _delivered(installation: Installation, sends: int) -> None:
    async def look() -> bool:
        left: int = await installation.pool.fetchval(
            "SELECT count(*) FROM messages WHERE status NOT IN ('delivered', 'read')"
        )
        return left == 0

    await eventually(look, within_seconds=WITHIN_SECONDS)
    assert await installation.pool.fetchval("SELECT count(*) FROM messages") == sends


async def _told(installation: Installation, service: Service) -> None:
    """Return once every change of every message was heard, or the time is over."""
    total: int = await installation.pool.fetchval("SELECT sum(seq) FROM messages")

    async def look() -> bool:
        return sum(len(set(told)) for told in list(service.changes.values())) >= total

    await eventually(look, within_seconds=WITHIN_SECONDS)


async def _check(
    installation: Installation, service: Service, sends: int, figures: Figures
) -> None:
    names = {service.name(number) for number in range(service.commands)}
    assert service.answers.keys() == names
    accepted: dict[int, str] = {}
    for name, told in service.answers.items():
        assert len(set(told)) == 1, f"{name} has {len(set(told))} different answers"
        answer = orjson.loads(told[0])
        assert answer["rejected"] == []
        accepted |= {item["id"]: item["phone"] for item in answer["queued"]}
    assert len(accepted) == len(set(accepted.values())) == sends
    calls = await installation.calls()
    assert calls == dict.fromkeys(accepted, 1)
    for row in await installation.pool.fetch("SELECT id, seq, status::text FROM messages"):
        told_of = dict(service.changes[row["id"]])
        assert sorted(told_of) == list(range(1, row["seq"] + 1)), row
        assert told_of[row["seq"]] == row["status"], row
    audit = await installation.processes.do("credits", "audit")
    assert audit.code == 0, audit
    first = [list(dict.fromkeys(seq for seq, _ in told)) for told in service.changes.values()]
    figures.out_of_order = sum(seqs != sorted(seqs) for seqs in first)
    figures.answers = sum(map(len, service.answers.values()))
    figures.event_messages = service.event_messages
    figures.events_repeated = sum(len(t) - len(set(t)) for t in service.changes.values())
    figures.publishes_repeated = service.repeated
