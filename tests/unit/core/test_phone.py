from __future__ import annotations

import random

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from service.core.phone import from_common_spelling, normalise

MOBILE = "+60123456789"

ACCEPTED = [
    pytest.param("0123456789", MOBILE, id="5.3-46 local"),
    pytest.param("012-345 6789", MOBILE, id="5.3-46 dashed and spaced"),
    pytest.param("(012) 345.6789", MOBILE, id="5.3-46 brackets and dot"),
    pytest.param("+60123456789", MOBILE, id="5.3-46 international"),
    pytest.param("60123456789", MOBILE, id="5.3-46 without plus"),
    pytest.param("60 12-345 6789", MOBILE, id="5.3-46 without plus, spaced"),
    pytest.param("0060123456789", MOBILE, id="5.3-46 dialled from abroad"),
    pytest.param("+60(0)123456789", MOBILE, id="5.3-46 trunk zero in brackets"),
    pytest.param("+600123456789", MOBILE, id="5.3-46 trunk zero"),
    pytest.param("0123456789 ", MOBILE, id="5.3-46 space after"),
    pytest.param("123456789", MOBILE, id="5.3-46 zero lost by a spreadsheet"),
    pytest.param("01112345678", "+601112345678", id="5.3-47 eight digits after 011"),
    pytest.param("0147123456", "+60147123456", id="5.3-48 0147"),
    pytest.param("+60321234567", "+60321234567", id="5.3-49 Kuala Lumpur landline"),
    pytest.param("(03) 2123-4567", "+60321234567", id="5.3-49 landline as printed"),
    pytest.param("082234567", "+6082234567", id="5.3-49 Kuching landline"),
    pytest.param("+601546012345", "+601546012345", id="5.3-50 VoIP"),
    pytest.param("015-4601 2345", "+601546012345", id="5.3-50 VoIP, local"),
]

REFUSED = [
    pytest.param("tel:+60-12-345-6789", id="5.3-46 URI scheme"),
    pytest.param("0111234567", id="5.3-47 seven digits after 011"),
    pytest.param("011123456789", id="5.3-47 nine digits after 011"),
    pytest.param("0141234567", id="5.3-48 0141"),
    pytest.param("0151234567", id="5.3-48 0151"),
    pytest.param("0101234567", id="5.3-48 0101"),
    pytest.param("0312345678", id="5.3-49 no such landline"),
    pytest.param("1300881234", id="5.3-50 shared cost"),
    pytest.param("1800881234", id="5.3-50 toll-free"),
    pytest.param("+601600123456", id="5.3-50 premium"),
    pytest.param("999", id="5.3-51 emergency"),
    pytest.param("15888", id="5.3-51 short code of five"),
    pytest.param("62003", id="5.3-51 SMS code"),
    pytest.param("+60", id="5.3-52 country code only"),
    pytest.param("60", id="5.3-52 country code only, no plus"),
    pytest.param("0060", id="5.3-52 dialled country code only"),
    pytest.param("0", id="5.3-52 zero"),
    pytest.param("+", id="5.3-52 plus"),
    pytest.param("", id="5.3-52 empty"),
    pytest.param("   ", id="5.3-52 spaces"),
    pytest.param("()", id="5.3-52 brackets"),
    pytest.param("+6580123456", id="5.3-53 Singapore, like a Malaysian landline"),
    pytest.param("+6590000000", id="5.3-53 Singapore"),
    pytest.param("+14155552671", id="5.3-53 United States"),
    pytest.param("+447911123456", id="5.3-53 Guernsey"),
    pytest.param("0１２３４５６７８９", id="5.3-54 full-width digits"),
    pytest.param("٠١٢٣٤٥٦٧٨٩", id="5.3-54 Arabic-Indic digits"),
    pytest.param("०१२३४५६७८९", id="5.3-54 Devanagari digits"),
    pytest.param("＋60123456789", id="5.3-54 full-width plus"),
    pytest.param("\x000123456789", id="5.3-56 NUL before"),
    pytest.param("0123456789\n", id="5.3-56 newline after"),
    pytest.param("012\u200b3456789", id="5.3-56 zero-width space"),
    pytest.param("\u202a0123456789\u202c", id="5.3-56 bidi marks of a pasted contact"),
    pytest.param("012\u00a03456789", id="5.3-56 no-break space"),
    pytest.param("O123456789", id="5.3-57 letter O"),
    pytest.param("012EASYPLS", id="5.3-57 vanity letters"),
    pytest.param("-60123456789", id="5.3-57 minus before"),
    pytest.param(" 0123456789", id="5.3-57 space before"),
    pytest.param("(+60)123456789", id="5.3-57 plus not leading"),
    pytest.param("++60123456789", id="5.3-57 two pluses"),
    pytest.param("0123456789 ext 5", id="5.3-57 extension in words"),
    pytest.param("0123456789;ext=5", id="5.3-57 extension as parameter"),
    pytest.param("0123456789#5", id="5.3-57 extension after hash"),
    pytest.param("0123456789,0129876543", id="5.3-58 two numbers, comma"),
    pytest.param("0123456789/0129876543", id="5.3-58 two numbers, slash"),
    pytest.param("0123456789 0129876543", id="5.3-58 two numbers, space"),
    pytest.param("0" * 40, id="5.3-58 forty digits"),
    pytest.param("1" * 251, id="5.3-58 251 digits"),
    pytest.param("0123456789" + " " * 241, id="5.3-58 251 characters"),
    pytest.param("6e10", id="5.3-58 exponent"),
    pytest.param("0x1", id="5.3-58 hexadecimal"),
]


@pytest.mark.parametrize(("raw", "expected"), ACCEPTED)
def test_accepts(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


@pytest.mark.parametrize("raw", REFUSED)
def test_refuses(raw: str) -> None:
    assert normalise(raw) is None


@pytest.mark.parametrize(
    "raw", ["0123456789", "012-345 6789", "(012) 345.6789", "+60123456789", "60123456789"]
)
def test_common_spellings_need_no_library(raw: str) -> None:
    assert from_common_spelling(raw) == MOBILE


ALPHABET = "0123456789 -.()+"
REACHABLE = {
    PhoneNumberType.MOBILE,
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.VOIP,
}


def by_the_book(raw: str) -> str | None:
    """The rule of the contract, written down a second time with nothing but the library."""
    unmarked = raw.removeprefix("+")
    if raw[:1] not in set("0123456789(+") or not set(unmarked) <= set(ALPHABET) - {"+"}:
        return None
    try:
        number = phonenumbers.parse(raw, "MY")
    except phonenumbers.NumberParseException:
        return None
    reachable = phonenumbers.number_type(number) in REACHABLE
    if number.country_code != 60 or not reachable or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


prefixes = st.sampled_from(["", "0", "00", "60", "600", "0060", "00600", "+", "+60", "+600", "+00"])
landline_codes = st.sampled_from(["3", "4", "427", "5", "6", "60", "7", "8", "80", "9"])
other_codes = st.sampled_from(
    ["1", "10", "11", "115", "12", "13", "14", "15", "154", "1546", "156", "16", "17", "18", "19"]
)
service_codes = st.sampled_from(["1300", "1600", "1700", "1800"])
area_codes = landline_codes | other_codes | service_codes
dialled = st.tuples(prefixes, area_codes, st.text("0123456789", max_size=10)).map("".join)
separators = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(" -.()+")), max_size=6)


def punctuated(digits: str, marks: list[tuple[int, str]]) -> str:
    for position, mark in marks:
        digits = digits[:position] + mark + digits[position:]
    return digits


@given(
    st.one_of(
        dialled,
        st.builds(punctuated, dialled, separators),
        st.text(ALPHABET, max_size=20),
        st.text(max_size=12),
    )
)
def test_agrees_with_the_library(raw: str) -> None:
    assert normalise(raw) == by_the_book(raw)


def test_agrees_with_the_library_on_a_seeded_crowd() -> None:
    dice = random.Random(60)
    valid = 0
    for _ in range(20_000):
        prefix = dice.choice(["", "0", "60", "+60", "0060", "+600", "+"])
        area = dice.choice(["1", "11", "12", "15", "154601", "18", "3", "4", "7", "8", "9", ""])
        length = dice.randrange(5, 9)
        rest = "".join(dice.choices("0123456789", k=length))
        marks = [(dice.randrange(12), dice.choice(" -.()")) for _ in range(dice.randrange(3))]
        raw = punctuated(prefix + area + rest, marks)
        answer = normalise(raw)
        assert answer == by_the_book(raw), raw
        valid += answer is not None
    assert valid > 2_000  # the crowd is worth asking
