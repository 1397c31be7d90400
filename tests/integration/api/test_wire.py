"""Bytes that no client library sends: framing, header syntax, hasty and slow clients."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from structlog.typing import EventDict

from service.accept import Accept
from service.bus.local import LocalBus
from service.bus.topology import topology
from service.core.quota import Quota
from service.ingress.application import application
from service.ingress.auth import Authentication
from service.ingress.cors import Cors
from service.ingress.gate import Gate
from service.ingress.key_uses import KeyUses
from service.ingress.limits import AccountLimit
from service.ingress.lists import Lists
from service.ingress.messages import Messages
from service.ingress.operations import routes
from service.ingress.pages import Cursors
from service.once import Once
from service.relay import Relay
from service.store.pool import Pool
from tests.database import SHARDS
from tests.integration.api.checks import check_problem, nothing_done
from tests.integration.api.wire import BODY, JSON, LIST, SEND, exchange, length, request, wire
from tests.system import Account, Answer, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def check_refused(answer: Answer) -> None:
    """A refusal of bytes that never became a request: plain text will do, HTML never."""
    assert answer.status == 400, answer
    if answer.headers["Content-Type"] != "application/problem+json":
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "<" not in answer.json


async def check_refuses(hantar: Hantar, account: Account, data: bytes) -> None:
    """These bytes are refused, the connection ends, and nothing was done."""
    async with nothing_done(hantar, account), wire(hantar.api) as connection:
        await connection.say(data)
        check_refused(await connection.hear())
        assert await connection.ended()


async def test_the_bytes_that_are_varied_below_are_sound(hantar: Hantar, account: Account) -> None:
    for lines, body in (((JSON, length(BODY)), BODY), ((JSON, CHUNKED), IN_CHUNKS)):
        answer = await exchange(hantar, request(account, SEND, *lines, body=body))
        assert answer.status == 202


@pytest.mark.row("5.1-15")
async def test_a_length_beside_chunks_is_400(hantar: Hantar, account: Account) -> None:
    for lines in ((length(BODY), CHUNKED), (CHUNKED, length(IN_CHUNKS))):
        for body in (BODY, IN_CHUNKS):
            await check_refuses(hantar, account, request(account, SEND, JSON, *lines, body=body))


@pytest.mark.row("5.1-16")
@pytest.mark.parametrize(
    "lines",
    [
        (length(BODY), length(BODY)),
        (length(BODY), b"Content-Length: 2"),
        *[(b"Content-Length: " + value,) for value in (b"+37", b"-1", b"3_7", b"0x25", b"37, 37",
          b"3 7", b"1e2", b"", b"9" * 30, "٣٧".encode())],
    ],
)  # fmt: skip
async def test_a_length_that_is_none_is_400(
    hantar: Hantar, account: Account, lines: tuple[bytes, ...]
) -> None:
    await check_refuses(hantar, account, request(account, SEND, JSON, *lines, body=BODY))


@pytest.mark.row("5.1-17")
@pytest.mark.parametrize(
    "coding", [b"xchunked", b"chunked, chunked", b"identity", b"chunked, gzip"]
)
async def test_an_unknown_transfer_coding_is_400(
    hantar: Hantar, account: Account, coding: bytes
) -> None:
    line = b"Transfer-Encoding: " + coding
    await check_refuses(hantar, account, request(account, SEND, JSON, line, body=IN_CHUNKS))


@pytest.mark.row("5.1-17")
@pytest.mark.parametrize("size", [b"zz", b"-1", b"+25", b"0x25", b"f" * 17, b"25;\n", b""])
async def test_a_chunk_size_that_is_none_is_400(
    hantar: Hantar, account: Account, size: bytes
) -> None:
    body = size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
    await check_refuses(hantar, account, request(account, SEND, JSON, CHUNKED, body=body))


@pytest.mark.row("5.1-18")
@pytest.mark.parametrize(
    "line",
    [b"X-Odd : a", b"X-Odd: a\r\n folded", b"X-Odd: a\0b", b"X Odd: a", b": a", b"X-Odd",
     b"X-Odd: \x7f", b"X-Odd: a\nX-More: b", b"X-Odd: a\rX-More: b"],
)  # fmt: skip
async def test_a_header_that_is_none_is_400(hantar: Hantar, account: Account, line: bytes) -> None:
    data = request(account, SEND, JSON, length(BODY), line, body=BODY)
    await check_refuses(hantar, account, data)


@pytest.mark.row("5.1-18")
async def test_bare_line_feeds_are_400(hantar: Hantar, account: Account) -> None:
    data = request(account, SEND, JSON, length(BODY), body=BODY)
    await check_refuses(hantar, account, data.replace(b"\r\n", b"\n"))


@pytest.mark.row("5.1-19")
@pytest.mark.parametrize(
    "lines",
    [(b"X-Long: " + b"a" * 9000,), (b"X" * 9000 + b": a",),
     tuple(b"X-%d: a" % number for number in range(2000))],
    ids=["value", "name", "many"],
)  # fmt: skip
async def test_headers_beyond_the_limit_are_400(
    hantar: Hantar, account: Account, lines: tuple[bytes, ...]
) -> None:
    data = request(account, SEND, JSON, length(BODY), *lines, body=BODY)
    await check_refuses(hantar, account, data)


@pytest.mark.row("5.1-19")
async def test_an_address_beyond_the_limit_is_400(hantar: Hantar, account: Account) -> None:
    first = b"GET /api/v1/messages?phone=" + b"1" * 9000 + b" HTTP/1.1"
    await check_refuses(hantar, account, request(account, first))


@pytest.mark.row("5.1-20")
async def test_no_host_and_two_hosts_are_400(hantar: Hantar, account: Account) -> None:
    for lines in ((), (b"Host: test", b"Host: test"), (b"Host: test", b"Host: other")):
        data = request(account, SEND, JSON, length(BODY), *lines, body=BODY, host=None)
        await check_refuses(hantar, account, data)


@pytest.mark.row("5.1-20")
@pytest.mark.parametrize("host", [b"test:99999", b"test:port", b"::1", b"\xff", "ü".encode()])
async def test_a_host_that_links_cannot_be_made_of_is_400(
    hantar: Hantar, account: Account, host: bytes
) -> None:
    answer = await exchange(hantar, request(account, LIST, host=host))
    check_problem(answer, 400, "bad_request")


@pytest.mark.row("5.1-20")
async def test_an_absolute_address_does_not_change_the_way(
    hantar: Hantar, account: Account
) -> None:
    for path, status in (("/api/v1/messages", 200), ("/nothing", 404), ("", 404)):
        first = f"GET http://other.example{path} HTTP/1.1".encode()
        assert (await exchange(hantar, request(account, first))).status == status


@pytest.mark.row("5.1-21")
@pytest.mark.parametrize(
    "first", [SEND, LIST, b"GET /nothing HTTP/1.1", b"PUT /api/v1/messages/send HTTP/1.1"]
)
async def test_an_unknown_expectation_is_417(
    hantar: Hantar, account: Account, first: bytes
) -> None:
    data = request(account, first, JSON, length(BODY), b"Expect: junk", body=BODY)
    async with nothing_done(hantar, account), wire(hantar.api) as connection:
        await connection.say(data + request(account, LIST))
        check_problem(await connection.hear(), 417, "bad_request")
        assert (await connection.hear()).status == 200


async def test_a_client_that_waits_to_be_asked_is_asked(hantar: Hantar, account: Account) -> None:
    async with wire(hantar.api) as connection:
        await connection.say(request(account, SEND, JSON, length(BODY), b"Expect: 100-continue"))
        assert (await connection.hear()).status == 100
        await connection.say(BODY)
        assert (await connection.hear()).status == 202


@pytest.mark.row("5.1-22")
@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("16030100c8010000c40303") + bytes(200),
        LIST.replace(b"1.1", b"3.9") + b"\r\nHost: test\r\n\r\n",
        LIST.replace(b"HTTP", b"FTP") + b"\r\nHost: test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00" * 64,
        b"JUNK /api/v1/messages HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /api/v1/messages/\xff HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET api/v1/messages HTTP/1.1\r\nHost: test\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400(hantar: Hantar, account: Account, data: bytes) -> None:
    await check_refuses(hantar, account, data)


async def test_a_key_in_malformed_bytes_is_not_logged(
    hantar: Hantar, account: Account, events: list[EventDict]
) -> None:
    await check_refuses(hantar, account, request(account, LIST, b"X-Odd: \0"))
    broken = request(account, LIST).replace(b"Authorization: ", b"Authorization: \0")
    await check_refuses(hantar, account, broken)
    refusals = [event for event in events if event["event"] == "bytes_refused"]
    assert [refusal["error"] for refusal in refusals] == ["BadHttpMessage"] * 2
    assert account.key not in repr(events)


@pytest.mark.row("5.1-24")
@pytest.mark.parametrize("leave", ["hang_up", "finish"])
@pytest.mark.parametrize("sent", [b"", BODY[:9]])
async def test_a_client_may_leave_in_the_middle_of_its_body(
    hantar: Hantar, account: Account, events: list[EventDict], leave: str, sent: bytes
) -> None:
    async def seen() -> bool:
        return any(
            (event["event"], event.get("account_id")) == ("request", account.id) for event in events
        )

    async with nothing_done(hantar, account), wire(hantar.api) as connection:
        await connection.say(request(account, SEND, JSON, length(BODY), body=sent))
        # Only once the key was looked up is the body what the handler waits for.
        await eventually(lambda: key_used(hantar, account))
        getattr(connection, leave)()
        await eventually(seen)
    assert [event["event"] for event in events if event["log_level"] != "info"] == []


async def key_used(hantar: Hantar, account: Account) -> Any:
    return await hantar.pool.fetchval(
        "SELECT last_used_at FROM api_keys WHERE account_id = $1", account.id
    )


@pytest.mark.row("5.1-25")
async def test_a_hundred_pipelined_requests_are_answered_in_order(
    hantar: Hantar, account: Account
) -> None:
    async with wire(hantar.api) as connection:
        await connection.say(
            b"".join(
                request(account, LIST.replace(b"s HTTP", b"s/%d HTTP" % number),
                        b"X-Request-Id: %d" % number)
                for number in range(1, 101)
            )
        )  # fmt: skip
        answers = [await connection.hear() for _ in range(100)]
    assert {answer.status for answer in answers} == {404}
    assert [answer.json["request_id"] for answer in answers] == [
        str(number) for number in range(1, 101)
    ]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave to open what a thousand connections need on both sides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 65_536
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.row("5.1-25")
async def test_a_thousand_idle_connections_hold_nobody_up(
    hantar: Hantar, account: Account, many_files: None
) -> None:
    async def closed() -> bool:
        return open_files() < before + 20

    before = open_files()
    async with AsyncExitStack() as stack:
        for _ in range(1000):
            await stack.enter_async_context(wire(hantar.api))
        began = time.monotonic()
        for _ in range(20):
            assert (await hantar.get("/messages", account)).status == 200
        assert time.monotonic() - began < 2
    await eventually(closed)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_behind_a_refused_body_is_read_as_a_request(
    hantar: Hantar, account: Account
) -> None:
    hidden = request(account, SEND, JSON, length(BODY), body=BODY)
    async with nothing_done(hantar, account), wire(hantar.api) as connection:
        # Answered before the body has come, so that the client can save itself the rest.
        await connection.say(request(account, SEND, JSON, b"Content-Length: 70000"))
        answer = await connection.hear()
        check_problem(answer, 413, "payload_too_large")
        assert answer.headers["Connection"] == "close"
        await connection.say((hidden + b" " * 70_000)[:70_000] + hidden)
        assert await connection.ended()


@pytest_asyncio.fixture(loop_scope="module")
async def impatient(dsn: str, pool: Pool) -> AsyncIterator[str]:
    """The address of an API that waits for a body for a third of a second only."""
    relay = Relay(pool, dsn, LocalBus(topology(SHARDS)), lambda: None)
    gate = Gate(pool, acked_late=True)
    lists = Lists(pool, Cursors(b"secret"), None)
    once = Once(pool, relay)
    messages = Messages(pool, Accept(once, door="http"), once, gate, lists, read_seconds=0.3)
    uses = KeyUses(pool)
    uses.start()
    authentication = Authentication(pool, AccountLimit(Quota(per_second=100, burst=300)), uses, [])
    app = application(authentication, routes([messages]), cors=Cors(frozenset()))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}"
    await runner.cleanup()
    await uses.close()


async def test_slow_bodies_are_cut_and_hold_nobody_up(
    impatient: str, hantar: Hantar, account: Account
) -> None:
    head = request(account, SEND, JSON, length(BODY))
    async with nothing_done(hantar, account), AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(wire(impatient)) for _ in range(100)]
        for connection in slow:
            await connection.say(head + BODY[:5])
        began = time.monotonic()
        async with aiohttp.ClientSession(headers=account.auth) as http:
            for _ in range(20):
                async with http.get(f"{impatient}/api/v1/messages") as response:
                    assert response.status == 200
        assert time.monotonic() - began < 2
        for connection in slow:
            answer = await connection.hear()
            check_problem(answer, 408, "request_timeout")
            assert answer.headers["Connection"] == "close"


async def test_a_body_that_trickles_is_cut_too(
    impatient: str, hantar: Hantar, account: Account
) -> None:
    async def trickle() -> None:
        for place in range(len(BODY)):
            await connection.say(BODY[place : place + 1])
            await asyncio.sleep(0.05)

    async with nothing_done(hantar, account), wire(impatient) as connection:
        await connection.say(request(account, SEND, JSON, length(BODY)))
        trickling = asyncio.create_task(trickle())
        check_problem(await connection.hear(), 408, "request_timeout")
        trickling.cancel()
        # The server hung up while it was trickling: either ends it.
        [end] = await asyncio.gather(trickling, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError | ConnectionError)


async def test_chunks_that_break_off_in_noise_are_cut(
    impatient: str, hantar: Hantar, account: Account
) -> None:
    async with nothing_done(hantar, account), wire(impatient) as connection:
        await connection.say(request(account, SEND, JSON, CHUNKED))
        await eventually(lambda: key_used(hantar, account))
        await connection.say(b"5\r\n" + BODY[:5] + b"\r\n")
        await connection.say(b"zz\r\n")
        answer = await connection.hear()
        assert answer.status in (400, 408)
        check_problem(answer, answer.status, answer.json["code"])
