"""Every row of the kept table has its tests, and no test names a row that is not kept."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.integration.api.rows import COVERED, LATER

TESTS = Path(__file__).parents[2]


def named_rows() -> dict[str, list[str]]:
    """The tests that name each row, read from their source: it does not matter what is run."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(TESTS)}::{node.name}"
                for row in rows_of(node):
                    assert node.name.startswith("test_"), f"{where} is no test"
                    found[row].append(where)
    return found


def rows_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    rows = []
    for decorator in function.decorator_list:
        if not isinstance(decorator, ast.Call):
            continue
        if ast.unparse(decorator.func) == "pytest.mark.row":
            for argument in decorator.args:
                row = ast.literal_eval(argument)
                assert isinstance(row, str), function.name
                rows.append(row)
    return rows


def test_every_row_of_the_table_has_a_test() -> None:
    assert sorted(COVERED.keys() - named_rows().keys()) == []


def test_no_test_names_a_row_that_is_not_in_the_table() -> None:
    foreign = {row: tests for row, tests in named_rows().items() if row not in COVERED}
    assert foreign == {}


def test_a_row_is_covered_or_comes_later() -> None:
    assert sorted(COVERED.keys() & LATER.keys()) == []
