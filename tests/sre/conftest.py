"""A real installation for a real Prometheus to look at."""

from __future__ import annotations

import pytest

from tests.acceptance.installation import installation
from tests.acceptance.processes import processes
from tests.sre.report import REPORT

__all__ = ["installation", "processes"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The verification report: what the tests that passed have shown."""
    for heading, lines in REPORT.items():
        terminalreporter.write_line(f"\n{heading}:\n")
        for line in lines:
            terminalreporter.write_line(line)
