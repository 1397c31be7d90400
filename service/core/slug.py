"""Slugs: names as they stand in addresses."""

from __future__ import annotations

import re
import unicodedata

LONGEST_CHARS = 100
SHAPE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def slug_of(name: str) -> str:
    """A slug made from a name; a name without a Latin letter or digit becomes `template`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_CHARS].strip("-")
    return slug or "template"


def numbered(slug: str, number: int) -> str:
    """The slug for the second, third, … of the same name."""
    end = f"-{number}"
    return slug[: LONGEST_CHARS - len(end)].rstrip("-") + end
