"""The AsyncAPI document of the queues, made from the types that validate."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from schemas.api import BULK_LIMIT, Send
from schemas.channels import COMMANDS, EVENTS, Channel
from service.bus import topology
from service.bus.topology import own_key

JSON = "application/json"
DESCRIPTION = """\
Publish commands to Hantar over AMQP 0-9-1 (RabbitMQ), and hear what became of them.

Your operator gives you a user at the broker, the accounts that your commands may name, and a queue
called `hantar.events.` and your user's name, which gets every event of these accounts. You need
nothing else: declare no exchange and no queue.

Publish a command persistently to the exchange `hantar.commands`, under its routing key followed by
a dot and the name of your user (`message.send.shop`), with publisher confirms and the flag
`mandatory`. It goes to a queue of your own, where your commands wait behind nobody else's. Set the
properties `message_id`, `user_id`, `type` and `content_type` as each command says. A command that
the broker did not confirm, or refused because the queue is full, is not lost if you publish it
again under the same `message_id`: for 7 days each `message_id` has one effect and one answer, over
AMQP and as an `Idempotency-Key` over HTTP alike.
The routing key alone (`message.send`) leads to a queue that all services share; it stays for those
that were written before there were others.

Every command is answered by `command.accepted` or `command.rejected`, whose `correlation_id` is the
command's `message_id`. The answer is an event; with `reply_to` set to `amq.rabbitmq.reply-to` it
also comes back at once on that pseudo queue. What is no command at all (another `type`, no JSON, no
`message_id`, no account) gets no answer: it is kept aside for the operator. So is a command for an
account that is not yours; its `command.rejected`, `forbidden`, goes to `reply_to` alone.

Consume your queue with acknowledgements. An event comes at least once, and a repetition has the
same `message_id` property. Of each message `seq` begins at 1 and rises by one: the event with the
higher `seq` is the newer one. A single consumer that leaves out repetitions gets them in this
order. Take events of a `type` or fields that you do not know for later additions, and ignore them.
Times are RFC 3339 in UTC, ids are whole numbers, phones are E.164.
"""
_QUEUE_OF_USER = "hantar.events.{user}"
_MESSAGE_ID = "^[!-~]{1,255}$"


def document() -> dict[str, Any]:
    """The whole document; the same program gives the same document."""
    bodies: list[Any] = [Send, *(channel.body for channel in (*COMMANDS, *EVENTS))]
    _, schemas = msgspec.json.schema_components(bodies, ref_template=_ref("schemas", "{name}"))
    schemas[COMMANDS[1].body.__name__]["properties"]["messages"] = {
        "type": "array",
        "items": {"$ref": _ref("schemas", "Send")},
        "minItems": 1,
        "maxItems": BULK_LIMIT,
    }
    every = (*COMMANDS, *EVENTS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Hantar",
            "version": version("hantar"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {"broker": _SERVER},
        "channels": {channel.name: _channel(channel) for channel in every}
        | {"ownQueue": _OWN_QUEUE, "reply": _REPLY},
        "operations": {_operation_name(channel): _operation(channel) for channel in every},
        "components": {
            "messages": {channel.name: _message(channel) for channel in every},
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "user": {"type": "userPassword", "description": "A user of the broker."}
            },
        },
    }


def _ref(kind: str, name: str) -> str:
    return f"#/components/{kind}/{name}"


_SERVER = {
    "host": "localhost:5672",
    "protocol": "amqp",
    "protocolVersion": "0.9.1",
    "description": "The broker of your operator.",
    "security": [{"$ref": _ref("securitySchemes", "user")}],
}
_USER = {"user": {"description": "The name of your user at the broker."}}
_OWN_QUEUE = {
    "address": _QUEUE_OF_USER,
    "title": "Your own queue",
    "description": "Gets every event of the accounts that your commands may name.",
    "messages": {each.name: {"$ref": _ref("messages", each.name)} for each in EVENTS},
    "parameters": _USER,
    "bindings": {
        "amqp": {
            "is": "queue",
            "queue": {"name": _QUEUE_OF_USER, "durable": True, "exclusive": False},
        }
    },
}
_REPLY = {
    "address": None,
    "title": "Direct reply",
    "description": "The same as the event, to the queue that `reply_to` names: consume "
    "`amq.rabbitmq.reply-to` without acknowledgements on the channel that you publish on.",
    "messages": {
        each.name: {"$ref": _ref("messages", each.name)} for each in EVENTS if each.answers
    },
}


def _channel(channel: Channel) -> dict[str, Any]:
    is_command = channel in COMMANDS
    described: dict[str, Any] = {
        "address": own_key(channel.key, "{user}") if is_command else channel.key,
        "messages": {channel.name: {"$ref": _ref("messages", channel.name)}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": _exchange(channel)}},
    }
    if is_command:
        described["parameters"] = _USER
    elif channel.parameters:
        described["parameters"] = {
            name: {"enum": list(values)} for name, values in channel.parameters.items()
        }
    return described


def _exchange(channel: Channel) -> dict[str, Any]:
    is_command = channel in COMMANDS
    return {
        "name": topology.COMMANDS if is_command else topology.EVENTS,
        "type": "direct" if is_command else "topic",
        "durable": True,
        "autoDelete": False,
    }


def _operation_name(channel: Channel) -> str:
    done = "take" if channel in COMMANDS else "tell"
    return done + channel.name[0].upper() + channel.name[1:]


def _operation(channel: Channel) -> dict[str, Any]:
    """As AsyncAPI wants it, from where Hantar stands: it receives commands and sends events."""
    described: dict[str, Any] = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.summary,
        "messages": [_message_of(channel.name, channel)],
    }
    if channel in COMMANDS:
        described |= {
            "action": "receive",
            "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "ack": True}},
            "reply": {
                "address": {
                    "location": "$message.header#/reply_to",
                    "description": "The property reply_to of the command.",
                },
                "channel": {"$ref": "#/channels/reply"},
                "messages": [_message_of("reply", each) for each in EVENTS if each.answers],
            },
        }
    return described


def _message_of(channel_name: str, channel: Channel) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel_name}/messages/{channel.name}"}


def _message(channel: Channel) -> dict[str, Any]:
    is_command = channel in COMMANDS
    described: dict[str, Any] = {
        "name": channel.type,
        "title": channel.key,
        "summary": channel.summary,
        "contentType": JSON,
        "headers": _COMMAND_HEADERS if is_command else _EVENT_HEADERS,
        "payload": {"$ref": _ref("schemas", channel.body.__name__)},
        "bindings": {"amqp": {"messageType": channel.type}},
        # AsyncAPI has no place for the properties of AMQP 0-9-1.
        "x-amqp-properties": _command_properties(channel)
        if is_command
        else _event_properties(channel),
        "examples": [{"payload": msgspec.to_builtins(channel.example)}],
    }
    return described


_TRACEPARENT = {"description": "The trace it belongs to, as W3C Trace Context writes it."}
#: Of a stranger's headers whatever is not understood is ignored.
_COMMAND_HEADERS = {"type": "object", "properties": {"traceparent": _TRACEPARENT}}
_EVENT_HEADERS = {
    "type": "object",
    "required": ["account"],
    "properties": {
        "account": {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": "The account that it is about, for bindings.",
        },
        "traceparent": {"type": "string", **_TRACEPARENT},
        "replayed": {
            "const": "true",
            "description": "There when your operator had it published once more.",
        },
    },
}


def _command_properties(channel: Channel) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["message_id", "user_id", "type", "content_type"],
        "properties": {
            "message_id": {
                "type": "string",
                "pattern": _MESSAGE_ID,
                "description": "Your idempotency key: the same for each repetition.",
            },
            "user_id": {
                "type": "string",
                "minLength": 1,
                "description": "Your user at the broker, which refuses any other.",
            },
            "type": {"const": channel.type},
            "content_type": {"const": JSON},
            "content_encoding": {"enum": ["utf-8", "UTF-8", ""]},
            "delivery_mode": {
                "type": "integer",
                "description": "2, or the command is lost with the broker.",
            },
            "reply_to": {
                "type": "string",
                "description": "Where the answer is to come too: amq.rabbitmq.reply-to, or a queue "
                "whose name begins with hantar.reply.; anything else is ignored.",
            },
        },
    }


def _event_properties(channel: Channel) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "message_id": {
            "type": "string",
            "minLength": 1,
            "description": "The same for each repetition of this event.",
        },
        "type": {"const": channel.type},
        "content_type": {"const": JSON},
        "delivery_mode": {"const": 2},
    }
    if channel.answers:
        properties["correlation_id"] = {
            "type": "string",
            "pattern": _MESSAGE_ID,
            "description": "The message_id of the command.",
        }
    return {"type": "object", "required": list(properties), "properties": properties}
