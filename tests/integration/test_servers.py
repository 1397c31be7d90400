"""The private RabbitMQ node of the tests, and the way it is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aio_pika
import pytest
from playwright.async_api import Browser

from tests.servers.chromium import CHROMIUM
from tests.servers.packages import PackagesMissingError, Program, unpack
from tests.servers.rabbitmq import RabbitNode
from tests.servers.rabbitmq_program import RABBITMQ

LIMIT_SECONDS = 10


async def test_a_message_passes_through_a_fresh_vhost(vhost: str, rabbit_node: RabbitNode) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        connection = await aio_pika.connect(vhost)
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            queue = await channel.declare_queue("lane", durable=True)
            await channel.default_exchange.publish(aio_pika.Message(b"hello"), "lane")
            message = await queue.get()
            assert message.body == b"hello"
            await message.ack()
            name = vhost.rpartition("/")[2]
            listed = await rabbit_node.manage("GET", f"/queues/{name}")
            assert "lane" in {each["name"] for each in listed}


async def test_vhosts_do_not_see_each_other(vhost: str, rabbit_node: RabbitNode) -> None:
    other = await rabbit_node.create_vhost("an other/one")
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            async with await aio_pika.connect(vhost) as connection:
                channel = await connection.channel()
                await channel.declare_queue("mine", durable=True)
            async with await aio_pika.connect(other) as connection:
                channel = await connection.channel()
                with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                    await channel.declare_queue("mine", passive=True)
    finally:
        await rabbit_node.delete_vhost("an other/one")


def test_a_closed_node_leaves_neither_process_nor_file() -> None:
    node = RabbitNode()
    node.launch()
    pids = node.pids
    node.close()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not node.folder.exists()


@pytest.mark.parametrize(
    ("program", "package"), [(RABBITMQ, "rabbitmq-server"), (CHROMIUM, "chromium")]
)
def test_where_packages_cannot_be_fetched_one_line_says_what_to_install(
    program: Program, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackagesMissingError, match=f"apt-get install {package}") as raised:
        unpack(program, tmp_path / "cache")
    assert f"brew install {program.name.lower()}" in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_page_is_shown_in_a_real_browser(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content("<h1>Hello</h1><script>document.title = 'Hi'</script>")
    assert await page.title() == "Hi"
    box = await page.get_by_role("heading", name="Hello").bounding_box()
    assert box is not None
    assert box["height"] > 10
