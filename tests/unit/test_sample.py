"""The sample bulk is what tests, benchmarks and readers try first: it must stay what it claims."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.core.phone import normalise
from service.core.text import BODY_LIMIT_CHARS, attributes_error, body_error, name_error

SAMPLE = Path(__file__).parents[2] / "schemas/examples/bulk-1000.json"
VALID_MESSAGES = 988
VALID_PHONES = 986  # two people get a second, different message

TEXT = SAMPLE.read_text(encoding="utf-8")
MESSAGES: list[dict[str, Any]] = json.loads(TEXT)["messages"]


def e164(message: dict[str, Any]) -> str | None:
    phone = message["phone"]
    return normalise(phone) if isinstance(phone, str) else None


def refusal(message: dict[str, Any]) -> str | None:
    if not isinstance(message["phone"], str):
        return "phone is no text"
    return "invalid phone" if e164(message) is None else body_error(message["body"])


def test_is_one_bulk_of_a_thousand() -> None:
    assert list(json.loads(TEXT)) == ["messages"]
    assert len(MESSAGES) == 1000
    assert SAMPLE.stat().st_size < 1_000_000


def test_has_one_message_per_line() -> None:
    lines = TEXT.splitlines()[1:-1]
    assert [json.loads(line.removesuffix(",")) for line in lines] == MESSAGES


def test_uses_only_fields_of_the_contract() -> None:
    optional = {"name", "external_id", "reference", "attributes"}
    for message in MESSAGES:
        assert set(message) - optional == {"phone", "body"}
        assert attributes_error(message.get("attributes", {})) is None
        for field in ("name", "external_id", "reference"):
            assert name_error(message.get(field, "absent"), 255) is None
    for field in optional:
        assert sum(field in message for message in MESSAGES) > 100


def test_has_the_promised_number_of_valid_messages() -> None:
    valid = [m for m in MESSAGES if refusal(m) is None]
    distinct = {(e164(m), m["body"]) for m in valid}
    assert len(valid) == VALID_MESSAGES + 1  # the same message again, its phone spelled otherwise
    assert len(distinct) == VALID_MESSAGES
    assert len({phone for phone, _ in distinct}) == VALID_PHONES


def test_is_wrong_in_different_ways() -> None:
    refused = [(m["phone"], refusal(m)) for m in MESSAGES if refusal(m) is not None]
    reasons = {reason for _, reason in refused}
    assert len(refused) == 11
    assert len(reasons) == 6
    assert sum(reason == "invalid phone" for _, reason in refused) == 6


def test_never_touches_the_magic_numbers_of_the_simulator() -> None:
    assert not any((e164(m) or "").startswith("+60115550000") for m in MESSAGES)


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(r"01\d{8}", id="local"),
        pytest.param(r"01\d-\d{3} \d{4}", id="dash and space"),
        pytest.param(r"01\d \d{3} \d{4}", id="spaces"),
        pytest.param(r"01\d\.\d{3}\.\d{4}", id="dots"),
        pytest.param(r"\(01\d\) \d{3}\.\d{4}", id="brackets and dot"),
        pytest.param(r"\+601\d{8}", id="E.164"),
        pytest.param(r"601\d{8}", id="no plus"),
        pytest.param(r"60 1\d-\d{3} \d{4}", id="no plus, spaced"),
        pytest.param(r"\+60 1\d \d{3} \d{4}", id="international"),
        pytest.param(r"00601\d{8}", id="dialled from abroad"),
        pytest.param(r"\+60 ?\(0\)1\d.*", id="trunk zero in brackets"),
        pytest.param(r"1\d{8}", id="zero lost by a spreadsheet"),
        pytest.param(r"011-?\d{4} ?\d{4}", id="eight digits after 011"),
        pytest.param(r"\(?0[3-9].*", id="landline"),
        pytest.param(r"(\+60|0)15-?4.*", id="VoIP"),
    ],
)
def test_spells_phones_as_people_do(spelling: str) -> None:
    phones = [str(m["phone"]) for m in MESSAGES]
    found = [phone for phone in phones if re.fullmatch(spelling, phone)]
    assert found
    assert normalise(found[0]) is not None


@pytest.mark.parametrize(
    ("script", "least"),
    [
        pytest.param("[A-Za-z]", 500, id="Latin"),
        pytest.param("[\u4e00-\u9fff]", 150, id="Chinese"),
        pytest.param("[\u0b80-\u0bff]", 100, id="Tamil"),
        pytest.param("[\u0600-\u06ff]", 1, id="Jawi"),
        pytest.param("[\u0a00-\u0a7f]", 1, id="Gurmukhi"),
        pytest.param("[\U0001f300-\U0001faff]", 100, id="emoji"),
        pytest.param("\u200d", 2, id="joined emoji"),
        pytest.param("\u0301", 1, id="combining accent"),
    ],
)
def test_speaks_the_languages_of_the_country(script: str, least: int) -> None:
    assert sum(re.search(script, m["body"]) is not None for m in MESSAGES) >= least


def test_has_short_and_long_bodies() -> None:
    lengths = [len(m["body"]) for m in MESSAGES if refusal(m) is None]
    assert min(lengths) == 1
    assert max(lengths) == BODY_LIMIT_CHARS
    assert sum(600 <= length <= 1500 for length in lengths) >= 10
