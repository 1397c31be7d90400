"""The examples for upstream services, run as they are, by a user that may do no more."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import orjson
import pytest
from jsonschema.validators import validator_for

from service.bus.upstream_queues import open_queue, permissions
from tests.described import document
from tests.integration.upstream.conftest import allow
from tests.servers.broker_users import add_user, as_user
from tests.servers.node_packages import NODE_FOLDERS, find_node, node_modules
from tests.servers.rabbitmq import RabbitNode
from tests.system import Hantar

LIMIT_SECONDS = 60.0
FOLDER = NODE_FOLDERS["upstream_modules"]
PYTHON, NODE = "send.py", "send.mjs"


@pytest.fixture(scope="session")
def upstream_modules() -> Path:
    """What the example in Node needs, and the schema of AsyncAPI."""
    return node_modules(FOLDER)


async def run(program: list[str], url: str, *arguments: str) -> str:
    """What an example printed; it has to end well."""
    process = await asyncio.create_subprocess_exec(
        *program,
        *arguments,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "AMQP_URL": url},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, error = await process.communicate()
    except TimeoutError:
        process.kill()
        output, error = await process.communicate()
    assert process.returncode == 0, f"{output.decode()}\n{error.decode()}"
    return output.decode()


@pytest.mark.parametrize("name", [PYTHON, NODE])
async def test_an_example_sends_a_message_and_hears_that_it_arrived(
    hantar: Hantar,
    broker: str,
    rabbit_node: RabbitNode,
    upstream_modules: Path,
    tmp_path: Path,
    name: str,
) -> None:
    account = await hantar.account()
    await allow(hantar.pool, account, "shop")
    await open_queue(broker, "shop", account.id)
    await add_user(rabbit_node, broker, "shop", permissions("shop"))
    shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(upstream_modules)
    program = [sys.executable if name == PYTHON else str(find_node()), str(tmp_path / name)]
    url, arguments = as_user(broker, "shop"), (str(account.id), "012-345 6789", "Hello")
    accepted, *told = (await run(program, url, *arguments)).splitlines()
    assert accepted.startswith("command.accepted ")
    assert [line.split()[0] for line in told] == [str(n + 1) for n in range(len(told))]
    assert told[-1].split()[1] == "delivered"
    [row] = await hantar.pool.fetch("SELECT phone, body, status::text FROM messages")
    assert tuple(row) == ("+60123456789", "Hello", "delivered")
    refused = await run(program, url, str(account.id), "12", "Hello")
    assert re.match(r"command\.rejected .*invalid_phone", refused)


def test_the_document_is_what_the_makers_of_asyncapi_call_one(upstream_modules: Path) -> None:
    schema = orjson.loads((upstream_modules / "@asyncapi/specs/schemas/3.0.0.json").read_bytes())
    errors = list(validator_for(schema)(schema).iter_errors(document()))
    assert [f"{error.json_path}: {error.message[:200]}" for error in errors] == []
