"""The bridge's own tests: its protocol, and what it stands on; run by Node."""

from __future__ import annotations

import shutil
import subprocess

from tests.servers.bridge import FOLDER

LIMIT_SECONDS = 120


def test_the_bridge_keeps_its_protocol_and_its_library(bridge_program: None) -> None:
    node = shutil.which("node")
    assert node is not None
    files = sorted(FOLDER.glob("test/*.test.js"))
    assert len(files) == 3
    done = subprocess.run(
        [node, "--test", *map(str, files)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 20" in done.stdout
