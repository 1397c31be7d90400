"""Nothing of what the tests wrote to people, and no key, may be in a log: looked for over a run.

Canaries are all phones, texts and addresses that any test left in its database. Logs are what the
tests' own process printed and what its children left: `hantar`, and the bridge.
"""

from __future__ import annotations

import re
from collections import defaultdict

import asyncpg
import pytest

#: Shorter texts are words that anybody may use, `hello` and the like.
TEXT_CHARS = 10
#: What needs no database to be known as a secret.
_SECRETS = re.compile(
    r"hantar_live_\w{32,}|whsec_[\w+/=]{16,}|Bearer [\w.~+/-]{16,}|\w://[^\s/:@]+:[^\s*@/]+@"
)
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"(?<![\w.-])\+?\d{8,15}(?![\w.-])")
_COLUMNS = """
    SELECT format('%I', c.table_name), format('%I', c.column_name), c.column_name::text
    FROM information_schema.columns c
    JOIN pg_class t ON t.oid = to_regclass(format('%I.%I', c.table_schema, c.table_name))
    WHERE c.table_schema = 'public' AND c.data_type = 'text' AND NOT t.relispartition
      AND t.relkind IN ('r', 'p') AND c.column_name IN ('phone', 'body', 'email')
"""


class Canaries:
    """What must not be found, and where it could be; digits of texts do not matter."""

    def __init__(self) -> None:
        self.phones: set[str] = set()
        self.texts: set[str] = set()
        self._numbers: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        self._secrets: dict[str, str] = {}

    async def release(self, connection: asyncpg.Connection) -> None:
        """Everything a database holds about people is a canary."""
        for table, column, kind in await connection.fetch(_COLUMNS):
            shape = column if kind == "phone" else f"regexp_replace({column}, '[0-9]', '0', 'g')"
            rows = await connection.fetch(f"SELECT DISTINCT {shape} AS value FROM {table}")
            values = {row["value"] for row in rows if row["value"]}
            if kind == "phone":
                self.phones |= {phone.removeprefix("+") for phone in values}
            else:
                self.texts |= {text for text in values if len(text) >= TEXT_CHARS}

    def read(self, log: str, place: str) -> None:
        """Keep what a log says, each kind of line once."""
        for line in log.splitlines():
            for number in _NUMBER.findall(line):
                self._numbers.setdefault(number.removeprefix("+"), f"{place}: {line}")
            self._lines.setdefault(_DIGIT.sub("0", line), f"{place}: {line}")
            if found := _SECRETS.search(line):
                self._secrets.setdefault(found[0], f"{place}: {line}")

    def found(self) -> list[str]:
        """What was logged of them, with its place."""
        leaks: dict[str, list[str]] = defaultdict(list)
        for phone in self.phones & self._numbers.keys():
            leaks[self._numbers[phone]].append(f"the phone {phone}")
        for secret, where in self._secrets.items():
            leaks[where].append(f"the secret {secret}")
        everything = "\n".join(self._lines)
        for text in self.texts:
            if text in everything:
                where = next((at for line, at in self._lines.items() if text in line), "many lines")
                leaks[where].append(f"the text {text!r}")
        return [f"{', '.join(what)} in {where}" for where, what in leaks.items()]

    def __str__(self) -> str:
        return (
            f"looked for {len(self.phones)} phones and {len(self.texts)} texts of the tests in "
            f"{len(self._lines)} kinds of log lines"
        )


CANARIES = Canaries()


class Plugin:
    """Reads what each test logged; a canary in it fails the run."""

    def __init__(self) -> None:
        self._leaks: set[str] = set()
        self._said: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, text in report.sections:
            if name.startswith("Captured"):
                CANARIES.read(text, f"{report.nodeid} ({report.when})")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["leaks"], output["canaries"] = CANARIES.found(), str(CANARIES)
            return
        # With workers it is they who know the phones and texts.
        self._leaks |= set(CANARIES.found())
        if CANARIES.texts:
            self._said.append(str(CANARIES))
        if self._leaks:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        output = getattr(node, "workeroutput", {})
        self._leaks |= set(output.get("leaks", ()))
        self._said += filter(None, [output.get("canaries")])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._said:
            terminalreporter.write_line(f"canaries: {line}")
        for leak in sorted(self._leaks):
            terminalreporter.write_line(f"LOGGED: {leak}", red=True)
