"""The page that shows a device's code, in a real browser, until a phone has scanned it."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Browser, Page

from service.core.code_link import GOOD_SECONDS, code_link
from service.ingress.code_page import STREAMS_LIMIT
from service.store import accounts
from tests.integration.linked.conftest import Fleet


@pytest.fixture
async def unlinked(fleet: Fleet) -> int:
    """A device without a phone."""
    device_id = await fleet.add("+601155510001")
    answer = await fleet.hantar.post(f"/devices/{device_id}/logout", fleet.account, {})
    assert answer.status == 200, answer.json
    return device_id


async def page_of(fleet: Fleet, device_id: int) -> str:
    """The page's address, as the API tells it."""
    answer = await fleet.hantar.get(f"/connection/qr?device={device_id}", fleet.account)
    address: str = answer.json["data"]["page"]
    assert address.startswith(f"{fleet.hantar.api}/link/{device_id}/")
    return address


async def shown(page: Page) -> str:
    """The picture, once there is one."""
    picture = page.get_by_role("img", name="QR code for the phone to scan")
    await picture.wait_for()
    source = await picture.get_attribute("src")
    assert source is not None
    return source


async def test_the_code_is_always_the_newest_until_a_phone_has_scanned_it(
    fleet: Fleet, unlinked: int, browser: Browser
) -> None:
    name = fleet.names.device(unlinked)
    page = await browser.new_page(viewport={"width": 320, "height": 480})
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(await page_of(fleet, unlinked))
    assert await page.get_by_role("heading", level=1).inner_text() == "Link a phone"
    assert await page.evaluate("document.documentElement.lang") == "en"
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    first = await shown(page)
    state = page.get_by_role("status")
    assert await state.inner_text() == "Waiting for the phone."

    fleet.bridge.rotate(name)
    await page.wait_for_function("old => document.images[0].src !== old", arg=first)
    assert await state.inner_text() == "Waiting for the phone.", "a reader hears nothing of it"

    assert await fleet.bridge.scan(fleet.bridge.code(name), "+601155510009")
    await page.get_by_role("heading", name="Linked as +601155510009").wait_for()
    assert await page.title() == "Linked as +601155510009 – Hantar"
    assert await page.get_by_role("img").count() == 0
    assert await state.inner_text() == "You can close this page."
    assert complaints == []
    assert all(url.startswith((fleet.hantar.api, "data:")) for url in asked)
    await page.context.close()


async def test_a_bridge_that_is_away_is_waited_for(
    fleet: Fleet, unlinked: int, browser: Browser
) -> None:
    page = await browser.new_page()
    await page.goto(await page_of(fleet, unlinked))
    await shown(page)
    await fleet.bridge.vanish()
    await page.get_by_text("No code can be had right now.").wait_for()
    await fleet.bridge.reappear()
    await shown(page)
    await page.context.close()


async def test_a_link_is_good_for_its_time_and_its_device(fleet: Fleet, unlinked: int) -> None:
    async with fleet.hantar.pool.acquire() as connection:
        installation = await accounts.installation(connection)
    assert installation is not None
    old = code_link("", installation.secret, unlinked, time.time() - GOOD_SECONDS)
    new = code_link("", installation.secret, unlinked, time.time())
    other = new.replace(f"/{unlinked}/", f"/{unlinked + 1}/")
    for path in (old, other, new[:-1], f"{new}A"):
        assert (await fleet.hantar.call("GET", path)).status == 410
        events = await fleet.hantar.call("GET", f"{path}/events")
        assert (events.status, events.json["code"]) == (410, "link_over")
    answer = await fleet.hantar.call("GET", new)
    assert answer.status == 200
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]


async def test_no_more_pages_are_open_than_there_is_room_for(fleet: Fleet, unlinked: int) -> None:
    path = f"{await page_of(fleet, unlinked)}/events"
    async with AsyncExitStack() as opened:
        streams = [
            await opened.enter_async_context(fleet.hantar.http.get(path))
            for _ in range(STREAMS_LIMIT)
        ]
        assert {stream.status for stream in streams} == {200}
        answer = await fleet.hantar.call("GET", path.removeprefix(fleet.hantar.api))
        assert (answer.status, answer.json["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        code = fleet.bridge.code(fleet.names.device(unlinked))
        assert await fleet.bridge.scan(code, "+601155510001")
        for stream in streams:
            assert "linked" in await stream.text()
