"""The local Cloud API is taken for the real one by a client that knows nothing of Hantar."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web
from pywa import errors
from pywa.types import Message, MessageStatus, MessageStatusType
from pywa.types import templates as t
from pywa_async import WhatsApp
from pywa_async.handlers import MessageHandler, MessageStatusHandler

from tests.servers.cloud_api import Behaviour, CloudApi, Number

PHONE = "+60123456789"


class ToLoopback(httpx.AsyncBaseTransport):
    """Takes what is meant for Meta to the local server."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
async def client(cloud: CloudApi, number: Number) -> AsyncIterator[WhatsApp]:
    async with httpx.AsyncClient(transport=ToLoopback(cloud.url), timeout=5.0) as session:
        yield WhatsApp(
            phone_id=number.phone_number_id,
            token=number.access_token,
            session=session,
            server=None,
            app_secret=number.app_secret,
        )


async def test_a_text_is_taken(cloud: CloudApi, client: WhatsApp) -> None:
    sent = await client.send_message(to=PHONE, text="Salam")
    assert sent.id.startswith("wamid.")
    (received,) = cloud.journal
    assert received.message.text is not None
    assert received.message.text.body == "Salam"


async def test_a_template_is_taken_by_its_name_and_number_of_values(
    cloud: CloudApi, client: WhatsApp
) -> None:
    values = t.BodyText.params("Aminah")
    malay = t.TemplateLanguage.MALAY
    await client.send_template(to=PHONE, name="hello", language=malay, params=[values])
    assert cloud.journal[0].message.type == "template"
    with pytest.raises(errors.TemplateNotExists):
        await client.send_template(to=PHONE, name="bye", language=malay, params=[values])


async def test_media_is_uploaded_and_sent(cloud: CloudApi, client: WhatsApp) -> None:
    await client.send_image(to=PHONE, image=b"no picture", mime_type="image/png", caption="A")
    assert list(cloud.media.values()) == [b"no picture"]
    image = cloud.journal[0].message.image
    assert image is not None
    assert image.id in cloud.media


async def test_errors_are_recognised(cloud: CloudApi, client: WhatsApp) -> None:
    cloud.behaviours[PHONE] = Behaviour(error=(400, 131047))
    with pytest.raises(errors.ReEngagementMessage):
        await client.send_message(to=PHONE, text="too late")


async def test_callbacks_are_signed_and_understood(
    cloud: CloudApi, client: WhatsApp, number: Number
) -> None:
    heard: list[object] = []

    async def on_status(_: WhatsApp, status: MessageStatus) -> None:
        heard.append((status.status, status.tracker))

    async def on_message(_: WhatsApp, message: Message) -> None:
        heard.append(message.text)

    client.add_handlers(MessageStatusHandler(on_status), MessageHandler(on_message))

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        refused = await client.webhook_update_validator(
            body, request.headers["X-Hub-Signature-256"]
        )
        text, status = refused or await client.webhook_update_handler(body)
        return web.Response(text=text, status=status)

    app = web.Application()
    app.add_routes([web.post("/", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        cloud.webhook_url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        await client.send_message(to=PHONE, text="Salam", tracker="hantar:7:1")
        await cloud.called_back()
        await cloud.write(number, PHONE, "Salam juga")
    finally:
        await runner.cleanup()
    assert heard == [
        (MessageStatusType.SENT, "hantar:7:1"),
        (MessageStatusType.DELIVERED, "hantar:7:1"),
        "Salam juga",
    ]
