"""Devices: bodies and resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson

from schemas.shapes import Row, Time
from service.core.times import rfc3339

DeviceState = Literal[
    "unlinked",
    "linking",
    "ready",
    "paused",
    "throttled",
    "disconnected",
    "logged_out",
    "incompatible",
    "error",
]
Rate = Annotated[float, msgspec.Meta(ge=0.001, le=10_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Pause = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Days = Annotated[int, msgspec.Meta(ge=1, le=365)]
#: an hour and minute of a day
Clock = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$", max_length=5)]
#: an IANA time zone
Timezone = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Za-z0-9_/+-]*(?!\n)$", max_length=64)]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class Limits(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How fast a device may be driven: null is no limit, what is not there stays as it is."""

    per_second: Rate | Unset | None = UNSET
    per_minute: Count | Unset | None = UNSET
    per_hour: Count | Unset | None = UNSET
    per_day: Count | Unset | None = UNSET
    #: least time between two messages to one recipient
    pair_seconds: Pause | Unset | None = UNSET
    new_recipients_per_day: Count | Unset | None = UNSET
    jitter_seconds: Pause | Unset | None = UNSET
    #: a new number reaches its limits after so long
    warm_up_days: Days | Unset | None = UNSET


class QuietHours(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """When nothing is sent, from `start` up to `end`, over midnight if need be."""

    start: Clock
    end: Clock
    timezone: Timezone = "Asia/Kuala_Lumpur"


class DeviceBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /devices; limits that are not given are safe ones for the driver."""

    name: str
    driver: str
    is_default: bool = False
    limits: Limits = msgspec.field(default_factory=Limits)
    quiet_hours: QuietHours | None = None
    settings: dict[str, Any] = {}


class DeviceChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of PUT and PATCH: what is not there stays as it is, one by one in limits and
    settings too; null empties a field."""

    name: str | Unset = UNSET
    is_default: bool | Unset = UNSET
    limits: Limits | Unset = UNSET
    quiet_hours: QuietHours | Unset | None = UNSET
    settings: dict[str, Any] | Unset = UNSET


class DeviceLimits(msgspec.Struct):
    """The limits of a device; null is no limit."""

    per_second: float | None
    per_minute: int | None
    per_hour: int | None
    per_day: int | None
    pair_seconds: float | None
    new_recipients_per_day: int | None
    jitter_seconds: float | None
    warm_up_days: int | None


class Device(msgspec.Struct):
    """A WhatsApp number that messages go out through; of its secrets only the names are told."""

    id: int
    name: str
    driver: str
    phone: str | None
    state: DeviceState
    is_default: bool
    limits: DeviceLimits
    quiet_hours: QuietHours | None
    settings: dict[str, Any]
    secrets: list[str]
    created_at: Time
    updated_at: Time


def device(row: Row) -> Device:
    """The device resource."""
    return Device(
        id=row["id"],
        name=row["name"],
        driver=row["driver"],
        phone=row["phone"],
        state=row["state"],
        is_default=row["is_default"],
        limits=DeviceLimits(*(row[name] for name in DeviceLimits.__struct_fields__)),
        quiet_hours=quiet_hours(row),
        settings=orjson.loads(row["settings"]),
        secrets=sorted(orjson.loads(row["secrets"])),
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
    )


def quiet_hours(row: Row) -> QuietHours | None:
    """The quiet hours of a device, if it has any."""
    if row["quiet_start"] is None:
        return None
    return QuietHours(
        start=f"{row['quiet_start']:%H:%M}",
        end=f"{row['quiet_end']:%H:%M}",
        timezone=row["quiet_timezone"],
    )


class LinkedDevice(msgspec.Struct):
    """A device that is linked to a phone by a code, or waits for that; `since` it is so."""

    id: int
    name: str
    phone: str | None
    state: DeviceState
    since: Time
    is_default: bool


class Connection(msgspec.Struct, omit_defaults=True):
    """How a driver's devices stand: those that are linked to phones are listed, the Cloud API has
    one status, `not_configured` without such a device."""

    driver: str
    devices: list[LinkedDevice] | Unset = UNSET
    state: DeviceState | Literal["not_configured"] | Unset = UNSET
    id: int | Unset = UNSET
    name: str | Unset = UNSET
    phone: str | Unset | None = UNSET
    #: what Meta says of the number's quality, as far as it has
    quality: str | Unset | None = UNSET
    #: to how many people the number may write first within a day, in Meta's words
    messaging_limit: str | Unset | None = UNSET
    since: Time | Unset = UNSET


class LoginCode(msgspec.Struct):
    """A code for the phone to scan: a PNG picture as a data URL; and the address of a page that
    shows the newest, for whoever has it, for ten minutes."""

    device: int
    qr: str
    expires_at: Time
    page: str


def linked_devices(driver: str, rows: Sequence[Row]) -> Connection:
    """The connection of a driver whose devices are linked by codes."""
    listed = [
        LinkedDevice(
            id=row["id"],
            name=row["name"],
            phone=row["phone"],
            state=row["state"],
            since=rfc3339(row["state_changed_at"]),
            is_default=row["is_default"],
        )
        for row in rows
    ]
    return Connection(driver, devices=listed)


def single_status(driver: str, row: Row | None) -> Connection:
    """The connection of a driver that is reached with a token."""
    if row is None:
        return Connection(driver, state="not_configured")
    standing = orjson.loads(row["standing"] or "{}")
    return Connection(
        driver,
        state=row["state"],
        id=row["id"],
        name=row["name"],
        phone=row["phone"],
        quality=standing.get("quality"),
        messaging_limit=standing.get("messaging_limit"),
        since=rfc3339(row["state_changed_at"]),
    )
