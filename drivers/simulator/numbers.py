"""The simulator's script: what each magic number does, every other one being delivered."""

from __future__ import annotations

from dataclasses import dataclass

from service.core.lifecycle import Status

#: The numbers a test can rely on begin so; README.md has the table.
PREFIX = "+6011555000"


@dataclass(frozen=True, slots=True)
class Step:
    """A callback owed, so many seconds after the call."""

    after_seconds: float
    status: Status
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the person writes back, so many seconds after the call."""

    after_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """What happens to a message to one number."""

    steps: tuple[Step | Reply, ...] = ()
    #: refused for good, with this code
    fails: str | None = None
    #: handed over, and the caller gets no answer
    silent: bool = False
    #: seconds before the answer
    slow_seconds: float = 0.0
    #: how many first calls are throttled (the device), and how many then meet a passing error
    throttled: int = 0
    errors: int = 0


_SENT = Step(0.05, Status.SENT)
_DELIVERED = Step(0.4, Status.DELIVERED)
DELIVERED = Script(steps=(_SENT, _DELIVERED))

MAGIC: dict[str, Script] = {
    f"{PREFIX}01": Script(fails="not_on_whatsapp"),
    f"{PREFIX}02": Script(silent=True),
    f"{PREFIX}03": Script(steps=(_SENT, _DELIVERED, Step(0.8, Status.READ))),
    f"{PREFIX}04": Script(
        steps=(
            Step(0.1, Status.READ),
            Step(0.2, Status.SENT),
            Step(0.3, Status.DELIVERED),
            Step(0.4, Status.DELIVERED),
            Step(0.5, Status.SENT),
            Step(0.6, Status.READ),
        )
    ),
    f"{PREFIX}05": Script(steps=(_SENT, _DELIVERED), throttled=2),
    f"{PREFIX}06": Script(steps=(_SENT, _DELIVERED), errors=2),
    f"{PREFIX}07": Script(
        steps=(Step(10.05, Status.SENT), Step(10.4, Status.DELIVERED)), slow_seconds=10.0
    ),
    f"{PREFIX}08": Script(steps=(_SENT, _DELIVERED, Reply(0.6, "STOP"))),
    f"{PREFIX}09": Script(
        steps=(
            _SENT,
            Step(0.4, Status.FAILED, "undeliverable", "the network gave up on the message"),
        )
    ),
}


def script_for(phone: str) -> Script:
    """What happens to a message to this number."""
    return MAGIC.get(phone, DELIVERED)
