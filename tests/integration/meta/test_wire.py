"""The HTTP client of the calls, against a server that answers with whatever bytes a test says."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.guarded import NoAnswer, NotAllowed, NotSent
from drivers.meta.calls import CONNECTIONS_LIMIT, Calls, Seconds
from drivers.meta.wire import ANSWER_LIMIT_BYTES, Answered
from tests.servers.certificate import self_signed

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
WHOLE = HEAD + b"\r\n{}"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Hands each request to `answer`; counts connections and keeps requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []
        self.arrived: asyncio.Queue[None] = asyncio.Queue()
        self.ended: asyncio.Queue[None] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                _, _, length = head.partition(b"Content-Length: ")
                body = await reader.readexactly(int(length.partition(b"\r\n")[0] or 0))
                self.requests.append(head + body)
                self.arrived.put_nowait(None)
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended.put_nowait(None)


def saying(*pieces: bytes, close: bool = False) -> Answer:
    """Answers with these bytes, piece by piece."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n, piece in enumerate(pieces):
            if n:
                await asyncio.sleep(0.01)  # so that it is another piece to the client as well
            writer.write(piece)
        if close:
            writer.close()

    return answer


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Never answers; returns when the client goes."""
    await reader.read()


@asynccontextmanager
async def served(
    answer: Answer,
    *,
    seconds: Seconds | None = None,
    tls: ssl.SSLContext | None = None,
    trusted: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Server, Calls]]:
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls) as listening:
        port = listening.sockets[0].getsockname()[1]
        base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/graph/"
        calls = Calls(base_url, "a-token", seconds=seconds, tls=trusted)
        yield server, calls
        await calls.close()


async def post(calls: Calls, body: bytes = b"{}") -> Answered:
    return await calls.post("/messages", body, lambda: True)


async def test_a_request_says_all_that_a_server_needs() -> None:
    async with served(saying(WHOLE)) as (server, calls):
        assert await post(calls, b'{"to":"x"}') == Answered(200, b"{}")
        assert await calls.get("/1?fields=id") == Answered(200, b"{}")
    posted, asked = server.requests
    head, _, body = posted.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert line == b"POST /graph/messages HTTP/1.1"
    assert b"Authorization: Bearer a-token" in headers
    assert b"Content-Type: application/json" in headers
    assert b"Content-Length: 10" in headers
    assert any(header.startswith(b"Host: 127.0.0.1:") for header in headers)
    assert body == b'{"to":"x"}'
    assert asked.startswith(b"GET /graph/1?fields=id HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([bytes([byte]) for byte in WHOLE], id="byte-by-byte"),
        pytest.param(
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
                b"1\r\n}\r\n0\r\n\r\n",
            ],
            id="chunked",
        ),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", WHOLE], id="hints-before"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE], id="continue-before"),
    ],
)
async def test_an_answer_is_whole_however_it_comes(pieces: list[bytes]) -> None:
    async with served(saying(*pieces)) as (server, calls):
        assert await post(calls) == Answered(200, b"{}")
        assert await post(calls) == Answered(200, b"{}")
    assert server.connections == 1, "it is kept"


@pytest.mark.parametrize(
    ("pieces", "close"),
    [
        pytest.param([b""], True, id="nothing"),
        pytest.param([HEAD], True, id="half-the-headers"),
        pytest.param([HEAD + b"\r\n{"], True, id="half-the-body"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n{}"], True, id="ended-by-its-connection"),
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n"], False, id="no-http"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], False, id="no-length"),
        pytest.param(
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}"], False, id="two-lengths"
        ),
        pytest.param(
            [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
            False,
            id="another-protocol",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: " + b"x" * ANSWER_LIMIT_BYTES], False, id="headers"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"x" * ANSWER_LIMIT_BYTES],
            False,
            id="body",
        ),
    ],
)
async def test_what_is_no_whole_bounded_answer_may_have_been_taken(
    pieces: list[bytes], close: bool
) -> None:
    async with served(saying(*pieces, close=close)) as (server, calls):
        with pytest.raises(NoAnswer):
            await post(calls)
        await server.ended.get()
        server.answer = saying(WHOLE)
        assert (await post(calls)).status == 200, "on a connection of its own"
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(saying(HEAD + b"Connection: close\r\n\r\n{}"), id="said-so"),
        pytest.param(saying(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"), id="of-1.0"),
        pytest.param(saying(WHOLE + WHOLE), id="answered-twice"),
    ],
)
async def test_a_connection_that_is_not_to_be_kept_is_not(answer: Answer) -> None:
    async with served(answer) as (server, calls):
        assert await post(calls) == Answered(200, b"{}")
        await server.ended.get()
        assert await post(calls) == Answered(200, b"{}")
    assert server.connections == 2


async def test_a_connection_that_ended_while_the_loop_was_busy_takes_no_request() -> None:
    loop = asyncio.get_running_loop()

    async def answered(listening: socket.socket) -> socket.socket:
        connection, _ = await loop.sock_accept(listening)
        connection.setblocking(False)
        await loop.sock_recv(connection, 65536)
        await loop.sock_sendall(connection, WHOLE)
        return connection

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        calls = Calls(f"http://127.0.0.1:{listening.getsockname()[1]}", "a-token")
        connection, _ = await asyncio.gather(answered(listening), post(calls))
        connection.close()  # the loop hears of it only after the next request has begun
        another, answer = await asyncio.gather(answered(listening), post(calls))
        assert answer.status == 200
        await calls.close()
        another.close()


async def test_leave_is_asked_for_with_the_connection_at_hand() -> None:
    async with served(saying(WHOLE)) as (server, calls):
        with pytest.raises(NotAllowed):
            await calls.post("/messages", b"{}", lambda: False)
        assert (await post(calls)).status == 200
    assert (server.connections, len(server.requests)) == (1, 1)


async def test_a_call_that_is_given_up_leaves_its_answer_and_its_connection_to_nobody() -> None:
    async with served(silent) as (server, calls):
        given_up = asyncio.create_task(post(calls))
        await server.arrived.get()
        server.answer = saying(WHOLE)
        given_up.cancel()
        # Begins in the very turn of the loop in which the other one ends.
        assert await asyncio.create_task(post(calls)) == Answered(200, b"{}")
    assert server.connections == 2


async def test_there_are_no_more_connections_than_allowed() -> None:
    go = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(WHOLE)

    async with served(answer) as (server, calls):
        asked = [asyncio.create_task(post(calls)) for _ in range(2 * CONNECTIONS_LIMIT + 5)]
        for _ in range(CONNECTIONS_LIMIT):
            await server.arrived.get()
        for waiting in asked[-CONNECTIONS_LIMIT:]:
            waiting.cancel()
        go.set()
        answers = await asyncio.gather(*asked[:-CONNECTIONS_LIMIT])
        assert {answer.status for answer in answers} == {200}
        assert (await post(calls)).status == 200, "those given up took no room along"
    assert server.connections == CONNECTIONS_LIMIT


@pytest.mark.parametrize(
    ("seconds", "answer"),
    [
        pytest.param(Seconds(read=0.1), silent, id="no-answer"),
        pytest.param(Seconds(read=0.1), saying(HEAD), id="half-of-one"),
        pytest.param(
            Seconds(read=1, total=0.1), saying(*(bytes([byte]) for byte in WHOLE)), id="slowly"
        ),
    ],
)
async def test_an_answer_that_takes_too_long_may_come_of_a_message_that_was_taken(
    seconds: Seconds, answer: Answer
) -> None:
    async with served(answer, seconds=seconds) as (server, calls):
        with pytest.raises(NoAnswer, match="TimeoutError"):
            await post(calls)
        await server.ended.get()


async def test_a_slow_answer_is_awaited_while_pieces_come() -> None:
    pieces = [bytes([byte]) for byte in WHOLE]
    async with served(saying(*pieces), seconds=Seconds(read=0.3)) as (_, calls):
        began = time.monotonic()
        assert (await post(calls)).status == 200
        assert time.monotonic() - began > 0.3, "longer than the wait for one piece"


async def test_who_is_not_connected_in_time_has_sent_nothing() -> None:
    gone: asyncio.Queue[bytes] = asyncio.Queue()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone.put_nowait(await reader.read())  # TLS is waited for in vain
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        calls = Calls(f"https://127.0.0.1:{port}", "a-token", seconds=Seconds(connect=0.1))
        with pytest.raises(NotSent, match="TimeoutError"):
            await post(calls)
        with pytest.raises(NoAnswer):
            await calls.get("/1")
        await calls.close()
        assert b"a-token" not in await gone.get() + await gone.get()


async def test_whom_a_certificate_does_not_name_gets_nothing(tmp_path: Path) -> None:
    tls, file = self_signed(tmp_path)
    async with served(saying(WHOLE), tls=tls) as (server, calls):
        with pytest.raises(NotSent, match="SSLCertVerificationError"):
            await post(calls)
    assert not server.requests
    trusted = ssl.create_default_context(cafile=file)
    async with served(saying(WHOLE), tls=tls, trusted=trusted) as (server, calls):
        for _ in range(3):
            assert await post(calls, b"x" * 60_000) == Answered(200, b"{}")
    assert server.connections == 1


async def test_what_is_in_flight_when_the_calls_close_may_have_been_taken() -> None:
    async with served(silent) as (server, calls):
        asked = asyncio.create_task(post(calls))
        await server.arrived.get()
        await calls.close()
        with pytest.raises(NoAnswer):
            await asked


async def test_once_the_calls_close_nothing_begins() -> None:
    begun = 0

    def begin() -> bool:
        nonlocal begun
        begun += 1
        return True

    async with served(saying(WHOLE)) as (_, calls):
        await post(calls)
        closing = asyncio.create_task(calls.close())
        late = asyncio.create_task(calls.post("/messages", b"{}", begin))
        with pytest.raises(NotSent):
            await late
        await closing
        with pytest.raises(NotSent):
            await post(calls)
    assert not begun


@pytest.mark.parametrize("base_url", ["graph.facebook.com", "ftp://graph.facebook.com", "https://"])
async def test_another_base_than_one_of_http_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="HTTP"):
        Calls(base_url, "a-token")


async def test_a_host_that_cannot_be_has_got_nothing() -> None:
    calls = Calls(f"http://{'a' * 64}.example", "a-token")
    with pytest.raises(NotSent):
        await post(calls)
