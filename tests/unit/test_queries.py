from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from service.store.queries import load

STORE = Path(__file__).parents[2] / "service" / "store"
SUBJECTS = sorted(path.stem for path in (STORE / "sql").glob("*.sql"))


def used() -> dict[str, set[str]]:
    """The names of the queries that the modules of the store ask for, by subject."""
    names: dict[str, set[str]] = defaultdict(set)
    for path in STORE.glob("*.py"):
        text = path.read_text("utf-8")
        for variable, subject in re.findall(r"^(\w+) = load\(\"(\w+)\"\)", text, re.MULTILINE):
            names[subject] |= set(re.findall(rf"\b{variable}\[\"(\w+)\"\]", text))
        for subject, name in re.findall(r"load\(\"(\w+)\"\)\[\"(\w+)\"\]", text):
            names[subject].add(name)
    return names


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_query_asked_for_is_there_and_none_lies_unused(subject: str) -> None:
    assert set(load(subject)) == used()[subject]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_query_is_one_statement_below_its_comment(subject: str) -> None:
    for name, text in load(subject).items():
        statement = re.sub(r"--.*", "", text)
        assert text.startswith("-- "), name
        assert statement.strip(), name
        assert ";" not in statement, name


def test_no_name_stands_twice_in_a_file() -> None:
    for subject in SUBJECTS:
        text = (STORE / "sql" / f"{subject}.sql").read_text("utf-8")
        assert len(re.findall(r"^-- name: ", text, re.MULTILINE)) == len(load(subject))


def test_a_statement_ends_where_the_next_name_begins() -> None:
    sweeps = load("sweeps")
    assert sweeps["stale_outbox"].endswith("body, correlation_id, traceparent")
    assert "delete_outbox" not in sweeps["stale_outbox"]
