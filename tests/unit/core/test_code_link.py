"""Links to the page of a device's code."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.core.code_link import GOOD_SECONDS, PATH, code_link, good_until

SECRET = b"the installation's own"
BEGIN = "https://hantar.example.com"


def token(device_id: int, now: float) -> str:
    link = code_link(BEGIN, SECRET, device_id, now)
    begin, _, made = link.rpartition("/")
    assert begin == f"{BEGIN}{PATH}{device_id}"
    return made


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**40))
def test_a_link_says_until_when_it_is_good(device_id: int, now: int) -> None:
    assert good_until(SECRET, device_id, token(device_id, now)) == now + GOOD_SECONDS


def test_it_is_for_one_device_of_one_installation() -> None:
    assert good_until(SECRET, 8, token(7, 0)) is None
    assert good_until(b"another", 7, token(7, 0)) is None


@given(st.text() | st.text("ABCabc019-_=", max_size=40))
def test_no_other_text_is_one(text: str) -> None:
    assert good_until(SECRET, 7, text) is None


@given(st.integers(0, 31), st.sampled_from("AZaz09-_"))
def test_nothing_of_it_can_be_changed(place: int, letter: str) -> None:
    made = token(7, 1_764_000_000)
    altered = made[:place] + letter + made[place + 1 :]
    assert good_until(SECRET, 7, altered) in ({None} if altered != made else {1_764_000_600})
