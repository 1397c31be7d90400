"""The private servers that tests run against."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.embedded import EmbeddedPostgres
from tests.database import dsn, empty_dsn, pool, template_database
from tests.servers.packages import RabbitmqMissingError
from tests.servers.rabbitmq import RabbitNode
from tests.system import hantar

__all__ = ["dsn", "empty_dsn", "hantar", "pool", "template_database"]

RABBIT_NODE = pytest.StashKey[RabbitNode]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts RabbitMQ before the first test when one needs it: the others run while it boots."""
    needed = any("rabbit_node" in getattr(item, "fixturenames", ()) for item in session.items)
    if needed and not session.config.option.collectonly:
        try:
            node = RabbitNode()
        except RabbitmqMissingError as error:
            pytest.exit(str(error), returncode=1)
        session.config.stash[RABBIT_NODE] = node
        node.launch()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends RabbitMQ however the run ended."""
    if node := config.stash.get(RABBIT_NODE, None):
        node.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A running private PostgreSQL without fsync; its `dsn` names an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="hantar-test-"))
    folder.chmod(0o711)  # root's server runs as another user
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    # The factory keeps the runner's loop from becoming the thread's current one.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(server.start())
            yield server
        finally:
            runner.run(server.stop())
            for left in {folder, server.home}:
                shutil.rmtree(left, ignore_errors=True)


@pytest.fixture(scope="session")
def rabbit_node(pytestconfig: pytest.Config) -> RabbitNode:
    """The private RabbitMQ node of the session, ready."""
    node = pytestconfig.stash[RABBIT_NODE]
    node.await_ready()
    return node


@pytest.fixture
async def vhost(rabbit_node: RabbitNode) -> AsyncIterator[str]:
    """The AMQP address of a fresh vhost, removed after the test."""
    name = f"test-{uuid.uuid4()}"
    yield await rabbit_node.create_vhost(name)
    await rabbit_node.delete_vhost(name)
