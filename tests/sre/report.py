"""What was verified, as `make sre` prints it at its end."""

from __future__ import annotations

#: Lines of Markdown by their heading; tests add theirs as they pass.
REPORT: dict[str, list[str]] = {}


def verified(heading: str, *lines: str) -> None:
    """Something that a test has just shown."""
    REPORT.setdefault(heading, []).extend(lines)
