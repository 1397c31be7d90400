from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

#: In a process of its own: what it sets up counts for a whole process.
PROGRAM = """
import logging, structlog
from aiohttp.multipart import parse_content_disposition
from service.telemetry import logs

logs.configure(level="info", json={json})
log = structlog.get_logger("service.part")
log.debug("too_quiet")
log.info("message_sent", message_id=7, phone="+60111", body="hello", token="t0k", key="k3y")
structlog.contextvars.bind_contextvars(request_id="r1")
log.warning("late", seconds=1.5)

def fail(recipient, words):
    note = f"{{recipient}}: {{words}}"
    raise RuntimeError("broken")

try:
    fail("+60" + "111", "hel" + "lo")
except RuntimeError:
    log.exception("round_failed")
logging.getLogger("some.library").warning("library %s", "speaks")
logging.getLogger("aio_pika").warning("payload +60111")
logging.getLogger("aiohttp.server").error("connection lost")
logging.getLogger("aiormq").error("a returned body")
for header in ("form-data; name=+60111; +60111", "form-data; a name=+60111", "a b; +60111"):
    parse_content_disposition(header)
"""

#: What a command says of an error that it survives.
COMMAND = """
import structlog
from service.cli.main import main

@main.command("fail")
def fail():
    recipient = "+60" + "111"
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("service.part").exception("look_failed", phone=recipient)

main(["fail"])
"""


def written(*, json: bool) -> str:
    return said(PROGRAM.format(json=json))


def said(program: str) -> str:
    """What a program writes to stderr; stdout is for what a command answers."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def test_each_line_is_one_event_with_its_fields() -> None:
    lines: list[dict[str, Any]] = [orjson.loads(line) for line in written(json=True).splitlines()]
    assert [line["event"] for line in lines] == [
        "message_sent",
        "late",
        "round_failed",
        "library speaks",
        "connection lost",
    ]
    sent, late, failed, library, lost = lines
    assert (sent["level"], sent["message_id"]) == ("info", 7)
    assert "request_id" not in sent
    assert (late["level"], late["seconds"], late["request_id"]) == ("warning", 1.5, "r1")
    assert "RuntimeError: broken" in failed["exception"]
    assert (library["level"], lost["level"]) == ("warning", "error")
    assert datetime.now(UTC) - datetime.fromisoformat(sent["timestamp"]) < timedelta(minutes=1)


def test_neither_persons_nor_secrets_are_written() -> None:
    for text in (written(json=True), written(json=False)):
        for private in ("+60111", "hello", "t0k", "k3y"):
            assert private not in text
        assert "message_sent" in text


def test_commands_write_as_processes_do_to_stderr_and_no_local_variable() -> None:
    text = said(COMMAND)
    assert "look_failed" in text
    assert "RuntimeError: broken" in text
    assert "+60111" not in text
