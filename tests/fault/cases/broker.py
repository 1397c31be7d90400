"""The broker restarts, dies, blocks, forgets, or is out of reach."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

from service.bus.topology import dispatch_queue
from tests.fault.case import case, load
from tests.fault.cases.amid import amid, usual
from tests.fault.world import World
from tests.system import eventually

LONG = 90.0
#: A quorum queue younger than this may not survive a kill of RabbitMQ 3.10.
GROWN_SECONDS = 3.0


async def _grown(world: World) -> None:
    await asyncio.sleep(max(0.0, world.declared_at + GROWN_SECONDS - time.monotonic()))


@case("F20a", "broker restarted in order amid dispatch", settle_seconds=LONG)
async def restarted(world: World) -> None:
    await usual(world)
    await _grown(world)
    await amid(world, "broker restarts", world.servers.restart_rabbit)


@case("F20b", "broker restarted while a bulk is accepted", settle_seconds=LONG)
async def restarted_early(world: World) -> None:
    await usual(world)
    await _grown(world)
    working = asyncio.create_task(load(world, singles=60))
    world.struck("broker restarts")
    await world.servers.restart_rabbit()
    world.struck("end of broker restarts")
    await working


@case("F21a", "broker killed amid dispatch: publishes and acks lost", settle_seconds=LONG)
async def broker_killed(world: World) -> None:
    await usual(world)
    await _grown(world)
    await amid(world, "broker killed", world.servers.crash_rabbit)


@case("F21b", "broker killed as a bulk is published", settle_seconds=LONG)
async def broker_killed_early(world: World) -> None:
    await usual(world)
    await _grown(world)
    await amid(world, "broker killed", world.servers.crash_rabbit, calls=1)


@case("F21c", "broker stands still for ten seconds", settle_seconds=LONG)
async def broker_stalls(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        await world.servers.stall_rabbit(10)

    await amid(world, "broker stands still", strike)


@case("F23", "memory alarm amid a bulk: accepted all the same, acks go on", settle_seconds=LONG)
async def memory_alarm(world: World) -> None:
    roles = await usual(world)
    rabbit = world.servers.rabbit

    async def strike() -> None:
        await rabbit.control("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            reply = await world.client.send(world.tenants[0])
            assert reply.status in (202, 503), f"{reply.status} under the alarm"
            await asyncio.sleep(4)
        finally:
            await rabbit.control("set_vm_memory_high_watermark", "absolute", "1GB")

    await amid(world, "memory alarm", strike, calls=10)
    assert all(child.starts == 1 for child in roles.all)


@case("F24", "disk alarm amid a bulk", settle_seconds=LONG)
async def disk_alarm(world: World) -> None:
    await usual(world)
    rabbit = world.servers.rabbit

    async def strike() -> None:
        await rabbit.control("set_disk_free_limit", "900GB")
        await asyncio.sleep(4)
        await rabbit.control("set_disk_free_limit", "50MB")

    await amid(world, "disk alarm", strike, calls=10)


@case("F25a", "ingress and broker apart, both ways", settle_seconds=LONG)
async def ingress_apart(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxy = roles.ingress.amqp
    assert proxy is not None

    async def strike() -> None:
        proxy.silence()
        await asyncio.sleep(4)
        proxy.heal()

    await amid(world, "ingress and broker apart", strike, calls=5)


@case("F25b", "confirms no longer reach ingress", settle_seconds=LONG)
async def confirms_lost(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxy = roles.ingress.amqp
    assert proxy is not None

    async def strike() -> None:
        proxy.silence(proxy.back)
        await asyncio.sleep(3)
        proxy.reset()
        proxy.heal()

    await amid(world, "confirms lost", strike, calls=5)


@case("F25c", "ingress's connections to the broker are reset, again and again", settle_seconds=LONG)
async def ingress_reset(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxy = roles.ingress.amqp
    assert proxy is not None

    async def strike() -> None:
        for _ in range(4):
            proxy.reset()
            await asyncio.sleep(0.7)

    await amid(world, "ingress reset", strike, calls=5)


@case("F26a", "dispatcher and broker apart with calls in flight", settle_seconds=LONG)
async def dispatcher_apart(world: World) -> None:
    await world.provider.tell(
        default={
            "answer": "sent",
            "accept": True,
            "delay": 0.5,
            "callbacks": [["sent", 0.6], ["delivered", 0.8]],
        }
    )
    roles = await usual(world, proxied=True)
    proxy = roles.dispatcher.amqp
    assert proxy is not None

    async def strike() -> None:
        proxy.silence()
        await asyncio.sleep(3)
        proxy.reset()
        proxy.heal()

    await amid(world, "dispatcher and broker apart", strike)


@case("F26b", "acks no longer leave the dispatcher", settle_seconds=LONG)
async def acks_lost(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxy = roles.dispatcher.amqp
    assert proxy is not None

    async def strike() -> None:
        proxy.silence(proxy.there)
        await asyncio.sleep(2)
        proxy.reset()
        proxy.heal()

    await amid(world, "acks lost", strike)


@case("F26c", "dispatcher's frames arrive in pieces of nine bytes, slowly", settle_seconds=LONG)
async def sliced(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxy = roles.dispatcher.amqp
    assert proxy is not None

    async def strike() -> None:
        for way in (proxy.there, proxy.back):
            way.slice_bytes = 9
            way.latency_seconds = 0.001
        await asyncio.sleep(4)
        proxy.heal()

    await amid(world, "sliced frames", strike)


@case("F28a", "dispatch queues purged by hand", settle_seconds=LONG)
async def purged(world: World) -> None:
    roles = await usual(world)
    roles.dispatcher.left = True
    await roles.dispatcher.process.terminate()
    working = asyncio.create_task(load(world))
    await working
    rabbit, vhost = world.servers.rabbit, quote(world.vhost, safe="")

    async def published() -> bool:
        [row] = await world.query("SELECT count(*) FROM outbox")
        return bool(row["count"] == 0)

    await eventually(published)
    world.struck("queues purged")
    for shard in (0, 1):
        for express in (True, False):
            queue = dispatch_queue(shard, express=express)
            await rabbit.manage("DELETE", f"/queues/{vhost}/{queue}/contents")
    roles.dispatcher.left = False


@case("F28b", "a dispatch queue deleted by hand, declared again by `hantar migrate`")
async def deleted(world: World) -> None:
    await usual(world)
    rabbit, vhost = world.servers.rabbit, quote(world.vhost, safe="")

    async def strike() -> None:
        await rabbit.manage("DELETE", f"/queues/{vhost}/{dispatch_queue(0, express=False)}")
        await asyncio.sleep(1)
        done = await world.processes.do(
            "migrate",
            environment={
                "HANTAR_DATABASE_URL": world.servers.dsn(world.database),
                "HANTAR_AMQP_URL": world.servers.amqp_url(world.vhost),
            },
        )
        assert done.code == 0, done

    await amid(world, "queue deleted", strike)


@case("F28c", "a dispatch queue is unbound by hand, and bound again")
async def unbound(world: World) -> None:
    world.no_second_look()
    await usual(world)
    rabbit, vhost = world.servers.rabbit, quote(world.vhost, safe="")
    queues = [
        dispatch_queue(shard, express=express) for shard in (0, 1) for express in (True, False)
    ]
    bindings = {queue: f"/bindings/{vhost}/e/hantar.dispatch/q/{queue}" for queue in queues}

    async def strike() -> None:
        for queue, path in bindings.items():
            await rabbit.manage("DELETE", f"{path}/{queue}")
        await asyncio.sleep(3)
        for queue, path in bindings.items():
            await rabbit.manage("POST", path, {"routing_key": queue, "arguments": {}})

    await amid(world, "queues unbound", strike, calls=5, singles=80)


@case("F29", "a queue stands with other arguments: migrate fails and says so", about_requests=True)
async def other_arguments(world: World) -> None:
    await usual(world)
    rabbit, vhost = world.servers.rabbit, quote(world.vhost, safe="")
    queue = f"/queues/{vhost}/hantar.dispatch.dead"
    environment = {
        "HANTAR_DATABASE_URL": world.servers.dsn(world.database),
        "HANTAR_AMQP_URL": world.servers.amqp_url(world.vhost),
    }
    world.struck("queue declared otherwise")
    await rabbit.manage("DELETE", queue)
    await rabbit.manage("PUT", queue, {"durable": True, "arguments": {"x-queue-type": "classic"}})
    done = await world.processes.do("migrate", environment=environment)
    assert (done.code, "hantar.dispatch.dead differs" in done.error) == (1, True), done
    await rabbit.manage("DELETE", queue)
    done = await world.processes.do("migrate", environment=environment)
    assert done.code == 0, done


@case("F30", "queues are full and refuse: what is accepted waits", settle_seconds=LONG)
async def full(world: World) -> None:
    await usual(world)
    rabbit, vhost = world.servers.rabbit, quote(world.vhost, safe="")
    policy = f"/policies/{vhost}/full"
    await rabbit.manage(
        "PUT",
        policy,
        {
            "pattern": "^dispatch",
            "definition": {"max-length": 1, "overflow": "reject-publish"},
            "apply-to": "queues",
        },
    )

    async def strike() -> None:
        await asyncio.sleep(3)
        await rabbit.manage("DELETE", policy)

    await amid(world, "queues full", strike, calls=1, singles=80, gap=0.03)
