"""`hantar run` on a fresh machine: one process, nothing to install, nothing to set up.

All of it happens in a folder with spaces in its name.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import orjson

from tests.acceptance.demo import BULK_SECONDS, demo, start
from tests.acceptance.processes import ROOT, STOP_SECONDS, Processes
from tests.system import eventually

SAMPLE = ROOT / "schemas/examples/bulk-1000.json"
VALID = 988
CREDITS = 10_000
#: At 50 a second: what may have been handed over and not yet written down when the process died.
IN_FLIGHT = 15
PRINTED_COMMAND = re.compile(r"^  (curl (?:.*\\\n)*.*)$", re.MULTILINE)
#: Tells curl what to add, so that the printed lines need not be touched.
CURLRC = 'silent\nwrite-out = "\\n%{http_code}"\n'
NOBODY = 65_534
#: Whether an interpreter that was given can start another one, as Hantar does for PostgreSQL.
CAN_RUN = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'import asyncpg'])"


async def shell(command: str, folder: Path) -> tuple[int, Any]:
    """What a shell makes of a printed curl line: the HTTP status and the body."""
    (folder / ".curlrc").write_text(CURLRC)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "CURL_HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, error = await asyncio.wait_for(process.communicate(), 30.0)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, error.decode()
    body, _, status = output.decode().rpartition("\n")
    return int(status), orjson.loads(body)


def sample(count: int) -> Any:
    """The first messages of the sample bulk."""
    return {"messages": orjson.loads(SAMPLE.read_bytes())["messages"][:count]}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_it_prints_works_and_a_restart_keeps_everything(processes: Processes) -> None:
    first = await start(processes)
    assert first.url in first.printed
    assert f"Demo account: {CREDITS:,} credits" in first.printed
    assert (first.data / "demo.env").stat().st_mode & 0o777 == 0o600
    send, bulk, count = PRINTED_COMMAND.findall(first.printed)
    status, sent = await shell(send, processes.folder)
    assert (status, sent["data"]["status"]) == (202, "queued")
    status, queued = await shell(bulk, processes.folder)
    assert (status, len(queued["queued"]), len(queued["rejected"])) == (202, VALID, 12)

    async def all_delivered() -> bool:
        status, page = await shell(count, processes.folder)
        return status == 200 and page["meta"]["total"] == VALID + 1

    await eventually(all_delivered, within_seconds=BULK_SECONDS)
    assert await first.process.terminate() == 0

    again = await start(processes)
    assert again.key == first.key
    assert f"Demo account: {CREDITS - VALID - 1:,} credits" in again.printed
    assert await again.total("delivered") == VALID + 1
    async with again.database() as connection:
        assert await connection.fetchval("SELECT balance FROM accounts") == CREDITS - VALID - 1
        assert await connection.fetchval("SELECT count(*) FROM simulator_calls") == VALID + 1
    assert (await again.call("POST", "/messages/send", sample(1)["messages"][0])).status == 202
    await again.delivered(VALID + 2)


async def test_what_was_accepted_survives_the_sudden_death_of_everything(
    processes: Processes,
) -> None:
    first = await start(processes)
    answer = await first.call("POST", "/messages/bulk", sample(150))
    accepted = {item["id"] for item in answer.json["queued"]}
    assert (answer.status, len(accepted) > 100) == (202, True)
    await first.called(50)
    first.process.kill()

    again = await start(processes)
    assert await again.total("delivered") < len(accepted)
    await again.delivered(len(accepted))
    async with again.database() as connection:
        rows = await connection.fetch(
            "SELECT message_id, count(*) FILTER (WHERE accepted) AS accepted, max(attempt) AS last"
            " FROM simulator_calls GROUP BY message_id"
        )
    assert {row["message_id"] for row in rows} == accepted
    # What was handed over and not written down is handed over again under the same id and attempt
    # to come: this WhatsApp, like the real one, knows the id and sends nothing twice.
    repeated = [row for row in rows if row["accepted"] > 1]
    assert len(repeated) <= IN_FLIGHT
    assert all(row["accepted"] == row["last"] == 2 for row in repeated)
    audit = await processes.do("credits", "audit")
    assert (audit.code, audit.output) == (0, "every account agrees\n")


async def test_one_folder_has_one_process(processes: Processes) -> None:
    processes.environment["HANTAR_DATA_DIR"] = "my data"
    data = processes.folder / "my data"
    first = await demo(processes.start("run"), data)
    second = await processes.do("run")
    assert second.code == 1
    assert re.fullmatch(r"Error: Process \d+ already runs PostgreSQL on .*\n", second.error)
    assert str(first.process.pid) in second.error
    assert (await first.call("GET", "/messages")).status == 200
    assert await first.process.terminate() == 0
    assert not (data / "postgres.url").exists()


async def test_a_taken_port_is_told_and_the_next_one_used(processes: Processes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = await start(processes, "--listen", f"127.0.0.1:{port}")
        assert f"Hantar is running at {found.url} " in found.printed
        assert port < int(found.url.rpartition(":")[2]) <= port + 20
        [entry, *_] = found.process.events("port_taken")
        assert (entry["listener"], entry["port"]) == ("api", port)
        assert (await found.call("GET", "/messages")).status == 200


async def stop_amid_a_bulk(processes: Processes, number: signal.Signals) -> None:
    running = await start(processes)
    assert (await running.call("POST", "/messages/bulk", sample(1000))).status == 202
    await running.called(30)
    postgres = running.postgres_pid
    stop = running.process.interrupt if number == signal.SIGINT else running.process.terminate
    async with asyncio.timeout(STOP_SECONDS):
        code = await stop()
    assert code == 0
    assert not is_running(postgres)
    assert not (running.data / "postgres.url").exists()
    assert running.process.events("stopped")
    assert "Traceback" not in running.process.error


async def test_ctrl_c_amid_a_bulk_ends_it_in_order(processes: Processes) -> None:
    await stop_amid_a_bulk(processes, signal.SIGINT)


async def test_sigterm_amid_a_bulk_ends_it_in_order(processes: Processes) -> None:
    await stop_amid_a_bulk(processes, signal.SIGTERM)


async def as_nobody() -> list[str]:
    """What runs a command as an ordinary user when the tests run as root.

    The interpreter may stand where others cannot read, as below /root: then the user is lent the
    right to read, or to reach, files of others, and is ordinary in everything else.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    assert setpriv, "setpriv (util-linux) is needed to test as an ordinary user when run by root"
    user = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set"]
    for lent in ("", "dac_read_search", "dac_override"):
        rights = f"+{lent}" if lent else ""
        prefix = [*user, f"-all,{rights}".rstrip(",")]
        if lent:
            prefix += [f"--inh-caps={rights}", f"--ambient-caps={rights}"]
        probe = await asyncio.create_subprocess_exec(
            *prefix, sys.executable, "-c", CAN_RUN, stderr=asyncio.subprocess.DEVNULL
        )
        if await asyncio.wait_for(probe.wait(), 20.0) == 0:
            return prefix
    raise AssertionError(f"no ordinary user can run {sys.executable}")


async def test_an_ordinary_user_needs_nothing_else(processes: Processes) -> None:
    prefix = await as_nobody()
    if prefix:
        os.chown(processes.folder, NOBODY, NOBODY)
    process = processes.start("run", prefix=prefix)
    running = await demo(process, processes.folder / ".hantar")
    assert "does not run as root" not in running.printed
    files = [running.data, running.data / "demo.env", running.data / "postgres/data"]
    assert {path.stat().st_uid for path in files} == {NOBODY if prefix else os.geteuid()}
    assert (await running.call("POST", "/messages/bulk", sample(10))).status == 202
    await running.delivered(10)
    postgres = running.postgres_pid
    assert await running.process.interrupt() == 0
    assert not is_running(postgres)
