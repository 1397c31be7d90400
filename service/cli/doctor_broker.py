"""What `hantar doctor` looks at in the broker."""

from __future__ import annotations

from aiormq.exceptions import AMQPError

from service.bus.inspection import BrokerState, inspect
from service.bus.topology import (
    CALLBACKS,
    CALLBACKS_DEAD,
    COMMAND_LIMITS,
    COMMANDS_DEAD,
    DISPATCH_DEAD,
    WEBHOOKS,
    command_queue,
)
from service.cli.findings import Finding, failed, ok, some, warning

#: Who consumes what; a queue without a consumer is a role without a process.
_CONSUMERS = {
    "recorder": (CALLBACKS, DISPATCH_DEAD, WEBHOOKS),
    "intake": tuple(command_queue(key) for key in COMMAND_LIMITS),
}


async def check_broker(amqp_url: str, shards: int) -> list[Finding]:
    """Everything; a broker that does not answer is the only finding then."""
    try:
        state = await inspect(amqp_url, shards)
    except (OSError, TimeoutError, AMQPError) as error:
        return [
            failed(
                "broker",
                f"cannot be reached, or refuses this user ({type(error).__name__})",
                "start RabbitMQ, or correct HANTAR_AMQP_URL: host and port, user, password, vhost",
            )
        ]
    return [
        ok("broker", "answers"),
        _alarms(state),
        _topology(state),
        _permissions(state),
        _consumers(state),
        _dead(state),
    ]


def _alarms(state: BrokerState) -> Finding:
    if not state.blocked:
        return ok("alarms", "it takes what is published")
    return failed(
        "alarms",
        "it takes nothing from publishers: an alarm of memory or disk",
        "run `rabbitmq-diagnostics alarms` on it, then free disk or memory",
    )


def _topology(state: BrokerState) -> Finding:
    gone = [*state.missing, *(queue.name for queue in state.queues if queue.state == "missing")]
    if gone:
        return failed("topology", f"missing: {some(gone)}", "run `hantar migrate`")
    other = [queue.name for queue in state.queues if queue.state == "differs"]
    if other:
        return failed(
            "topology",
            f"made with other arguments: {some(other)}",
            f"once it is empty: `rabbitmqctl delete_queue {other[0]}`, then `hantar migrate`",
        )
    return ok("topology", f"all {len(state.queues)} queues are as they should be")


def _permissions(state: BrokerState) -> Finding:
    unseen = [queue.name for queue in state.queues if queue.state == "refused"]
    refused = [*state.refused, *unseen]
    if not refused:
        return ok("permissions", "this user may use every queue")
    return failed(
        "permissions",
        f"this user may not use {some(refused)}",
        "a role's own user may not look at everything: ask with the HANTAR_AMQP_URL of "
        "`hantar-operator`, whose permissions are in deploy/rabbitmq/definitions.json",
    )


def _consumers(state: BrokerState) -> Finding:
    alone = {queue.name for queue in state.queues if queue.state == "sound" and not queue.consumers}
    roles = [role for role, queues in _CONSUMERS.items() if alone & set(queues)]
    shards = [name for name in alone if name.startswith("dispatch.")]
    if shards:
        roles.insert(0, "dispatcher")
    if not roles:
        return ok("consumers", "every queue has one")
    return failed(
        "consumers",
        f"nobody reads {some(sorted(alone))}",
        f"start `hantar run --roles {','.join(roles)}`; if it runs, look at its log",
    )


def _dead(state: BrokerState) -> Finding:
    resting = [
        f"{queue.messages} in {queue.name}"
        for queue in state.queues
        if queue.name in (COMMANDS_DEAD, CALLBACKS_DEAD, DISPATCH_DEAD) and queue.messages
    ]
    if not resting:
        return ok("dead letters", "none")
    return warning(
        "dead letters",
        some(resting),
        f"{COMMANDS_DEAD}: what services published wrongly, see `hantar dead list`; "
        f"{DISPATCH_DEAD}: a recorder parks it again; {CALLBACKS_DEAD}: report it, with the "
        "recorder's log",
    )
