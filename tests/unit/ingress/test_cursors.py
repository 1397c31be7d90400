"""A cursor opens the list it was made for, and nothing else opens anything."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import MultiDict

from schemas.problems import Problem
from service.ingress.pages import Cursors, Listed

CURSORS = Cursors(b"secret")
MESSAGES = Listed(1, "/api/v1/messages", (("status", "failed"),))

ids = st.integers(1, 2**63 - 1)
lists = st.builds(
    Listed,
    st.integers(1, 3),
    st.sampled_from(["/api/v1/messages", "/api/v1/contacts", "/api/v1/contact-groups/1/contacts"]),
    st.lists(st.tuples(st.sampled_from(["status", "search"]), st.text(max_size=4)), max_size=2).map(
        lambda filters: tuple(sorted(filters))
    ),
)


def is_refused(cursor: str, listed: Listed = MESSAGES) -> bool:
    try:
        CURSORS.read(listed, cursor)
    except Problem as problem:
        return (problem.status, list(problem.errors or ())) == (422, ["cursor"])
    return False


@given(lists, ids)
def test_it_leads_on_where_it_was_made(listed: Listed, last_id: int) -> None:
    assert CURSORS.read(listed, CURSORS.make(listed, last_id)) == last_id


@given(lists, lists, ids)
@example(MESSAGES, Listed(1, "/api/v1/messages", (("status", "sent"),)), 7)
@example(MESSAGES, Listed(1, "/api/v1/messages?status=failed"), 7)
def test_it_opens_no_other_list(made_for: Listed, other: Listed, last_id: int) -> None:
    assert is_refused(CURSORS.make(made_for, last_id), other) == (made_for != other)


@given(ids, st.integers(0, 26), st.integers(1, 63))
def test_one_changed_character_spoils_it(last_id: int, place: int, step: int) -> None:
    cursor = CURSORS.make(MESSAGES, last_id)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[(alphabet.index(cursor[place]) + step) % 64]
    assert is_refused(cursor[:place] + other + cursor[place + 1 :])


@given(ids, st.integers(1, 26))
def test_a_part_of_it_is_none(last_id: int, length: int) -> None:
    cursor = CURSORS.make(MESSAGES, last_id)
    assert is_refused(cursor[:length])
    assert is_refused(cursor[length:])
    assert is_refused(cursor + cursor[:length])


@given(
    st.text(max_size=40)
    | st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_no_other_text_is_one(text: str) -> None:
    assert is_refused(text)


@given(ids)
def test_another_installation_makes_others(last_id: int) -> None:
    assert is_refused(Cursors(b"another").make(MESSAGES, last_id))


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ([("status", "failed")], True),
        ([("per_page", "3"), ("cursor", "x"), ("status", "failed")], True),
        ([], False),
        ([("status", "failed"), ("phone", "0123456789")], False),
        ([("status", "\udc80")], False),
    ],
)
def test_a_list_is_what_it_is_narrowed_to(query: list[tuple[str, str]], *, same: bool) -> None:
    asked = Listed.asked(1, "/api/v1/messages", MultiDict(query))
    assert is_refused(CURSORS.make(MESSAGES, 7), asked) == (not same)
