"""The page of the API in a real browser: whole, without network, and it can be used."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from service.ingress.api_page import PAGE_PATH, SHORT_PATH
from tests.integration.api.described import operations
from tests.system import Account, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_MS = 20_000


class Watched:
    """A page, with all that it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(LIMIT_MS)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("requestfailed", lambda request: self.complaints.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(error.message))
        page.on(
            "console",
            lambda said: (
                self.complaints.append(said.text) if said.type in ("error", "warning") else None
            ),
        )

    def elsewhere(self, address: str) -> list[str]:
        """What it asked of anybody but the server at this address."""
        places = [urlsplit(url) for url in self.asked]
        return [
            place.geturl()
            for place in places
            if place.scheme not in ("data", "blob") and place.netloc != urlsplit(address).netloc
        ]


async def opened(browser: Browser, hantar: Hantar, path: str = SHORT_PATH) -> Watched:
    """The page, once all its operations are there."""
    watched = Watched(await browser.new_page(viewport={"width": 1280, "height": 1000}))
    await watched.page.goto(hantar.api + path)
    await watched.page.wait_for_selector(".opblock")
    return watched


async def authorize(page: Page, key: str) -> None:
    """Give the page a key, as people do."""
    await page.get_by_role("button", name="Authorize").first.click()
    await page.locator(".auth-container input").fill(key)
    await page.locator(".auth-container button.authorize").click()
    await page.locator(".auth-container button.btn-done").click()


async def test_it_lists_every_operation_and_asks_nobody_else(
    browser: Browser, hantar: Hantar
) -> None:
    watched = await opened(browser, hantar)
    assert urlsplit(watched.page.url).path == PAGE_PATH
    shown = [
        (
            await block.locator(".opblock-summary-method").inner_text(),
            (await block.locator(".opblock-summary-path").inner_text()).replace("\u200b", ""),
        )
        for block in await watched.page.locator(".opblock").all()
    ]
    assert shown == [(each.method, each.path) for each in await operations(hantar)]
    assert watched.elsewhere(hantar.api) == []
    assert watched.complaints == []


async def test_a_message_can_be_sent_from_it(
    browser: Browser, hantar: Hantar, account: Account
) -> None:
    watched = await opened(browser, hantar)
    page = watched.page
    await authorize(page, account.key)
    block = page.locator("#operations-Messages-messages_send")
    await block.locator(".opblock-summary-control").click()
    await block.locator("button.execute").click()
    await expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text(
        "202", timeout=LIMIT_MS
    )

    async def look() -> object:
        return await hantar.pool.fetchval(
            "SELECT id FROM messages WHERE account_id = $1 AND phone = '+60123456789'", account.id
        )

    assert await eventually(look)
    assert watched.elsewhere(hantar.api) == []
    assert watched.complaints == []


async def test_it_can_be_used_by_the_keyboard_alone(browser: Browser, hantar: Hantar) -> None:
    page = (await opened(browser, hantar)).page
    wanted = page.locator("#operations-Devices-devices_create .opblock-summary-control")
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("node => node === document.activeElement"):
            break
    await expect(wanted).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#operations-Devices-devices_create button.execute")
    outline = await wanted.evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline != "none"


async def test_its_files_are_small_on_the_way_and_locked_to_this_place(hantar: Hantar) -> None:
    page = await hantar.call("GET", PAGE_PATH)
    names = re.findall(r'"(docs/[^"]+)"', page.json)
    assert len(names) == 5
    for name in names:
        async with hantar.http.get(f"{hantar.api}/api/v1/{name}") as answer:
            assert answer.status == 200
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert int(answer.headers["Content-Length"]) < 600_000
    missing = await hantar.call("GET", f"{PAGE_PATH}/nothing.js")
    assert (missing.status, missing.json["code"]) == (404, "not_found")
