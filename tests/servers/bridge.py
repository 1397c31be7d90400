"""The bridge as a process of its own, sent to a WhatsApp of our own, and a caller of its socket."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.canaries import CANARIES
from tests.servers.chromium import find_chromium
from tests.servers.packages import PackagesMissingError, cache_folder

FOLDER = Path(__file__).parents[2] / "drivers" / "wwebjs" / "bridge"
INSTALL_LIMIT_SECONDS = 300
START_LIMIT_SECONDS = 60
#: a browser on a machine with much else to do
STATE_LIMIT_SECONDS = 120
Json = dict[str, Any]
#: Shorter than in life, so that what takes minutes there takes a second here.
TIMES = {"quickPulse": 200, "unannounced": 1500, "backOff": 200, "pulse": 1000, "load": 60_000}


def install_bridge() -> None:
    """What the bridge needs, of exactly the locked versions; done once."""
    if shutil.which("npm") is None:
        raise PackagesMissingError("Node 20 is missing: `apt-get install nodejs npm`.")
    lock_folder = cache_folder().expanduser()
    lock_folder.mkdir(parents=True, exist_ok=True)
    with (lock_folder / "bridge.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "--no-print-directory", "-C", str(FOLDER.parents[2]), "bridge"],
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_SECONDS,
        )
    if done.returncode:
        raise PackagesMissingError(f"npm ci failed: {done.stderr.strip()[-300:]}")


class Bridge:
    """A bridge on a folder of its own, which a later one may be started on."""

    def __init__(self, folder: Path, flags: Sequence[str], **times: int) -> None:
        self.folder = folder
        self.socket = folder / "bridge.sock"
        self._flags = list(flags)
        self._times = TIMES | times
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self, **environment: str) -> None:
        """Ready to answer when it returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "HANTAR_BRIDGE_FOLDER": str(self.folder),
            "HANTAR_BRIDGE_BROWSER": str(wrapped_chromium(self.folder)),
            "HANTAR_BRIDGE_TEST_FLAGS": json.dumps(self._flags),
            "HANTAR_BRIDGE_TEST_TIMES": json.dumps(self._times),
        }
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "node", str(FOLDER / "main.js"), env=given | environment, stderr=log
            )
        connector = aiohttp.UnixConnector(str(self.socket))
        self._http = aiohttp.ClientSession("http://bridge", connector=connector)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            try:
                await self.call("GET", "/v1/health")
            except aiohttp.ClientConnectionError:
                assert self._process.returncode is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            else:
                return

    async def stop(self) -> int:
        """Ask it to end; its exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """It is gone at once."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        code = await asyncio.wait_for(self._process.wait(), 30)
        await self._http.close()
        CANARIES.read((self.folder / "log").read_text(), f"the bridge in {self.folder}")
        return code

    async def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json]:
        """Status and body of the answer."""
        async with self._http.request(
            method, path, json=body, headers=headers, timeout=aiohttp.ClientTimeout(100)
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else {}

    async def device(self, device: str) -> Json:
        """The device as the bridge sees it."""
        _, view = await self.call("GET", f"/v1/devices/{device}")
        return view

    async def send(self, device: str, message: str, to: str, text: str) -> tuple[int, Json]:
        """One text."""
        body = {"id": message, "epoch": 1, "to": to, "text": text}
        return await self.call("POST", f"/v1/devices/{device}/messages", body)

    async def events(self, after: int = 0) -> AsyncIterator[Json]:
        """Every line of the stream, for as long as the caller listens."""
        limits = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with self._http.get(f"/v1/events?after={after}", timeout=limits) as stream:
            async for line in stream.content:
                yield json.loads(line)

    async def until(self, wanted: Callable[[Json], bool], after: int = 0) -> Json:
        """The first event that is wanted."""
        async with asyncio.timeout(STATE_LIMIT_SECONDS):
            async for event in self.events(after):
                if "seq" in event and "device" in event and wanted(event):
                    return event
        raise AssertionError("the stream ended")

    async def seq(self) -> int:
        """The number of the newest event."""
        _, health = await self.call("GET", "/v1/health")
        return int(health["seq"])

    async def reaches(self, device: str, state: str, after: int = 0) -> Json:
        """The event with which the device comes into the state."""
        return await self.until(
            lambda e: e["type"] == "state" and e["device"] == device and e["state"] == state, after
        )


def browsers_of(folder: Path) -> list[int]:
    """The processes of browsers with a profile in the folder, each a group of its own."""
    groups, members = set(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                group = os.getpgid(int(entry.name))
            except OSError:
                continue  # it has ended
            members.append((int(entry.name), group))
            if f"--user-data-dir={folder}".encode() in command:
                groups.add(group)
    return [pid for pid, group in members if group in groups]


async def ended(folder: Path) -> None:
    """Returns when the folder has no browser any more."""
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while browsers_of(folder):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def wrapped_chromium(folder: Path) -> Path:
    """Chromium as one program, whatever environment it needs."""
    program, environment = find_chromium()
    settings = " ".join(f"{name}='{value}'" for name, value in environment.items())
    script = folder / "chromium-headless-shell"
    script.write_text(f"#!/bin/sh\nexec env {settings} '{program}' \"$@\"\n")
    script.chmod(0o755)
    return script
