"""The bridge as a process of its own, sent to a WhatsApp of our own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from tests.canaries import CANARIES
from tests.servers.bridge_caller import BridgeCaller
from tests.servers.chromium import find_chromium
from tests.servers.packages import PackagesMissingError, cache_folder

FOLDER = Path(__file__).parents[2] / "drivers" / "wwebjs" / "bridge"
INSTALL_LIMIT_SECONDS = 300
START_LIMIT_SECONDS = 60
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


class Bridge(BridgeCaller):
    """A bridge on a folder of its own, which a later one may be started on."""

    def __init__(self, folder: Path, flags: Sequence[str], **times: int) -> None:
        super().__init__(folder / "bridge.sock")
        self.folder = folder
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
        self.open()
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
        await self.close()
        CANARIES.read((self.folder / "log").read_text(), f"the bridge in {self.folder}")
        return code


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
