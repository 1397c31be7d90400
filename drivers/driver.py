"""The seam to WhatsApp: what a driver is given, what it answers, and what it reports later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from service.core.lifecycle import Status
from service.core.traceparent import trace_id


class Scope(StrEnum):
    """What a provider's answer is about, and so what has to wait."""

    MESSAGE = "message"
    RECIPIENT = "recipient"
    DEVICE = "device"
    TEMPLATE = "template"
    #: the devices that speak under one credential
    CREDENTIAL = "credential"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Send:
    """One message to hand over; `attempt` comes back with every callback about it."""

    message_id: int
    attempt: int
    device_id: int
    epoch: int
    phone: str
    body: str
    options: Mapping[str, Any] | None = None
    #: the trace that it was accepted in, for providers that pass it on and for log lines
    traceparent: str | None = None

    @property
    def trace_id(self) -> str | None:
        """What log lines about it hold."""
        return None if self.traceparent is None else trace_id(self.traceparent)


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted it."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Certainly not accepted; may succeed after `after_seconds` (None: the engine's back-off)."""

    code: str
    after_seconds: float | None = None
    scope: Scope = Scope.MESSAGE
    #: throttling never uses up an attempt
    counts: bool = True
    #: the provider wants fewer calls of this device: its rate is cut, and grows back by itself
    slows: bool = False
    #: nothing in the scope, which has devices, is tried again until somebody resumes them
    pauses: bool = False
    #: a sentence for who asks why
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Refused for good; one of a template stops the campaign that sends it."""

    code: str
    detail: str
    scope: Scope = Scope.MESSAGE
    #: for so long the driver can tell without a call that this recipient is refused
    known_seconds: float | None = None
    #: that is so for marketing alone, of which the message's template was some
    marketing: bool = False


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """It may have been accepted: only a callback can tell."""

    code: str


Outcome = Sent | Retry | Failed | Unconfirmed


class Action(StrEnum):
    """What becomes of a message that its provider did not take, and of those like it."""

    #: the message is tried again by itself
    RETRY = "retry"
    #: everything in the rule's scope waits, then goes on
    HOLD = "hold"
    #: every device in the rule's scope waits until a person resumes it
    PAUSE = "pause"
    #: refused for good
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a provider's code means, a line of a driver's table; `sentence` is for who asks why."""

    name: str
    scope: Scope
    action: Action
    sentence: str
    #: None: the engine's own back-off; of a recipient refused for good, how long that is known
    after_seconds: float | None = None
    #: whether the try counts towards the bound on attempts
    counts: bool = False
    #: whether the device's rate is cut
    slows: bool = False
    #: whether the recipient is refused marketing alone
    marketing: bool = False

    @property
    def known_seconds(self) -> float | None:
        """How long a recipient is known to be refused, if at all."""
        lasts = self.action is Action.FAIL and self.scope is Scope.RECIPIENT
        return self.after_seconds if lasts else None

    def outcome(self, note: str = "") -> Retry | Failed:
        """The decision on a message that met it; the note goes behind the sentence."""
        if self.action is Action.FAIL:
            sentence = f"{self.sentence}{note}"
            return Failed(self.name, sentence, self.scope, self.known_seconds, self.marketing)
        return Retry(
            self.name,
            self.after_seconds,
            self.scope,
            self.counts,
            slows=self.slows,
            pauses=self.action is Action.PAUSE,
            detail=f"{self.sentence}{note}",
        )


class Report(Protocol):
    """What a driver tells about a batch while it works on it."""

    def begin(self, send: Send) -> bool:
        """Called right before the request is written, with no await between the two.

        False: the right to send has lapsed or its slot is not free; leave this message out.
        """
        ...

    def made(self, sends: Sequence[Send]) -> None:
        """Called right after the requests begun last are written, with no await in between.

        The calls that follow keep their distance from here, as the process may have stood still
        since `begin`. What is answered without a request is not made.
        """
        ...

    def done(self, send: Send, outcome: Outcome) -> None:
        """Called once for each message that was begun, as soon as its outcome is known."""
        ...


@dataclass(frozen=True, slots=True)
class Holds:
    """What else waits because of a callback, for so many seconds; None: until it is resumed.

    What waits for a template without an end is the campaign that sends it. A recipient that is
    `refused` does not wait: for so long the driver can tell so without a call.
    """

    scope: Scope
    seconds: float | None
    refused: bool = False
    #: refused marketing alone
    marketing: bool = False


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's later word on a message; may repeat, arrive late or out of order.

    `queued` takes an `Unconfirmed` back: nothing came of the call, and it may be made again.
    """

    message_id: int
    attempt: int
    status: Status
    at: datetime
    provider_id: str | None = None
    error_code: str | None = None
    error_detail: str | None = None
    holds: Holds | None = None


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that a person sent to a device; the same `provider_id` is the same message."""

    device_id: int
    phone: str
    #: empty where it has no words
    text: str
    provider_id: str
    at: datetime
    #: `text`, or what it is instead, as the provider names it
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the provider thinks of a device, in its own words; None is not said."""

    device_id: int
    at: datetime
    quality: str | None = None
    #: to how many people it may write first within a day
    messaging_limit: str | None = None
    #: the same as a number, which is kept; None beside a limit is as many as it likes
    recipients_per_day: int | None = None
    phone: str | None = None
    #: whether it is all that there is to say
    complete: bool = False


@dataclass(frozen=True, slots=True)
class TemplateStanding:
    """What the provider says of a template of its own, as a device heard it."""

    device_id: int
    name: str
    language: str
    status: str
    at: datetime
    reason: str | None = None
    #: whether what waits for it may go on
    sendable: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """What a provider said that nothing here reads, in its own form, as a device heard it."""

    device_id: int
    #: lower-case letters, digits and _
    kind: str
    body: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """How a device that is linked by a code stands with its phone; the newest word counts."""

    device_id: int
    #: one of `unlinked`, `linking`, `ready`, `disconnected`, `logged_out`, `incompatible`, `error`
    state: str
    at: datetime = field(compare=False)
    phone: str | None = None
    reason: str | None = None


#: What a driver is called back with.
Called = Callback | Inbound | Standing | TemplateStanding | Unread | Link


async def _no_settings(_: int) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Host:
    """What a driver is given at start."""

    #: returns when what was called back can no longer be lost
    call_back: Callable[[Sequence[Called]], Awaitable[None]]
    #: an asyncpg pool, for drivers that keep a memory of their own
    pool: Any
    settings: Mapping[str, str] = field(default_factory=dict)
    #: what the provider knows a device by, secrets included; nothing of one that is gone
    device: Callable[[int], Awaitable[Mapping[str, str]]] = _no_settings
    #: the installation's own, to tell what was made here from what was not
    secret: bytes = b""


#: Devices by their ids, each with what its provider knows it by, secrets included.
KnownDevices = Mapping[int, Mapping[str, str]]


class NotGenuine(Exception):
    """What was called back does not come from the provider, or is nothing a provider says."""


class Receiver(Protocol):
    """The door of a driver whose provider calls back over HTTP; it knows no HTTP itself."""

    def challenge(self, query: Mapping[str, str], devices: KnownDevices) -> str:
        """What to answer a provider that asks whether this address is ours; raises NotGenuine."""
        ...

    def receive(
        self, body: bytes, headers: Mapping[str, str], devices: KnownDevices
    ) -> Sequence[Called]:
        """What the provider says of these devices and their messages; raises NotGenuine."""
        ...


class Driver(Protocol):
    """One way to reach WhatsApp. A new one is a folder and a line in registry.py."""

    #: whether sending the same message id again is still one message
    repeats: bool
    #: the most messages one `send` takes
    batch_limit: int
    #: the most messages of a device it is given at once: what it can begin without a wait, in
    #: which the right to send them would lapse
    in_flight_limit: int

    async def start(self, host: Host) -> None:
        """Ready to send when it returns."""
        ...

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Call the provider for each message of one device; returns when all are reported."""
        ...

    async def close(self) -> None:
        """Release everything within five seconds; what a send in flight has begun is reported."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is to know of a driver's devices while no driver runs."""

    #: what their settings are decoded into, every field optional; null takes a setting away
    settings: type[msgspec.Struct]
    #: of the settings, those that are sealed and never shown
    secrets: frozenset[str] = frozenset()
    #: of these, the one that devices share which speak under one credential
    credential: str | None = None
    #: limits of a device that asks for none, by their names in the API
    limits: Mapping[str, float] = field(default_factory=dict)
    #: the settings without which a device cannot send; None: a phone has to be linked by a code
    needs: frozenset[str] | None = None
    #: what its provider may refuse a message with, as far as that is known
    rules: Collection[Rule] = ()
    #: the state of a new device that is linked by a code
    begins: str = "unlinked"

    @property
    def by_code(self) -> bool:
        """Whether its devices are linked by a code."""
        return self.needs is None

    def state(self, given: Iterable[str]) -> str:
        """The state of a device that has these settings, as far as they decide it."""
        if self.needs is None:
            return self.begins
        return "ready" if self.needs <= set(given) else "unlinked"
