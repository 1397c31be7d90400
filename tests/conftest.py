"""The private servers that tests run against."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.async_api import Browser

from service.embedded import EmbeddedPostgres
from tests.canaries import Plugin
from tests.database import dsn, empty_dsn, pool, template_database
from tests.servers.bridge import install_bridge
from tests.servers.chromium import find_chromium, running_chromium
from tests.servers.node_packages import NODE_FOLDERS, node_modules
from tests.servers.packages import PackagesMissingError
from tests.servers.rabbitmq import RabbitNode
from tests.system import hantar
from tests.tap import tapped_broker

__all__ = ["dsn", "empty_dsn", "hantar", "pool", "template_database"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("hantar", deadline=None)
settings.load_profile("hantar")


def pytest_configure(config: pytest.Config) -> None:
    """Whatever the tests log is read."""
    config.pluginmanager.register(Plugin(), "canaries")


RABBIT_NODE = pytest.StashKey[RabbitNode]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Brings what the tests need, and starts RabbitMQ before the first: others run while it boots.

    What cannot be had ends the run with one line that says what to install.
    """
    needed = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly:
        return
    try:
        if "browser" in needed:
            find_chromium()
        for fixture in NODE_FOLDERS.keys() & needed:
            node_modules(NODE_FOLDERS[fixture])
        if "bridge_program" in needed:
            find_chromium()
            install_bridge()
        if "rabbit_node" in needed:
            session.config.stash[RABBIT_NODE] = node = RabbitNode()
            node.launch()
    except PackagesMissingError as error:
        pytest.exit(str(error), returncode=1)


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
    """The AMQP address of a fresh vhost, removed after the test; what goes over it between Hantar
    and upstream services has to be as schemas/asyncapi.yaml says."""
    name = f"test-{uuid.uuid4()}"
    url = await rabbit_node.create_vhost(name, tracing=True)
    async with tapped_broker(url):
        yield url
    await rabbit_node.delete_vhost(name)


@pytest.fixture(scope="session")
def bridge_program() -> None:
    """The bridge of linked devices can be started: it and its browser were brought here."""


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A real Chromium of the test's own."""
    async with running_chromium(tmp_path) as running:
        yield running
