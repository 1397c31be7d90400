"""Linked devices and their phones, as a test scripts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.servers.fake_bridge.events import Events, now

Json = dict[str, Any]
#: What is left so until somebody asks for the device.
AT_REST = ("stopped", "logged_out", "conflict", "incompatible", "crashed")


@dataclass(slots=True)
class Way:
    """What happens to messages to a phone."""

    #: status and code of the first calls, which send nothing
    answers: list[tuple[int, str]] = field(default_factory=list)
    #: taken, and never spoken of
    silent: bool = False
    #: the connection is cut instead of an answer, once; before or after WhatsApp has it
    cut: str = ""
    #: of the page's outbox: the answer is `pending`
    pending: bool = False
    after_seconds: float = 0.0
    #: events that follow
    acks: tuple[int, ...] = (1, 2)
    #: how often each event is told
    told: int = 1
    reply: str = ""
    new_chat: bool = False
    #: without WhatsApp
    stranger: bool = False


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that reached a device, and whether WhatsApp has made a new message of it."""

    device: str
    id: str
    accepted: bool


@dataclass(slots=True)
class Device:
    """A linked device, or one that wants to be."""

    id: str
    state: str = "stopped"
    desired: str = "down"
    me: str | None = None
    reason: str | None = None
    since: str = ""
    epoch: int = 0
    code: str | None = None
    issued_at: str = ""
    #: by the phone on which it is to be typed
    pairing: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: by the id of WhatsApp's
    acks: dict[str, int] = field(default_factory=dict)
    restarts: int = 0

    def shown(self) -> Json:
        return {
            "id": self.id,
            "desired": self.desired,
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "me": self.me,
            "wa_web_version": "1" if self.state == "ready" else None,
            "last_ack_at": None,
            "restarts": self.restarts,
            "queued": 0,
            "memory_bytes": None if self.state in AT_REST else 1,
            "missing": None,
        }


class Phones:
    """Devices, their events, and what is under way to people."""

    def __init__(self) -> None:
        self.ways: dict[str, Way] = {}
        self.journal: list[Sending] = []
        self.events = Events()
        #: whether there is a bridge that hears of it at once
        self.heard = False
        self._devices: dict[str, Device] = {}
        self._outbox: list[tuple[Device, str, str]] = []
        self._codes = count(1)

    def link(self, device: str, me: str) -> None:
        """The device has its phone."""
        self._devices[device] = Device(device, "ready", "up", me, since=now())

    def devices(self) -> list[str]:
        """Those it knows."""
        return sorted(self._devices)

    def lose(self) -> None:
        """Its data folder is gone."""
        self._devices.clear()

    def code(self, device: str) -> str:
        """What the device shows."""
        code = self._devices[device].code
        assert code is not None
        return code

    def rotate(self, device: str) -> None:
        """WhatsApp replaces the code."""
        found = self._devices[device]
        found.code, found.issued_at = f"2@code-{device}-{next(self._codes)}", now()
        self.events.tell(device, "qr", code=found.code)

    async def scan(self, code: str, me: str) -> bool:
        """Hold a phone to the code; whether that linked a device."""
        for device in self._devices.values():
            if device.code == code:
                self.move(device.id, "ready", me=me)
                return True
        return False

    async def type(self, code: str, me: str) -> bool:
        """Type a code on a phone; whether that linked a device."""
        for device in self._devices.values():
            if device.pairing.get(me, ("",))[0] == code:
                self.move(device.id, "ready", me=me)
                return True
        return False

    def move(self, device: str, state: str, *, me: str | None = None, reason: str = "") -> None:
        """Put a device into a state, and tell of it; its phone is the same unless one is given."""
        found = self._devices[device]
        found.state, found.reason, found.since = state, reason or None, now()
        found.code = None
        found.pairing.clear()
        if me or state == "logged_out":
            found.me = me
        shown = found.shown()
        fields = {name: shown[name] for name in ("state", "reason", "me", "missing")}
        self.events.tell(device, "state", **fields)

    def unlink(self, phone: str) -> None:
        """The phone ends its links."""
        for device in self._linked(phone):
            self.move(device.id, "logged_out", reason="unlinked")

    def write(self, phone: str, sender: str, text: str) -> str:
        """A person writes to the phone; the id of the message."""
        wa_id = f"in.{next(self._codes)}"
        for device in self._linked(phone):
            self._tell_inbound(device, wa_id, sender, text)
        return wa_id

    def release(self, phone: str) -> None:
        """What is pending for this phone goes out by itself."""
        self.ways[phone].pending = False
        waiting, self._outbox = self._outbox, []
        for device, wa_id, to in waiting:
            self.hand(device, wa_id, to)

    def bring_up(self, device: Device) -> None:
        """Its browser has started."""
        if device.me:
            self.move(device.id, "ready")
        else:
            self.move(device.id, "qr")
            self.rotate(device.id)

    def hand(self, device: Device, wa_id: str, to: str) -> None:
        """The page has a new message, which goes out at once where it can."""
        way = self.ways.get(to, Way())
        if way.pending:
            device.acks[wa_id] = 0
            self._outbox.append((device, wa_id, to))
        else:
            self._go_out(device, wa_id, way, to)

    def _go_out(self, device: Device, wa_id: str, way: Way, phone: str) -> None:
        device.acks[wa_id] = 0 if way.silent else 1
        for ack in way.acks:
            device.acks[wa_id] = ack
            for _ in range(way.told):
                self.events.tell(device.id, "ack", wa_id=wa_id, ack=ack)
        if way.reply:
            self._tell_inbound(device, f"in.{wa_id}", phone, way.reply)

    def _tell_inbound(self, device: Device, wa_id: str, phone: str, text: str) -> None:
        said: Json = {"from": f"{phone[1:]}@c.us", "phone": phone, "text": text, "wa_id": wa_id}
        said |= {"kind": "chat", "t": now(), "swept": not self.heard}
        self.events.tell(device.id, "inbound", **said)

    def _linked(self, phone: str) -> list[Device]:
        return [device for device in self._devices.values() if device.me == phone]
