"""Hantar as its users run it: real processes, started, watched and signalled, none left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from service.embedded.bound import bound
from service.embedded.leftover import end_leftover
from tests.canaries import CANARIES
from tests.system import eventually

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
#: The program's own promise after a signal.
STOP_SECONDS = 10.0
COMMAND_SECONDS = 30.0
TAIL_CHARS = 3000
#: Nothing else is inherited. Port 0 lets the system choose; the process logs what it got.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": str(ROOT),
    "HANTAR_LISTEN": "127.0.0.1:0",
    "HANTAR_OPS_LISTEN": "127.0.0.1:0",
    "HANTAR_LOG_FORMAT": "json",
}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command that ended left."""

    code: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        """Its output, which `--json` was asked of."""
        assert self.code == 0, f"exit code {self.code}: {self.error}"
        return orjson.loads(self.output)


class Process:
    """One `hantar` that was started; its output and its log are in files."""

    def __init__(
        self, arguments: Sequence[str], popen: subprocess.Popen[bytes], output: Path, error: Path
    ) -> None:
        self.arguments = " ".join(arguments)
        self._popen = popen
        self._output = output
        self._error = error

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def log(self) -> Path:
        """The file of its log."""
        return self._error

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def error(self) -> str:
        """What it wrote to standard error so far."""
        return self._error.read_text(errors="replace")

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The log entries of these names so far."""
        whole = self.error.rpartition("\n")[0].splitlines()
        entries = [orjson.loads(line) for line in whole if line.startswith("{")]
        return [entry for entry in entries if entry["event"] in names]

    async def ready(self) -> tuple[str, str]:
        """The addresses of the API ("" without one) and of ops, once /readyz says it is ready."""
        started = await eventually(self._started, within_seconds=START_SECONDS)
        async with aiohttp.ClientSession() as http:

            async def look() -> bool:
                limit = aiohttp.ClientTimeout(total=5)
                async with http.get(f"{started['ops']}/readyz", timeout=limit) as answer:
                    return answer.status == 200

            await eventually(look, within_seconds=START_SECONDS)
        return started["api"] or "", started["ops"]

    async def says(self, text: str) -> str:
        """All its output, once the text is in it."""

        async def look() -> str:
            self._assert_runs()
            output = self.output
            return output if text in output else ""

        found: str = await eventually(look, within_seconds=START_SECONDS)
        return found

    async def ends(self, within_seconds: float = STOP_SECONDS) -> int:
        """Its exit code, once it has ended by itself."""
        deadline = time.monotonic() + within_seconds
        while (code := self.code) is None:
            assert time.monotonic() < deadline, f"still runs after {within_seconds} s: {self.tail}"
            await asyncio.sleep(0.02)
        return code

    async def terminate(self) -> int:
        """SIGTERM, as a supervisor would; answers the exit code."""
        self._popen.terminate()
        return await self.ends()

    async def interrupt(self) -> int:
        """Ctrl-C, which reaches the whole process group; answers the exit code."""
        os.killpg(self.pid, signal.SIGINT)
        return await self.ends()

    def kill(self) -> None:
        """SIGKILL: no time for a last word; done when it is gone."""
        self._popen.kill()
        self._popen.wait(STOP_SECONDS)

    @property
    def tail(self) -> str:
        """The end of its log, for the reader of a failed test."""
        what = f"hantar {self.arguments} (pid {self.pid}, exit code {self.code})"
        return f"\n--- {what}\n{self.error[-TAIL_CHARS:]}"

    async def _started(self) -> dict[str, Any] | None:
        self._assert_runs()
        return next(iter(self.events("started")), None)

    def _assert_runs(self) -> None:
        assert self.code is None, f"ended with exit code {self.code}: {self.tail}"


class Processes:
    """Starts `hantar` in a folder and an environment of the test's own.

    The folder has spaces in its name, and PostgreSQL's own account can reach it.
    """

    def __init__(self, folder: Path, logs: Path, *, module: str = "service") -> None:
        self.folder = folder
        self._module = module
        self.environment = dict(ENVIRONMENT)
        self._logs = logs
        self._started: list[Process] = []

    def start(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Process:
        """Start a command; `environment` goes over the folder's own, `prefix` runs it."""
        name = f"{len(self._started)}-{arguments[0]}"
        output, error = self._logs / f"{name}.out", self._logs / f"{name}.err"
        command = [sys.executable, "-m", self._module, *arguments]
        with output.open("wb") as out, error.open("wb") as err:
            popen = subprocess.Popen(
                [*prefix, *bound(command, on_parent_death=signal.SIGKILL)],
                cwd=self.folder,
                env=self.environment | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._started.append(Process(arguments, popen, output, error))
        return self._started[-1]

    async def do(self, *arguments: str, environment: dict[str, str] | None = None) -> Done:
        """Run a command to its end."""
        process = self.start(*arguments, environment=environment)
        code = await process.ends(COMMAND_SECONDS)
        return Done(code, process.output, process.error)

    def close(self) -> None:
        """Kill what still runs, and show the log of every process that was more than a command."""
        for process in self._started:
            running = process.code is None
            if running:
                process.kill()
            CANARIES.read(process.error, f"hantar {process.arguments} of {self._logs}")
            if running or process.events("started"):
                sys.stdout.write(process.tail)  # pytest shows it when the test failed
        end_leftover(self.folder / ".hantar/postgres/data")


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    """A folder to run `hantar` in; at the end every process is gone, and the folder too."""
    folder = Path(tempfile.mkdtemp(prefix="hantar test "))
    folder.chmod(0o711)
    started = Processes(folder, tmp_path)
    try:
        yield started
    finally:
        started.close()
        shutil.rmtree(folder)
