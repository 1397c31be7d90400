"""Each role and each upstream service has a user at the broker that may do its work alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import orjson
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from service.bus.topology import declare
from service.bus.upstream_queues import Permissions, open_queue, permissions
from tests.acceptance.installation import SETTINGS, SHARDS
from tests.acceptance.processes import Processes
from tests.integration.upstream.foreign import Foreign
from tests.servers.broker_users import add_user, as_user, load_definitions
from tests.servers.rabbitmq import RabbitNode
from tests.system import eventually

ROLES = ("ingress", "intake", "dispatcher", "recorder")
PHONE = "+60123456789"


async def test_every_role_does_its_work_as_its_own_user(
    rabbit_node: RabbitNode, empty_dsn: str, vhost: str, processes: Processes
) -> None:
    await load_definitions(rabbit_node, vhost)
    processes.environment |= SETTINGS | {
        "HANTAR_DATABASE_URL": empty_dsn,
        "HANTAR_AMQP_URL": as_user(vhost, "hantar-operator"),
    }
    assert (await processes.do("migrate")).code == 0
    account = await _account(processes)
    added = await processes.do("upstream", "add", "shop", str(account), "--json")
    may = Permissions(*(added.json[name] for name in ("configure", "write", "read")))
    await add_user(rabbit_node, vhost, "shop", may)
    running = [
        processes.start(
            "run",
            "--roles",
            role,
            environment={"HANTAR_AMQP_URL": as_user(vhost, f"hantar-{role}")},
        )
        for role in ROLES
    ]
    await asyncio.gather(*(process.ready() for process in running))
    shop = Foreign(as_user(vhost, "shop"), user="shop", queue=added.json["queue"])
    await shop.open()
    body = {"account": account, "phone": PHONE, "body": "Hi"}
    await shop.publish("message.send", body, "order-1", reply_to="amq.rabbitmq.reply-to")
    await shop.publish("message.send", b"garbage", "order-2")
    own = added.json["routing_keys"].split(", ")
    assert own[0] == "message.send.shop"
    await shop.publish(own[0], body, "order-3")

    async def delivered() -> bool:
        return any(each.routing_key == "message.delivered" for each in shop.heard)

    await shop.answers("order-1")
    await shop.answers("order-3")
    await shop.until(delivered)
    assert [each.correlation_id for each in shop.replies] == ["order-1"]
    [dead] = await eventually(lambda: _dead(processes))
    assert (dead["reason"], dead["user_id"]) == ("invalid_json", "shop")
    replayed = await processes.do("dead", "replay", "--all", "--json")
    assert replayed.json == [{"id": dead["id"]}]
    await shop.close()
    codes = await asyncio.gather(*(process.terminate() for process in running))
    assert codes == [0] * len(ROLES)
    lost = [event for process in running for event in process.events("bus_consumer_lost")]
    assert lost == []


async def _account(processes: Processes) -> int:
    made = await processes.do(
        "account", "create", "--email", "a@example.com", "--name", "A", "--verified", "--json"
    )
    account: int = made.json["id"]
    for command in (
        f"credits grant {account} 100",
        f"device add --account {account} --name d --driver simulator --per-second 50",
    ):
        done = await processes.do(*command.split())
        assert done.code == 0, done
    return account


async def _dead(processes: Processes) -> Any:
    return (await processes.do("dead", "list", "--json")).json


def publish(exchange: str, key: str, **properties: Any) -> Callable[[BlockingChannel], object]:
    """Publish something there."""

    def act(channel: BlockingChannel) -> None:
        chosen = pika.BasicProperties(**properties)
        channel.basic_publish(exchange, key, orjson.dumps({}), chosen)

    return act


def read(queue: str) -> Callable[[BlockingChannel], object]:
    """Consume from a queue."""
    return lambda channel: channel.basic_consume(queue, lambda *_: None)


def make(queue: str) -> Callable[[BlockingChannel], object]:
    """Declare a queue."""
    return lambda channel: channel.queue_declare(queue, durable=True)


def listen(queue: str, exchange: str) -> Callable[[BlockingChannel], object]:
    """Bind a queue to an exchange."""
    return lambda channel: channel.queue_bind(queue, exchange, "#")


def delete(queue: str) -> Callable[[BlockingChannel], object]:
    """Delete a queue."""
    return lambda channel: channel.queue_delete(queue)


OWN, OTHER = "hantar.events.shop", "hantar.events.rival"
REFUSED: dict[str, list[Callable[[BlockingChannel], object]]] = {
    "shop": [
        publish("hantar.events", "message.sent"),
        publish("hantar.events.accounts", ""),
        publish("hantar.dispatch", "dispatch.00.express"),
        publish("hantar.callbacks", "hantar.callbacks"),
        publish("hantar.dead", "hantar.commands.dead"),
        publish("", OTHER),
        publish("hantar.commands", "message.send", user_id="rival"),
        read(OTHER),
        read("hantar.webhooks"),
        read("hantar.commands.message.send"),
        read("hantar.commands.dead"),
        read("dispatch.00.express"),
        make("hantar.events.shop.more"),
        make(""),
        listen(OWN, "hantar.events"),
        listen(OWN, "hantar.events.accounts"),
        delete(OWN),
        delete("hantar.commands.message.send"),
    ],
    "hantar-ingress": [
        read("hantar.callbacks"),
        read("dispatch.00.express"),
        publish("hantar.commands", "message.send"),
        publish("hantar.dead", "hantar.commands.dead"),
        publish("", "hantar.callbacks"),
        make("mine"),
    ],
    "hantar-intake": [
        read("hantar.callbacks"),
        read("hantar.commands.dead"),
        read("dispatch.00.express"),
        publish("hantar.callbacks", "hantar.callbacks"),
        publish("hantar.commands", "message.send"),
        make("mine"),
    ],
    "hantar-dispatcher": [
        read("hantar.callbacks"),
        read("hantar.commands.message.send"),
        publish("hantar.commands", "message.send"),
        publish("", "hantar.callbacks"),
        make("dispatch.99.express"),
        delete("dispatch.00.express"),
    ],
    "hantar-recorder": [
        read("dispatch.00.express"),
        read("hantar.commands.message.send"),
        publish("hantar.commands", "message.send"),
        publish("hantar.callbacks", "hantar.callbacks"),
        publish("", "hantar.callbacks"),
        make("mine"),
    ],
}


async def test_no_user_may_do_what_is_not_its_work(rabbit_node: RabbitNode, vhost: str) -> None:
    await declare(vhost, SHARDS, timeout_seconds=30)
    names = await load_definitions(rabbit_node, vhost)
    assert set(REFUSED) == {*names, "shop"} - {"hantar-operator"}
    for user in ("shop", "rival"):
        await add_user(rabbit_node, vhost, user, permissions(user))
        await open_queue(vhost, user, 1)
    allowed = await asyncio.to_thread(_try_all, vhost)
    assert allowed == []


def _try_all(vhost: str) -> list[str]:
    """What the broker did not refuse."""
    allowed = []
    for user, acts in REFUSED.items():
        connection = pika.BlockingConnection(pika.URLParameters(as_user(vhost, user)))
        for place, act in enumerate(acts):
            if not _is_refused(connection.channel(), act):
                allowed.append(f"{user} {place}")
        connection.close()
    return allowed


def _is_refused(channel: BlockingChannel, act: Callable[[BlockingChannel], object]) -> bool:
    channel.confirm_delivery()
    try:
        act(channel)
    except ChannelClosedByBroker as closed:
        # 406 is what the broker says to a user_id that is not the user's.
        return closed.reply_code in (403, 406)
    channel.close()
    return False


@pytest.mark.parametrize("name", ["shop.eu", "a+b", "käufer"])
def test_a_users_name_stands_for_itself_in_its_permissions(name: str) -> None:
    may = permissions(name)
    assert re.fullmatch(may.read, f"hantar.events.{name}")
    assert not re.fullmatch(may.read, "hantar.eventsXshopXeu")
    assert not re.fullmatch(may.read, f"hantar.events.{name}.more")
