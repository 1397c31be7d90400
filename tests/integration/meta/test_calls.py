"""A call tells whether its request may have been taken, whatever the other side does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import orjson
import pytest

from drivers.driver import Send
from drivers.guarded import NoAnswer, NotAllowed, NotSent
from drivers.meta.calls import Calls
from drivers.meta.payloads import Choice, payload
from drivers.meta.wire import Answered
from tests.servers.cloud_api import Behaviour, CloudApi, Fault, Number

PHONE = "+60123456789"
BODY = payload(Send(7, 1, 1, 1, PHONE, "Salam"), "7.1", Choice())


def allow() -> bool:
    return True


@pytest.fixture
def post(calls: Calls, number: Number) -> Callable[[], asyncio.Task[Answered]]:
    def start() -> asyncio.Task[Answered]:
        return asyncio.create_task(
            calls.post(f"/v24.0/{number.phone_number_id}/messages", BODY, allow)
        )

    return start


async def test_a_message_is_taken_and_answered(
    cloud: CloudApi, post: Callable[[], asyncio.Task[Answered]]
) -> None:
    answer = await post()
    assert answer.status == 200
    assert orjson.loads(answer.body)["messages"][0]["id"].startswith("wamid.")
    (received,) = cloud.journal
    assert received.taken
    assert received.message.biz_opaque_callback_data == "7.1"
    assert received.message.text is not None
    assert received.message.text.body == "Salam"


async def test_what_may_not_begin_never_leaves(
    cloud: CloudApi, calls: Calls, number: Number
) -> None:
    path = f"/v24.0/{number.phone_number_id}/messages"
    with pytest.raises(NotAllowed):
        await calls.post(path, BODY, lambda: False)
    assert (await calls.post(path, BODY, allow)).status == 200
    assert len(cloud.journal) == 1


async def test_leave_is_asked_for_once_a_connection_is_there(number: Number) -> None:
    asked = 0

    def begin() -> bool:
        nonlocal asked
        asked += 1
        return True

    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    calls = Calls(f"http://127.0.0.1:{port}", number.access_token)
    try:
        with pytest.raises(NotSent):
            await calls.post("/v24.0/1/messages", BODY, begin)
    finally:
        await calls.close()
    assert not asked


@pytest.mark.parametrize(
    "fault",
    [Fault.RESET, Fault.RESET_AFTER_ACCEPT, Fault.HALF_ANSWER, Fault.ENDLESS_ANSWER],
)
async def test_without_a_whole_answer_it_may_have_been_taken(
    cloud: CloudApi, post: Callable[[], asyncio.Task[Answered]], fault: Fault
) -> None:
    cloud.behaviours[PHONE] = Behaviour(fault=fault)
    with pytest.raises(NoAnswer):
        await post()
    cloud.behaviours.clear()
    assert (await post()).status == 200


async def test_a_hanging_answer_holds_up_no_other_call(
    cloud: CloudApi, post: Callable[[], asyncio.Task[Answered]]
) -> None:
    cloud.behaviours[PHONE] = Behaviour(fault=Fault.HANG_AFTER_ACCEPT)
    hanging = post()
    await cloud.received(1)
    cloud.behaviours.clear()
    assert (await post()).status == 200
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait([hanging])
