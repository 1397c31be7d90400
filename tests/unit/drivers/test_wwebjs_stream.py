"""A stream of lines ends for whoever reads it, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.guarded import NoAnswer
from drivers.wwebjs.calls import Calls

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LIMIT_SECONDS = 20.0


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    """To a bridge that says one thing, and no more; a second line of it is cut."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b'{"type":"hello"}\n{"type":')
        if b"/ends" not in asked:
            await reader.read()  # until the reader has left
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "socket"))
    made = Calls(str(tmp_path / "socket"))
    yield made
    await made.close()
    server.close()


@pytest.mark.parametrize("path", ["/silent", "/ends"])
async def test_a_stream_that_ends_or_falls_silent_is_no_answer(calls: Calls, path: str) -> None:
    told: list[object] = []

    async def read() -> None:
        async with calls.lines(path, silence_seconds=1.5) as lines:
            async for line in lines:
                told.append(line)  # noqa: PERF401 - what was read before it ended is looked at

    with pytest.raises(NoAnswer):
        await asyncio.wait_for(read(), LIMIT_SECONDS)
    assert told == [{"type": "hello"}]
