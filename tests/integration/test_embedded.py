"""The private PostgreSQL: what survives, what is refused, and what must never be left behind."""

from __future__ import annotations

import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.embedded import EmbeddedPostgres, EmbeddedPostgresError

LIMIT_SECONDS = 30
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A long path with spaces that every user of the machine can reach."""
    top = Path(tempfile.mkdtemp(prefix="hantar embedded's "))
    top.chmod(0o711)
    yield top / ("long " * 40) / ("longer " * 30) / "postgres"
    for pointer in top.rglob(
        "moved"
    ):  # when the machine's own folder for temporary files is closed
        shutil.rmtree(pointer.readlink())
    shutil.rmtree(top)


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, durable=False)
    await server.start()
    yield server
    await server.stop()


async def store_row(dsn: str) -> None:
    await query(dsn, "CREATE TABLE kept AS SELECT 1 AS row")


async def stored_rows(dsn: str) -> object:
    return await query(dsn, "SELECT count(*) FROM kept")


async def query(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=LIMIT_SECONDS)
    try:
        return await connection.fetchval(sql, timeout=LIMIT_SECONDS)
    finally:
        await connection.close()


def await_end(pid: int) -> None:
    """Returns when the process has ended; it need not be a child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], LIMIT_SECONDS)[0], f"{pid} still runs"
    finally:
        os.close(handle)


async def test_a_durable_server_keeps_rows_over_a_restart(folder: Path) -> None:
    first = EmbeddedPostgres(folder, durable=True, settings={"work_mem": "5MB"})
    dsn = await first.start()
    await store_row(dsn)
    shown = {
        name: await query(dsn, f"SHOW {name}")
        for name in ("fsync", "synchronous_commit", "jit", "work_mem", "server_encoding")
    }
    ctype = await query(dsn, "SELECT datctype FROM pg_database WHERE datname = 'hantar'")
    await first.stop()
    await first.stop()
    second = EmbeddedPostgres(folder, durable=True)
    try:
        assert await stored_rows(await second.start()) == 1
    finally:
        await second.stop()
    assert [*shown.values(), ctype] == ["on", "on", "off", "5MB", "UTF8", "C.UTF-8"]


async def test_a_password_is_needed_and_kept_to_the_owner(server: EmbeddedPostgres) -> None:
    password = server.home / "password"
    assert password.stat().st_mode & 0o777 == 0o600
    wrong = server.dsn.replace(password.read_text(), "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(wrong, "SELECT 1")


async def test_rows_survive_a_killed_server(server: EmbeddedPostgres) -> None:
    await store_row(server.dsn)
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()
    assert await stored_rows(await server.start()) == 1


async def test_a_second_owner_is_refused(server: EmbeddedPostgres, folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=f"Process {os.getpid()} already runs"):
        await EmbeddedPostgres(folder, durable=False).start()
    assert await query(server.dsn, "SELECT 1") == 1


async def test_data_of_another_major_version_is_refused(server: EmbeddedPostgres) -> None:
    await server.stop()
    (server.home / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 12"):
        await server.start()


async def test_a_server_that_outlived_its_owner_is_stopped(server: EmbeddedPostgres) -> None:
    await store_row(server.dsn)
    running = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    await server.stop()
    orphan = start_as_server(running, server)
    assert orphan.stderr
    assert any(b"ready to accept connections" in line for line in orphan.stderr)
    assert await stored_rows(await server.start()) == 1
    orphan.communicate(timeout=LIMIT_SECONDS)
    assert orphan.returncode == 0


@pytest.mark.parametrize("command", ["sleep 60", "true"], ids=["stranger", "zombie"])
async def test_a_process_with_the_number_of_a_dead_server_is_left_alone(
    server: EmbeddedPostgres, command: str
) -> None:
    pid_file = server.home / "data" / "postmaster.pid"
    left = pid_file.read_text()
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    await server.stop()
    stranger = start_as_server(command.split(), server)
    try:
        if command == "true":
            await_end(stranger.pid)
        pid_file.write_text(left.replace(str(pid), str(stranger.pid), 1))
        assert await query(await server.start(), "SELECT 1") == 1
        assert (stranger.poll() is None) == (command != "true")
    finally:
        stranger.kill()
        stranger.communicate(timeout=LIMIT_SECONDS)


async def test_a_killed_owner_takes_the_server_along(folder: Path) -> None:
    owner, dsn, pid = start_owner(folder, sys.executable)
    try:
        await store_row(dsn)
    finally:
        owner.kill()
        owner.communicate(timeout=LIMIT_SECONDS)
    await_end(pid)
    successor = EmbeddedPostgres(folder, durable=True)
    try:
        assert await stored_rows(await successor.start()) == 1
    finally:
        await successor.stop()


async def test_a_successor_need_not_wait_for_the_server_of_a_killed_owner(folder: Path) -> None:
    owner, dsn, _ = start_owner(folder, sys.executable)
    await store_row(dsn)
    owner.kill()
    owner.communicate(timeout=LIMIT_SECONDS)
    successor = EmbeddedPostgres(folder, durable=True)
    try:
        assert await stored_rows(await successor.start()) == 1
    finally:
        await successor.stop()


@pytest.mark.filterwarnings("default::pytest.PytestWarning")
async def test_an_ordinary_user_can_own_it(folder: Path) -> None:
    python, account = sys.executable, None
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        folder.mkdir(parents=True)
        os.chown(folder, account.pw_uid, account.pw_gid)
        usable = [path for path in (python, "/usr/bin/python3") if runs_for(account, path)]
        if not usable:
            warnings.warn(pytest.PytestWarning("no Python that `nobody` could run"), stacklevel=1)
            return
        python = usable[0]
    owner, dsn, pid = start_owner(folder, python, account)
    assert await query(dsn, "SELECT 1") == 1
    assert Path(f"/proc/{pid}").stat().st_uid == (account.pw_uid if account else os.geteuid())
    owner.communicate("", timeout=LIMIT_SECONDS)
    assert owner.returncode == 0
    await_end(pid)


async def test_root_moves_what_the_server_cannot_reach_and_says_so(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    prefix = Path(f"/proc/{server.pid}/exe").readlink().parent.parent
    # As a wheel lies in a virtual environment: its libraries are beside the package.
    for part in (prefix, prefix.parent.with_name(f"{prefix.parent.name}.libs")):
        copy = private / part.relative_to(prefix.parents[1])
        shutil.copytree(part, copy, symlinks=True)
    bin_dir, folder = private / prefix.parent.name / prefix.name / "bin", private / "data"
    first = EmbeddedPostgres(folder, durable=True, bin_dir=bin_dir)
    second = EmbeddedPostgres(folder, durable=True, bin_dir=bin_dir)
    try:
        await store_row(await first.start())
        await first.stop()
        assert await stored_rows(await second.start()) == 1
        assert second.home == first.home
        assert private.stat().st_mode & 0o777 == 0o700
        is_root = os.geteuid() == 0
        assert (first.home != folder) == is_root
        assert (str(first.home) in first.notice) == is_root
    finally:
        await first.stop()
        await second.stop()
        shutil.rmtree(first.home)
        shutil.rmtree(private)


def start_as_server(command: list[str], server: EmbeddedPostgres) -> subprocess.Popen[bytes]:
    """A process of the server's account that no owner is bound to."""
    uid = (server.home / "data").stat().st_uid
    return subprocess.Popen(
        command, user=uid if os.geteuid() == 0 else None, cwd="/", stderr=subprocess.PIPE
    )


def start_owner(
    folder: Path, python: str, account: pwd.struct_passwd | None = None
) -> tuple[subprocess.Popen[str], str, int]:
    """A process of its own that owns a server, with the server's DSN and process id."""
    owner = subprocess.Popen(
        [python, "-m", "tests.servers.postgres_owner", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **identity_of(account),
    )
    assert owner.stdin
    assert owner.stdout
    started = json.loads(owner.stdout.readline())
    return owner, started["dsn"], started["pid"]


def runs_for(account: pwd.struct_passwd, python: str) -> bool:
    command = [python, "-c", "import tests.servers.postgres_owner"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=LIMIT_SECONDS, **identity_of(account)
        )
    except OSError:
        return False
    return done.returncode == 0


def identity_of(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """How a process of the account is started: from the same sources, with nothing of root's."""
    libraries = {str(REPOSITORY), str(Path(asyncpg.__file__).parents[1])}
    environment = {"PYTHONPATH": ":".join(libraries), "PATH": "/usr/bin:/bin"}
    place: dict[str, Any] = {"env": environment, "cwd": "/"}
    if account:
        place |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return place
