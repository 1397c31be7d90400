from __future__ import annotations

from drivers.driver import Failed, Outcome, Retry, Scope, Sent
from drivers.meta.errors import rule_of
from drivers.meta.streaks import MOST_IN_A_ROW, Streaks

HELLO, BYE = ("hello", "ms"), ("bye", "ms")


def scopes(
    streaks: Streaks, outcomes: list[Outcome], named: tuple[str, str] = HELLO
) -> list[Scope]:
    judged = [streaks.judge(1, named, outcome) for outcome in outcomes]
    return [each.scope for each in judged if isinstance(each, Failed)]


def refused() -> Outcome:
    return rule_of(132000).outcome()


def test_refusals_in_a_row_are_the_templates_fault() -> None:
    streaks = Streaks()
    row = [refused()] * MOST_IN_A_ROW
    judged = [Scope.MESSAGE] * (MOST_IN_A_ROW - 1) + [Scope.TEMPLATE]
    assert scopes(streaks, row) == judged
    assert scopes(streaks, row) == judged, "it may have been mended meanwhile"


def test_one_that_goes_through_ends_the_row() -> None:
    streaks = Streaks()
    row = [refused()] * (MOST_IN_A_ROW - 1)
    assert Scope.TEMPLATE not in scopes(streaks, [*row, Sent("wamid.1"), *row])


def test_what_is_not_about_the_values_neither_counts_nor_ends_the_row() -> None:
    streaks = Streaks()
    other: list[Outcome] = [Failed("undeliverable", "", Scope.RECIPIENT), Retry("throttled")]
    row = [refused()] * (MOST_IN_A_ROW - 1)
    assert scopes(streaks, [*row, *other, refused()])[-1] is Scope.TEMPLATE


def test_each_template_has_a_row_of_its_own() -> None:
    streaks = Streaks()
    row = [refused()] * (MOST_IN_A_ROW - 1)
    assert Scope.TEMPLATE not in scopes(streaks, row) + scopes(streaks, row, BYE)
