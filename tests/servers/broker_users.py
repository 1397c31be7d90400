"""Users of a real broker: those of deploy/rabbitmq/definitions.json, and upstream services."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from service.bus.upstream_queues import Permissions
from tests.acceptance.processes import ROOT
from tests.servers.rabbitmq import RabbitNode

DEFINITIONS = ROOT / "deploy/rabbitmq/definitions.json"
PASSWORD = "sesame"


def as_user(url: str, user: str) -> str:
    """The broker's address for a user that was made here."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{quote(user)}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()


async def load_definitions(node: RabbitNode, url: str) -> list[str]:
    """Import the file for the vhost of this address, each user with a password; their names."""
    text = DEFINITIONS.read_text().replace('"vhost": "/"', f'"vhost": "{urlsplit(url).path[1:]}"')
    definitions: Any = orjson.loads(text)
    for user in definitions["users"]:
        assert user["password_hash"] == "", "no password is given away"
        user["password_hash"] = _hashed(PASSWORD)
    await node.manage("POST", "/definitions", definitions)
    return [user["name"] for user in definitions["users"]]


async def add_user(node: RabbitNode, url: str, user: str, may: Permissions) -> None:
    """A user that may do this."""
    await node.manage("PUT", f"/users/{quote(user)}", {"password": PASSWORD, "tags": ""})
    path = f"/permissions{urlsplit(url).path}/{quote(user)}"
    await node.manage("PUT", path, dataclasses.asdict(may))


def _hashed(password: str) -> str:
    """As the broker keeps it: salt, then SHA-256 of salt and password."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
