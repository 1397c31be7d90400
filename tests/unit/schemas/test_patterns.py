"""The patterns of the API mean the same to Python and to every reader of JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.registry import KINDS
from schemas.devices import QuietHours
from schemas.media import Media
from schemas.templates import MetaTwin
from tests.schemas import OPENAPI


def patterns(schema: Any) -> Iterator[str]:
    """Every pattern in a document."""
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from patterns(item)


API = {
    *patterns(orjson.loads(OPENAPI.read_bytes())),
    *(
        pattern
        for kind in KINDS.values()
        for pattern in patterns(msgspec.json.schema(kind.settings))
    ),
}


@given(
    st.sampled_from(sorted(API)).flatmap(lambda each: st.tuples(st.just(each), st.from_regex(each)))
)
def test_what_fits_a_pattern_has_no_further_line(fitting: tuple[str, str]) -> None:
    pattern, text = fitting
    assert not text.endswith("\n")
    assert re.search(pattern, f"{text}\n") is None


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (QuietHours, {"start": "22:00", "end": "08:00"}, "start"),
        (
            QuietHours,
            {"start": "22:00", "end": "08:00", "timezone": "Asia/Kuala_Lumpur"},
            "timezone",
        ),
        (Media, {"type": "image", "url": "https://example.com/a.png"}, "url"),
        (MetaTwin, {"name": "welcome", "language": "en_US"}, "name"),
        (MetaTwin, {"name": "welcome", "language": "en_US"}, "language"),
    ],
)
def test_a_line_feed_behind_a_value_is_refused(
    kind: type[msgspec.Struct], body: dict[str, Any], field: str
) -> None:
    msgspec.convert(body, kind)
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}"):
        msgspec.convert(body | {field: body[field] + "\n"}, kind)
