from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.text import DEPTH_LIMIT, attributes_error, body_error, json_error, name_error

FAMILY = "👨\u200d👩\u200d👧\u200d👦"

SENDABLE = [
    pytest.param("Salam Ali, pesanan anda sudah siap.", id="5.4-62 ordinary"),
    pytest.param("x", id="5.4-62 one character"),
    pytest.param("x" * 4096, id="5.4-62 4096 characters"),
    pytest.param("😀" * 4096, id="5.4-62 4096 emoji"),
    pytest.param(FAMILY * 585, id="5.4-62 585 families are 4095 code points"),
    pytest.param("e\u0301" * 2048, id="5.4-62 combining marks count"),
    pytest.param("您好，您的包裹已送达。", id="5.4-62 Chinese"),
    pytest.param("வணக்கம்", id="5.4-62 Tamil"),
    pytest.param("❤️", id="5.4-62 heart with its variation selector"),
    pytest.param("  \n\t.", id="5.4-63 a full stop after white space"),
    pytest.param("\u200b\u200b!", id="5.4-63 a mark after zero-width characters"),
    pytest.param("{%raw%} {{name}}", id="5.4-66 braces mean nothing here"),
]

UNSENDABLE = [
    pytest.param("a\0b", "NUL", id="5.4-60 NUL"),
    pytest.param("\0", "NUL", id="5.4-60 only NUL"),
    pytest.param("a\ud800", "surrogate", id="5.4-60 lone surrogate"),
    pytest.param("\udc80", "surrogate", id="5.4-60 only a lone surrogate"),
    pytest.param("x" * 4097, "at most 4096 characters, not 4097", id="5.4-62 4097 characters"),
    pytest.param("😀" * 4097, "at most 4096", id="5.4-62 4097 emoji"),
    pytest.param(FAMILY * 586, "at most 4096", id="5.4-62 586 families are 4102 code points"),
    pytest.param("e\u0301" * 2049, "at most 4096", id="5.4-62 one combining mark too many"),
    pytest.param("", "empty", id="5.4-63 empty"),
    pytest.param("   ", "white space", id="5.4-63 spaces"),
    pytest.param(" \t\r\n\v\f", "white space", id="5.4-63 white space"),
    pytest.param("\u00a0\u2003\u3000\u2028\u2029", "white space", id="5.4-63 other white space"),
    pytest.param("\u200b\u200c\u200d\u2060\ufeff", "invisible", id="5.4-63 zero-width"),
    pytest.param("\u200e\u200f\u202e\u2066\u2069", "invisible", id="5.4-63 bidi marks"),
    pytest.param("\ufe0f\U000e0100\u180b", "invisible", id="5.4-63 variation selectors"),
    pytest.param("\u115f\u1160\u3164\uffa0", "invisible", id="5.4-63 Hangul fillers"),
    pytest.param("\u2800", "invisible", id="5.4-63 blank Braille"),
    pytest.param("\u00ad\u034f\u180e", "invisible", id="5.4-63 soft hyphen and joiners"),
    pytest.param("\x01\x1b\x7f", "invisible", id="5.4-63 control characters"),
    pytest.param("x" * 10_000_000, "at most 4096", id="5.4-64 ten million characters"),
]


@pytest.mark.parametrize("text", SENDABLE)
def test_sendable_bodies(text: str) -> None:
    assert body_error(text) is None


@pytest.mark.parametrize(("text", "reason"), UNSENDABLE)
def test_unsendable_bodies(text: str, reason: str) -> None:
    assert reason in (body_error(text) or "")


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
def test_a_body_is_sendable_when_it_can_be_stored_and_shows_something(text: str) -> None:
    storable = "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
    if body_error(text) is None:
        assert storable
        assert text.strip()
    elif storable:
        assert not any(unicodedata.category(char) in {"Lu", "Ll", "Nd", "Po"} for char in text)


def test_names_have_their_own_limit() -> None:
    assert name_error("Siti", 255) is None
    assert name_error("n" * 255, 255) is None
    assert name_error("n" * 256, 255) == "Must have at most 255 characters, not 256."


@pytest.mark.parametrize("name", ["", " ", "\u3164", "Si\0ti", "\ud83d"])
def test_names_are_held_to_the_rules_of_bodies(name: str) -> None:
    assert name_error(name, 255) is not None
    assert name_error(name, 255) == body_error(name)


def test_every_kind_of_attribute() -> None:
    attributes: dict[str, object] = {
        "plan": "gold",
        "note": "",
        "_points": 120,
        "debt": -(2**63),
        "Rate2": 12.5,
        "member": True,
        "left_at": None,
        "k" * 64: "x" * 1024,
    }
    assert attributes_error(attributes) is None
    assert attributes_error({}) is None


def test_fifty_attributes_and_no_more() -> None:
    assert attributes_error({f"k{n}": n for n in range(50)}) is None
    assert attributes_error({f"k{n}": n for n in range(51)}) == "Must have at most 50 keys, not 51."


@pytest.mark.parametrize(
    "name", ["", "2fast", "a-b", "a.b", "nama penuh", "näme", "k" * 65, "a\n", "a\0", "\ud800"]
)
def test_attribute_names_are_identifiers(name: str) -> None:
    error = attributes_error({name: 1})
    assert error is not None
    assert "must match" in error
    assert error.isascii()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * 1025, "1024"),
        ("a\0", "NUL"),
        ("\udfff", "surrogate"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        (-math.inf, "finite"),
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (["a"], "string"),
        ({"a": 1}, "string"),
    ],
)
def test_attribute_values_that_cannot_be_kept(value: object, reason: str) -> None:
    error = attributes_error({"fine": "yes", "plan": value})
    assert error is not None
    assert error.startswith("plan: ")
    assert reason in error


def test_json_is_nested_so_deep_and_no_deeper() -> None:
    for wrap in (lambda inner: [1, inner], lambda inner: {"a": inner, "b": 1}):
        value: object = "x"
        for _ in range(DEPTH_LIMIT):
            value = wrap(value)
        assert json_error(value) is None
        assert "50 levels" in (json_error(wrap(value)) or "")
        for _ in range(100_000):
            value = wrap(value)
        assert "50 levels" in (json_error(value) or "")
        while isinstance(value, dict | list):  # else it is dropped level by level on the stack
            value = value[1] if isinstance(value, list) else value["a"]


@pytest.mark.parametrize(
    "value", ["a\0", {"a\0": 1}, [{"a": ["\ud800"]}], [math.inf], {"a": 2**63}]
)
def test_json_that_cannot_be_kept(value: object) -> None:
    assert json_error([1, value, {"b": None}]) is not None
