"""Launches the private PostgreSQL and stops it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import asyncpg

from service.embedded.error import EmbeddedPostgresError
from service.embedded.home import USER, lock, open_data, password
from service.embedded.leftover import POLL_SECONDS, end_leftover
from service.embedded.place import Place, find_place
from service.embedded.process import (
    HOST,
    SETTINGS,
    THROWAWAY_SETTINGS,
    end,
    failure,
    free_port,
    is_ready,
    spawn,
)

# Recovery after a crash counts; a fresh start takes a fraction of a second.
START_LIMIT_SECONDS = 120
ANSWER_LIMIT_SECONDS = 30
# The port was taken meanwhile; a child of a killed server ends; its whole server still came up.
PASSING_FAILURES = (
    "could not create any TCP/IP sockets",
    "is still in use",
    'lock file "postmaster.pid" already exists',
)
RETRY_SECONDS = 0.2


class EmbeddedPostgres:
    """One private server on one folder: TCP on 127.0.0.1 with a password, gone with its owner.

    `start` must run on a thread that lives as long as the server is needed: Linux ends the server
    together with that thread. A server that is not `durable` may lose its data in a crash of the
    machine, and is faster.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool,
        database: str = "hantar",
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._durable = durable
        self._database = database
        self._bin_dir = bin_dir
        self._settings = SETTINGS | ({} if durable else THROWAWAY_SETTINGS) | dict(settings or {})
        self._lock: IO[str] | None = None
        self._place: Place | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._password = ""
        self._port = 0

    @property
    def dsn(self) -> str:
        """Where asyncpg finds the database while the server runs."""
        return self._dsn(self._database)

    @property
    def pid(self) -> int:
        """The process id of the server; 0 when it was not started."""
        return self._process.pid if self._process else 0

    @property
    def home(self) -> Path:
        """The folder that holds data, password and log; not the one asked for if root must move."""
        return self._place.home if self._place else self._folder

    @property
    def notice(self) -> str:
        """What the user should be told about where things are; empty when there is nothing."""
        return self._place.notice if self._place else ""

    async def start(self) -> str:
        """Brings the server up, creating data and database where missing, and returns the DSN."""
        if self._process:
            raise EmbeddedPostgresError("This PostgreSQL has been started already.")
        try:
            place = await asyncio.to_thread(self._prepare)
            await self._launch(place)
            await self._create_database()
        except OSError as error:
            await self.stop()
            reason = str(error) or type(error).__name__
            raise EmbeddedPostgresError(f"PostgreSQL did not start: {reason}.") from error
        except BaseException:
            await self.stop()
            raise
        return self.dsn

    async def stop(self) -> None:
        """Ends the server within bounded time and gives the folder free; twice does no harm."""
        process, self._process = self._process, None
        try:
            if process:
                await asyncio.to_thread(end, process)
        finally:
            if self._lock:
                self._lock.close()
                self._lock = None

    def _dsn(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@{HOST}:{self._port}/{database}"

    def _prepare(self) -> Place:
        self._place = place = find_place(self._folder, self._bin_dir)
        self._lock = lock(place.home)
        self._password = password(place)
        open_data(place, durable=self._durable)
        return place

    async def _launch(self, place: Place) -> None:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            if not await asyncio.to_thread(end_leftover, place.data):
                raise EmbeddedPostgresError(f"An earlier PostgreSQL on {place.data} does not end.")
            self._port = free_port()
            self._process = spawn(place, self._port, self._settings)
            while self._process.poll() is None:
                if is_ready(place, self._process.pid):
                    return
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"PostgreSQL is not ready in time: {failure(place)}"
                    )
                await asyncio.sleep(POLL_SECONDS)
            reason = failure(place)
            passing = any(known in reason for known in PASSING_FAILURES)
            if not passing or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {reason}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _create_database(self) -> None:
        try:
            connection = await asyncpg.connect(
                self._dsn("postgres"),
                timeout=ANSWER_LIMIT_SECONDS,
                command_timeout=ANSWER_LIMIT_SECONDS,
            )
            try:
                known = "SELECT 1 FROM pg_database WHERE datname = $1"
                if not await connection.fetchval(known, self._database):
                    quoted = self._database.replace('"', '""')
                    await connection.execute(f'CREATE DATABASE "{quoted}"')
            finally:
                await connection.close(timeout=ANSWER_LIMIT_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Above all a password file that is not the one of the data.
            raise EmbeddedPostgresError(f"PostgreSQL in {self.home} refuses: {error}.") from error
