"""The AsyncAPI document: committed, whole, and its examples are what it describes."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from schemas.channels import COMMANDS, EVENTS, Channel
from schemas.problems import CODES
from schemas.upstream import REJECTED, MessageStatus, StatusEvent
from service.bus.topology import COMMAND_LIMITS
from service.ingress.asyncapi import document
from service.intake.envelope import KINDS
from tests.described import Wire, faults
from tests.schemas import ASYNCAPI, written


def test_it_is_committed_as_it_is_made() -> None:
    assert ASYNCAPI.read_bytes() == written(document(), ASYNCAPI), "run make schemas"


def test_its_commands_are_those_that_are_taken() -> None:
    described = [(channel.key, channel.type) for channel in COMMANDS]
    assert described == [(kind.routing_key, kind.type) for kind in KINDS]
    assert [key for key, _ in described] == list(COMMAND_LIMITS)


def wire(channel: Channel, **changes: Any) -> Wire:
    """The example of a channel as it would be on the wire."""
    is_command = channel in COMMANDS
    properties: dict[str, Any] = {
        "message_id": "17",
        "type": channel.type,
        "content_type": "application/json",
        "delivery_mode": 2,
    }
    if is_command:
        properties["user_id"] = "shop"
    if channel.answers:
        properties["correlation_id"] = "order-1001"
    return Wire(
        "hantar.commands" if is_command else "hantar.events",
        channel.keys[0],
        properties | changes.pop("properties", {}),
        changes.pop("body", msgspec.json.encode(channel.example)),
        {} if is_command else {"account": "1"},
    )


@pytest.mark.parametrize("channel", [*COMMANDS, *EVENTS], ids=lambda channel: channel.key)
def test_its_examples_are_as_described(channel: Channel) -> None:
    assert faults(wire(channel)) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.routing_key)
def test_its_examples_of_commands_are_understood(kind: Any) -> None:
    [channel] = [each for each in COMMANDS if each.key == kind.routing_key]
    assert kind.decode(orjson.dumps(channel.example)).account == 1


@pytest.mark.parametrize(
    ("channel", "changes"),
    [
        (COMMANDS[0], {"properties": {"type": "hantar.message.send.v2"}}),
        (COMMANDS[0], {"properties": {"message_id": "a b"}}),
        (COMMANDS[0], {"body": b"{"}),
        (COMMANDS[0], {"body": b'{"account": 1, "phone": "1", "body": "Hi", "colour": "red"}'}),
        (COMMANDS[0], {"body": b'{"phone": "1", "body": "Hi"}'}),
        (COMMANDS[1], {"body": b'{"account": 1, "messages": []}'}),
        (COMMANDS[1], {"body": b'{"account": 1, "messages": [{"body": "Hi"}]}'}),
        (EVENTS[0], {"body": b'{"account": 1}'}),
        (EVENTS[0], {"properties": {"delivery_mode": 1}}),
    ],
)
def test_what_is_not_as_described_is_found(channel: Channel, changes: dict[str, Any]) -> None:
    assert faults(wire(channel, **changes)) != []


@pytest.mark.parametrize(
    "change",
    [{"status": "sending"}, {"at": "yesterday"}, {"at": "2026-11-25T08:00:00"}, {"seq": "1"}],
)
def test_an_event_is_held_to_its_fields(change: dict[str, Any]) -> None:
    [status] = [channel for channel in EVENTS if channel.body is MessageStatus]
    example = msgspec.to_builtins(status.example)
    example["events"][0] |= change
    assert faults(wire(status, body=orjson.dumps(example))) != []
    assert change.keys() <= {field.name for field in msgspec.structs.fields(StatusEvent)}


def test_a_field_more_is_found_as_well() -> None:
    example = msgspec.to_builtins(EVENTS[0].example) | {"more": 1}
    assert faults(wire(EVENTS[0], body=orjson.dumps(example))) != []


def test_its_example_of_a_refusal_is_a_problem_of_the_api() -> None:
    [channel] = [each for each in EVENTS if each.key == REJECTED]
    problem = msgspec.to_builtins(channel.example.problem)
    assert problem["type"] == f"urn:hantar:problem:{problem['code']}"
    assert problem["status"] == CODES[problem["code"]]
