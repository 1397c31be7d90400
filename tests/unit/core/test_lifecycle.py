from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.lifecycle import RANK, Change, Status, fold

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

#: What drivers, callbacks and sweeps report of an attempt.
REPORTED = (
    Status.QUEUED,
    Status.UNCONFIRMED,
    Status.SENT,
    Status.FAILED,
    Status.DELIVERED,
    Status.READ,
)


def change(status: Status, attempt: int = 1, message_id: int = 1, second: int = 0) -> Change:
    """The same arguments make the same fact, as a repeated callback does."""
    at = NOON + timedelta(seconds=second or attempt * 20 + RANK[status])
    return Change(
        message_id,
        attempt,
        status,
        at,
        provider_id=f"p{attempt}" if RANK[status] >= RANK[Status.SENT] else None,
        error_code=f"e{attempt}" if status in (Status.FAILED, Status.QUEUED) else None,
        counted=1 if status in (Status.QUEUED, Status.UNCONFIRMED) else 0,
    )


changes = st.builds(
    change, st.sampled_from(REPORTED), attempt=st.integers(1, 3), message_id=st.integers(1, 3)
)


def winner(*changes: Change) -> Status:
    [folded] = fold(changes)
    return folded.status


@given(facts=st.lists(changes, max_size=12), seed=st.integers(0, 10))
def test_neither_order_nor_repeats_matter(facts: list[Change], seed: int) -> None:
    chance = random.Random(seed)
    repeated = facts * chance.randint(2, 4)
    chance.shuffle(repeated)
    assert fold(repeated) == fold(facts * 2)


@given(st.lists(changes))
def test_one_change_per_message_by_ascending_id(facts: list[Change]) -> None:
    assert [each.message_id for each in fold(facts)] == sorted({each.message_id for each in facts})


def test_a_single_change_stays_what_it_is() -> None:
    only = change(Status.SENT)
    assert fold([only]) == [only]


def test_from_sent_on_the_rank_alone_decides() -> None:
    climb = [Status.SENT, Status.FAILED, Status.DELIVERED, Status.READ]
    for end in range(2, len(climb) + 1):
        assert winner(*map(change, climb[:end])) is climb[end - 1]
    assert winner(change(Status.DELIVERED, 1), change(Status.SENT, 2)) is Status.DELIVERED
    assert winner(change(Status.READ, 1), change(Status.FAILED, 2)) is Status.READ


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (older, newer)
        for older in (Status.QUEUED, Status.UNCONFIRMED, Status.FAILED)
        for newer in (Status.QUEUED, Status.UNCONFIRMED, Status.FAILED)
    ],
)
def test_below_sent_a_later_attempt_wins(older: Status, newer: Status) -> None:
    assert winner(change(older, 1), change(newer, 2)) is newer


def test_a_failure_of_an_attempt_that_is_over_does_not_undo_a_later_sent() -> None:
    assert winner(change(Status.FAILED, 1), change(Status.SENT, 2)) is Status.SENT
    assert (
        winner(change(Status.SENT, 1), change(Status.FAILED, 1), change(Status.QUEUED, 2))
        is Status.SENT
    )


def test_what_was_certainly_not_accepted_goes_back_in_spite_of_a_doubt() -> None:
    assert winner(change(Status.UNCONFIRMED), change(Status.QUEUED)) is Status.QUEUED
    assert winner(change(Status.FAILED), change(Status.QUEUED)) is Status.FAILED


@pytest.mark.parametrize("mark", [Status.EXPIRED, Status.SKIPPED, Status.CANCELLED])
@pytest.mark.parametrize("word", REPORTED)
def test_any_word_about_an_attempt_outweighs_the_mark_of_one_that_waits(
    mark: Status, word: Status
) -> None:
    assert winner(change(mark, 0), change(word, 1)) is word


def test_what_the_winner_leaves_out_is_kept() -> None:
    [folded] = fold(
        [
            change(Status.SENT, second=5),
            change(Status.READ, second=7),
            change(Status.SENT, second=4),
            change(Status.DELIVERED, second=6),
        ]
    )
    assert folded.status is Status.READ
    assert [folded.sent_at, folded.delivered_at, folded.read_at] == [
        NOON + timedelta(seconds=second) for second in (4, 6, 7)
    ]


def test_a_provider_id_that_only_a_weaker_change_knows_is_kept() -> None:
    known = change(Status.SENT)
    unnamed = Change(1, 1, Status.FAILED, NOON, error_code="undeliverable")
    [folded] = fold([unnamed, known])
    assert (folded.status, folded.provider_id) == (Status.FAILED, "p1")
    assert folded.error_code == "undeliverable"


def test_each_attempt_counts_once() -> None:
    facts = [change(Status.QUEUED, 1), change(Status.QUEUED, 1), change(Status.UNCONFIRMED, 2)]
    assert fold(facts)[0].counted == 2
