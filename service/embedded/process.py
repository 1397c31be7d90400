"""One server process: its settings, its start, its end and what it says of itself."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping

from service.embedded.bound import bound
from service.embedded.home import ENVIRONMENT
from service.embedded.leftover import STOP_STEPS
from service.embedded.place import Place

HOST = "127.0.0.1"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "jit": "off",  # asyncpg's look-up of types would be compiled each time
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Neither failed statements nor the values in them belong into a file nobody rotates.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
THROWAWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}


def spawn(place: Place, port: int, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts the server; its log begins anew, which bounds it."""
    command = [str(place.bin_dir / "postgres"), "-D", str(place.data), "-p", str(port)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with place.log.open("wb") as output:
        return subprocess.Popen(
            bound(command, on_parent_death=signal.SIGINT, account=place.account),
            cwd=place.home,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the owner, who stops things in order
        )


def is_ready(place: Place, pid: int) -> bool:
    """The server's own word, which unlike an open port cannot be another server's."""
    try:
        lines = (place.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:8]] == ["ready"]


def failure(place: Place) -> str:
    """The line of the log that says why the server gave up, and where the log is."""
    lines = place.log.read_text(errors="replace").strip().splitlines()
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    return f"{[*lines, *fatal][-1] if lines else 'it said nothing'} ({place.log})"


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends the server in order, by force when it takes too long."""
    for number, limit_seconds in STOP_STEPS:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_seconds)
            return


def free_port() -> int:
    """A port that nothing uses at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
