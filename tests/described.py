"""What the committed AsyncAPI document says of a message."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml
from jsonschema import Draft202012Validator, FormatChecker

DOCUMENT = Path(__file__).parents[1] / "schemas/asyncapi.yaml"
COMMANDS, EVENTS = "hantar.commands", "hantar.events"

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@dataclass(frozen=True, slots=True)
class Wire:
    """A message as it was on the wire; properties that were not set are absent."""

    exchange: str
    routing_key: str
    properties: Mapping[str, Any]
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)


@cache
def document() -> dict[str, Any]:
    """The committed document."""
    read: dict[str, Any] = yaml.load(DOCUMENT.read_bytes(), yaml.CSafeLoader)
    return read


def faults(message: Wire) -> list[str]:
    """Where the message is not as described; texts and phones are not quoted."""
    names = _by_key().get((message.exchange, _shared_key(message)))
    if names is None:
        return [f"nothing is said of {message.exchange} {message.routing_key}"]
    properties, headers, payload = _validators(names)
    found = [*_told("properties", properties, message.properties)]
    found += _told("headers", headers, message.headers)
    try:
        body = orjson.loads(message.body)
    except orjson.JSONDecodeError:
        return [*found, f"{message.routing_key}: the body is not JSON"]
    return [*found, *_told(message.routing_key, payload, body)]


def _shared_key(message: Wire) -> str:
    """That of all users, in the place of the publishing user's own."""
    if message.exchange != COMMANDS:
        return message.routing_key
    return message.routing_key.removesuffix(f".{message.properties.get('user_id')}")


def answer_keys() -> frozenset[str]:
    """The routing keys of what may be sent to `reply_to`."""
    reply = document()["channels"]["reply"]["messages"]
    return frozenset(key for (_, key), name in _by_key().items() if name in reply)


@cache
def _by_key() -> dict[tuple[str, str], str]:
    """The name of the message of each exchange and routing key."""
    found: dict[tuple[str, str], str] = {}
    for name, channel in document()["channels"].items():
        amqp = channel.get("bindings", {}).get("amqp", {})
        if amqp.get("is") != "routingKey":
            continue
        # Of commands the key that all users share stands for that of each.
        keys = [channel["address"].removesuffix(".{user}")]
        for parameter, known in channel.get("parameters", {}).items():
            values = known.get("enum", [""])
            keys = [key.replace(f"{{{parameter}}}", value) for key in keys for value in values]
        found |= {(amqp["exchange"]["name"], key): name for key in keys}
    return found


@cache
def _validators(name: str) -> tuple[Draft202012Validator, ...]:
    message = document()["components"]["messages"][name]
    schemas = _closed(document()["components"]["schemas"])
    return tuple(
        Draft202012Validator(
            {**message[part], "components": {"schemas": schemas}}, format_checker=_formats
        )
        for part in ("x-amqp-properties", "headers", "payload")
    )


def _closed(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a reader has to tolerate: here nothing may come that is not described."""
    closed = copy.deepcopy(dict(schemas))
    for schema in closed.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return closed


def _told(where: str, validator: Draft202012Validator, value: object) -> Iterable[str]:
    for error in validator.iter_errors(value):
        yield f"{where} {error.json_path} against {list(error.schema_path)}"
