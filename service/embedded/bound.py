"""Runs a command as another account, bound to the life of its parent; also the script that does it.

Only the standard library is imported here: as a script it finds nothing else. A small interpreter
between parent and command, instead of `preexec_fn`: code between fork and exec can deadlock once
the parent has threads, and Python 3.12 warns about it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

PR_SET_PDEATHSIG = 1


class Account(NamedTuple):
    """A user and group of the operating system."""

    uid: int
    gid: int


def bound(
    command: Sequence[str], *, on_parent_death: signal.Signals, account: Account | None = None
) -> list[str]:
    """The arguments that run `command`, signalled when the thread that started it ends (Linux)."""
    uid, gid = account or (-1, -1)
    ours = [str(number) for number in (os.getpid(), int(on_parent_death), uid, gid)]
    return [sys.executable, "-I", "-S", __file__, *ours, *command]


# ctypes is imported above, before the account changes: the new one may not see this Python.
def main(parent_pid: int, death_signal: int, account: Account, command: list[str]) -> None:
    libc = ctypes.CDLL(None)
    # The interpreter ignores SIGPIPE, and an ignored signal would outlive exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if account.uid >= 0:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    if sys.platform == "linux":
        # After setuid, which clears it; exec keeps it.
        libc.prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent_pid:
            sys.exit("the parent has gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    parent_pid, death_signal, uid, gid = map(int, sys.argv[1:5])
    main(parent_pid, death_signal, Account(uid, gid), sys.argv[5:])
