"""The page of the queues in a real browser: whole, in one answer, and without network."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from schemas.channels import COMMANDS, EVENTS
from service.ingress.api_page import EVENTS_DOCUMENT_PATH, EVENTS_PAGE_PATH, EVENTS_SHORT_PATH
from tests.described import document
from tests.integration.api.test_docs import LIMIT_MS, Watched
from tests.system import Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def opened(browser: Browser, hantar: Hantar) -> Watched:
    """The page, by the address that people guess."""
    watched = Watched(await browser.new_page(viewport={"width": 1280, "height": 1000}))
    await watched.page.goto(hantar.api + EVENTS_SHORT_PATH)
    return watched


async def test_it_tells_every_command_and_every_event_and_asks_nobody_else(
    browser: Browser, hantar: Hantar
) -> None:
    watched = await opened(browser, hantar)
    page = watched.page
    assert urlsplit(page.url).path == EVENTS_PAGE_PATH
    for channel in (*COMMANDS, *EVENTS):
        section = page.locator(f"section#{channel.name}")
        key = channel.key if channel in EVENTS else f"{channel.key}.{{user}}"
        await expect(section.locator("h3")).to_have_text(f"Routing key {key}")
        await expect(section).to_contain_text(channel.type)
    for name in document()["components"]["schemas"]:
        await expect(page.locator(f"section#{name} h3")).to_have_text(name)
    assert watched.elsewhere(hantar.api) == []
    assert watched.complaints == []


async def test_its_links_lead_somewhere(browser: Browser, hantar: Hantar) -> None:
    page = (await opened(browser, hantar)).page
    places = await page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href').slice(1))"
    )
    assert len(places) > 30
    missing = await page.evaluate("ids => ids.filter(id => !document.getElementById(id))", places)
    assert missing == []
    await page.get_by_role("link", name="asyncapi.json").click()
    assert urlsplit(page.url).path == EVENTS_DOCUMENT_PATH
    await page.go_back()
    await page.get_by_role("link", name="the API").click()
    await page.wait_for_selector(".opblock", timeout=LIMIT_MS)


async def test_it_can_be_read_without_scripts_and_on_a_narrow_screen(
    browser: Browser, hantar: Hantar
) -> None:
    context = await browser.new_context(
        java_script_enabled=False, viewport={"width": 400, "height": 800}
    )
    page = await context.new_page()
    await page.goto(hantar.api + EVENTS_SHORT_PATH)
    await expect(page.locator("section#messageSend pre")).to_contain_text("+60123456789")
    box = await page.locator("main").bounding_box()
    assert box is not None
    assert box["width"] <= 400


async def test_the_document_is_served_as_it_is_committed(hantar: Hantar) -> None:
    answer = await hantar.call("GET", EVENTS_DOCUMENT_PATH)
    assert answer.json == document()
    assert answer.headers["Content-Type"].startswith("application/json")
