from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.traceparent import new, read, trace_id

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        (GOOD, GOOD),
        (f"00-{ID}-{SPAN}-00", f"00-{ID}-{SPAN}-00"),
        # Of a version to come the known part counts.
        (f"01-{ID}-{SPAN}-01-what-is-to-come", GOOD),
        (f"cc-{ID}-{SPAN}-01", GOOD),
    ],
)
def test_what_was_given_is_passed_on(given: str, read_as: str) -> None:
    assert read(given) == read_as
    assert trace_id(read_as) == ID


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        b"00-1-2-01",
        "",
        GOOD[:-1],
        GOOD + "-more",
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        f"ff-{ID}-{SPAN}-01",
        f"01-{ID}-{SPAN}-01more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID[:-1]}g-{SPAN}-01",
        f"00-{ID}-{SPAN}-٠١",
    ],
)
def test_what_is_none_is_told_apart(given: object) -> None:
    assert read(given) is None


@given(st.text())
def test_whatever_is_read_can_be_read_again(text: str) -> None:
    found = read(text)
    assert found is None or read(found) == found


def test_a_new_one_is_sound_and_no_other() -> None:
    made = {new() for _ in range(100)}
    assert len(made) == 100
    assert all(read(each) == each for each in made)
