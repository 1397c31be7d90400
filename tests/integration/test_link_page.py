"""The page that a simulated device's code opens, in a real browser."""

from __future__ import annotations

from playwright.async_api import Browser

from tests.integration.linking import address_of
from tests.system import Hantar


async def test_a_person_links_a_device_with_the_keyboard_alone(
    hantar: Hantar, browser: Browser
) -> None:
    account = await hantar.account()
    await hantar.post(f"/devices/{account.device_id}/logout", account, {})
    sent = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "hi"})
    page = await browser.new_page(viewport={"width": 320, "height": 480})
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(await address_of(hantar, account.device_id))
    assert await page.get_by_role("heading", level=1).inner_text() == "Link this device?"
    assert await page.evaluate("document.documentElement.lang") == "en"
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    button = page.get_by_role("button", name="Link the device")
    colour = await button.evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour == "rgb(11, 92, 70)", "the style is let through"
    await page.keyboard.press("Tab")
    assert await button.evaluate("e => e === document.activeElement")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="The device is linked").wait_for()
    assert complaints == []
    await hantar.until(account, sent.json["data"]["id"], "delivered")
    await page.reload()
    assert await page.get_by_role("heading", level=1).inner_text() == "This code is over"
    await page.context.close()
