"""What `hantar doctor` finds: each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` is a thing to do now, empty when all is well."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """It works, and will not for ever."""
    return Finding(check, "warning", detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """Something does not work."""
    return Finding(check, "failed", detail, advice)


def some(names: list[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
