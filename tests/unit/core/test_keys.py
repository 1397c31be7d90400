from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.keys import key_hash, new_key, well_formed

UNSIGNED = "hantar_live_0123456789ABCDEFGHIJKLMNOPQRSTUV"
CHARS = string.digits + string.ascii_letters + "_- "


def test_a_new_key_is_well_formed() -> None:
    key = new_key()
    assert well_formed(key)
    assert key.startswith("hantar_live_")
    assert len(key) == len("hantar_live_") + 32 + 6
    assert key.removeprefix("hantar_live_").isalnum()
    assert key.isascii()


def test_keys_handed_out_by_an_earlier_version_stay_good() -> None:
    assert well_formed(UNSIGNED + "0ttUzG")


def test_keys_do_not_repeat() -> None:
    assert len({new_key() for _ in range(1000)}) == 1000


def test_any_one_character_changed_is_noticed() -> None:
    key = new_key()
    for place, right in enumerate(key):
        for wrong in CHARS.replace(right, ""):
            assert not well_formed(key[:place] + wrong + key[place + 1 :])


def test_neighbours_swapped_are_noticed() -> None:
    key = new_key()
    for place in range(len(key) - 1):
        left, right = key[place], key[place + 1]
        if left != right:
            assert not well_formed(key[:place] + right + left + key[place + 2 :])


@pytest.mark.parametrize(
    "altered",
    [
        pytest.param("", id="nothing"),
        pytest.param(UNSIGNED, id="5.2-31 no checksum"),
        pytest.param(UNSIGNED + "000000", id="5.2-31 wrong checksum"),
        pytest.param(UNSIGNED.replace("live", "test") + "000000", id="another prefix"),
        pytest.param("hantar_live_", id="only the prefix"),
        pytest.param("k" * 1_000_000, id="5.2-31 a megabyte"),
        pytest.param("hantar_live_" + "é" * 38, id="5.2-31 not ASCII"),
        pytest.param("hantar_live_" + "٣" * 38, id="5.2-31 digits of another script"),
        pytest.param("\udcff" * 50, id="5.2-31 bytes that were no text"),
    ],
)
def test_what_cannot_be_a_key(altered: str) -> None:
    assert not well_formed(altered)


def test_nothing_may_stand_around_a_key() -> None:
    key = new_key()
    for altered in (f" {key}", f"{key} ", f"{key}\n", f"{key}0", key[:-1], key[1:], key.upper()):
        assert not well_formed(altered)


@given(st.text(st.characters(exclude_categories=[])))
def test_no_text_upsets_the_check_or_the_hash(text: str) -> None:
    assert not well_formed(text)
    assert len(key_hash(text)) == 32


def test_the_hash_is_plain_sha256() -> None:
    key = new_key()
    assert key_hash(key) == hashlib.sha256(key.encode("ascii")).digest()
