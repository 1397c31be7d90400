"""Ends what an earlier owner of a data folder left running, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

# Longest waits after each signal: for a checkpoint, for an abort, for the kernel.
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
POLL_SECONDS = 0.01
# Above any process id that Linux or macOS can give.
PID_NOBODY_HAS = 2**30


def end_leftover(data: Path) -> bool:
    """Stops the server that still runs on `data`, if one does; false when it would not end.

    Call it only while holding the lock of the folder: then no server there has a living owner.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return True
    for number, limit_seconds in STOP_STEPS:
        if not _signal_server(pid, data, number) or _ends_within(limit_seconds, pid, data):
            _disown(pid_file, pid)
            return True
    return False


def _signal_server(pid: int, data: Path, number: signal.Signals) -> bool:
    try:
        # The handle pins the process: its number cannot pass to another one after the check.
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        return False
    except OSError:
        handle = None  # forbidden by a container's rules
    try:
        if not _is_server_of(data, pid):
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _is_server_of(data: Path, pid: int) -> bool:
    process = Path("/proc") / str(pid)
    if Path("/proc/self").exists():
        try:
            # The server works inside its data folder; a zombie has no folder any more.
            in_data = (process / "cwd").samefile(data)
            return in_data and (process / "comm").read_text().strip() == "postgres"
        except OSError:
            return False
    asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    command = subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout
    return "postgres" in command and f"-D {data} " in command


def _ends_within(limit_seconds: float, pid: int, data: Path) -> bool:
    deadline = time.monotonic() + limit_seconds
    while _is_server_of(data, pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _disown(pid_file: Path, pid: int) -> None:
    """Keeps PostgreSQL from taking a zombie, or a stranger with the same number, for its server.

    The file stays: from its other lines PostgreSQL finds out whether a child of the dead server
    still uses the shared memory.
    """
    if pid_file.exists():
        pid_file.write_text(pid_file.read_text().replace(str(pid), str(PID_NOBODY_HAS), 1))
