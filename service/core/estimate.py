"""When a device can be through with so many messages, as far as its limits tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

QUIET_TIMEZONE = "Asia/Kuala_Lumpur"
_DAY = timedelta(days=1)
#: Whoever is allowed less is told this.
_LONGEST = timedelta(days=100 * 365)


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What limits a device in the long run; None is no limit."""

    per_second: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    new_recipients_per_day: int | None = None
    jitter_seconds: float | None = None
    quiet_start: time | None = None
    quiet_end: time | None = None
    quiet_timezone: str | None = None


def finish(start: datetime, messages: int, limits: DeviceLimits) -> datetime:
    """When the last of these is sent, if it is the only work and every limit is used to the full.

    Recipients are taken for new ones. No call is made in quiet hours.
    """
    gaps = max(messages - 1, 0)
    sending_seconds = max(
        gaps / limits.per_second if limits.per_second else 0.0,
        _windows(gaps, limits.per_minute, 60),
        gaps * (limits.jitter_seconds or 0.0) / 2,
    )
    # Windows this long pass in quiet hours too.
    passing_seconds = max(
        _windows(gaps, limits.per_hour, 3600),
        _windows(gaps, limits.per_day, 86_400),
        _windows(gaps, limits.new_recipients_per_day, 86_400),
    )
    sending, passing = (
        timedelta(seconds=min(each, _LONGEST.total_seconds()))
        for each in (sending_seconds, passing_seconds)
    )
    through = _without_quiet(start, sending, limits)
    return max(through, _without_quiet(start + passing, timedelta(), limits))


def _windows(gaps: int, calls: int | None, seconds: int) -> float:
    """How long after the first call one more fits in, when so many are allowed in each window."""
    return float(gaps // calls * seconds) if calls else 0.0


def _without_quiet(start: datetime, needed: timedelta, limits: DeviceLimits) -> datetime:
    """When so much time outside quiet hours has passed."""
    quiet_start, quiet_end = limits.quiet_start, limits.quiet_end
    if quiet_start is None or quiet_end is None or quiet_start == quiet_end:
        return start + needed
    zone = ZoneInfo(limits.quiet_timezone or QUIET_TIMEZONE)
    now = start.astimezone(zone)
    open_each_day = (_at(now, quiet_start) - _at(now, quiet_end)) % _DAY
    # Whole days first, so that a long wait is not counted off in steps.
    needed = min(needed, _LONGEST // _DAY * open_each_day)
    days = needed // open_each_day
    now += days * _DAY
    needed -= days * open_each_day
    while True:
        quiet_since = _at(now, quiet_start) - (_DAY if _at(now, quiet_start) > now else 0 * _DAY)
        quiet_until = quiet_since + (_at(now, quiet_end) - _at(now, quiet_start)) % _DAY
        now = max(now, quiet_until)
        left = quiet_since + _DAY - now
        if needed <= left:
            return (now + needed).astimezone(UTC)
        needed -= left
        now += left


def _at(day: datetime, clock: time) -> datetime:
    return datetime.combine(day, clock, day.tzinfo)
