"""A local Cloud API with one number, and calls to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from drivers.meta.calls import Calls
from tests.servers.cloud_api import CloudApi, Number

SECRET = "a-test-app-secret"


@pytest.fixture
def number() -> Number:
    return Number(
        "106540352242922",
        "102290129340398",
        access_token="a-test-token",
        app_secret=SECRET,
        templates={("hello", "ms"): 1},
    )


@pytest.fixture
async def cloud(number: Number) -> AsyncIterator[CloudApi]:
    server = CloudApi(number)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def calls(cloud: CloudApi, number: Number) -> AsyncIterator[Calls]:
    opened = Calls(cloud.url, number.access_token)
    yield opened
    await opened.close()
