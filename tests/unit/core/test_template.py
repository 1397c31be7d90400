from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.template import Rendered, Template, TemplateError


def render(text: str, **values: object) -> str:
    return Template.parse(text).render(values).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Salam {{name}}!", "Salam Siti!", id="5.4-65 plain"),
        pytest.param("Salam {{ name }}!", "Salam Siti!", id="5.4-65 spaces inside"),
        pytest.param("Salam {{\tname  }}!", "Salam Siti!", id="5.4-65 tab inside"),
        pytest.param("Salam {{Name}}!", "Salam !", id="5.4-65 another name by its capital"),
        pytest.param("Salam {{unknown}}!", "Salam !", id="5.4-65 unknown"),
        pytest.param("Salam {{unknown|there}}!", "Salam there!", id="5.4-65 fallback"),
        pytest.param("{{ unknown | dear customer }}", "dear customer", id="5.4-65 spaced fallback"),
        pytest.param("Hi {{unknown|}}!", "Hi !", id="5.4-65 empty fallback"),
        pytest.param("{{unknown|a|b}}", "a|b", id="5.4-65 a bar in the fallback"),
        pytest.param("{{unknown|朋友}}", "朋友", id="5.4-65 fallback in another script"),
        pytest.param("{{name|there}}", "Siti", id="5.4-65 fallback not needed"),
        pytest.param("{{name}}{{name}}", "SitiSiti", id="5.4-65 twice"),
        pytest.param("{{__class__}}", "", id="5.4-66 dunder is only a name"),
        pytest.param("stray }} here", "stray }} here", id="5.4-66 stray closing braces"),
        pytest.param("{{name}}}", "Siti}", id="5.4-66 brace after"),
        pytest.param("{%raw%}", "{%raw%}", id="5.4-66 another language's tag"),
        pytest.param("{name} {x} }{", "{name} {x} }{", id="5.4-66 single braces"),
        pytest.param("{ {{name}} }", "{ Siti }", id="5.4-66 single braces around"),
        pytest.param("", "", id="nothing"),
        pytest.param("%s {0} $name ${name}", "%s {0} $name ${name}", id="other languages' marks"),
    ],
)
def test_renders(text: str, expected: str) -> None:
    assert render(text, name="Siti") == expected


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        pytest.param("Hi {{name", 3, "never closed", id="5.4-66 unclosed"),
        pytest.param("Hi {{name}", 3, "never closed", id="5.4-66 half closed"),
        pytest.param("{{", 0, "never closed", id="5.4-66 only opening"),
        pytest.param("{{a}} {{b", 6, "never closed", id="5.4-66 second unclosed"),
        pytest.param("{{a {{b}}", 0, "does not open", id="5.4-66 unclosed before another"),
        pytest.param("{{}}", 0, "does not open", id="5.4-66 empty"),
        pytest.param("{{ }}", 0, "does not open", id="5.4-66 blank"),
        pytest.param("{{|there}}", 0, "does not open", id="5.4-66 fallback of nothing"),
        pytest.param("{{a.b}}", 0, "does not open", id="5.4-66 dotted"),
        pytest.param("{{a b}}", 0, "does not open", id="5.4-66 two words"),
        pytest.param("{{nama-penuh}}", 0, "does not open", id="5.4-66 hyphen"),
        pytest.param("{{1st}}", 0, "does not open", id="5.4-66 digit first"),
        pytest.param("{{näme}}", 0, "does not open", id="5.4-66 umlaut"),
        pytest.param("{{名字}}", 0, "does not open", id="5.4-66 other script"),
        pytest.param("{{7*7}}", 0, "does not open", id="5.4-66 arithmetic"),
        pytest.param("a{{{name}}}", 1, "does not open", id="5.4-66 three braces"),
        pytest.param("{{ {{name}} }}", 0, "does not open", id="5.4-66 nested"),
        pytest.param("{{{{name}}}}", 0, "does not open", id="5.4-66 four braces"),
        pytest.param("{{name|{x}}}", 0, "does not open", id="5.4-66 braces in the fallback"),
        pytest.param("{{na\nme}}", 0, "does not open", id="5.4-66 broken line"),
    ],
)
def test_refuses(text: str, position: int, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason) as caught:
        Template.parse(text)
    assert caught.value.position == position
    assert f"at character {position + 1} " in str(caught.value)


def test_variables_are_named_once_in_the_order_of_the_text() -> None:
    template = Template.parse("{{b}} {{a|x}} {{ b }} {{_c9}}")
    assert template.variables == ("b", "a", "_c9")


def test_names_what_had_neither_value_nor_fallback() -> None:
    template = Template.parse("{{a}}{{b}}{{c|?}}{{a}}{{d}}")
    assert template.render({"b": "B", "d": None}) == Rendered("B?", ("a", "d"))


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_value_is_no_value(empty: object) -> None:
    template = Template.parse("Hi {{name}}, {{name|there}}")
    assert template.render({"name": empty}) == Rendered("Hi , there", ("name",))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (120, "120"), (12.5, "12.5"), (True, "true"), (False, "false"), (" ", " ")],
)
def test_values_that_are_no_text_read_as_json(value: object, expected: str) -> None:
    assert Template.parse("{{v|none}}").render({"v": value}) == Rendered(expected, ())


def test_values_are_never_expanded_again() -> None:
    assert render("{{a}} {{b}}", a="{{b}}", b="{{a}} {{7*7}}") == "{{b}} {{a}} {{7*7}}"


pieces = st.lists(
    st.one_of(
        st.sampled_from(["{", "}", "{{", "}}", "{{a}}", "{{ b }}", "{{c|x}}", "|", " ", "a", "{%"]),
        st.text(max_size=4),
    ),
    max_size=12,
).map("".join)
values = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
)


@given(pieces, values)
def test_any_text_is_a_template_or_a_template_error(
    text: str, given_values: dict[str, object]
) -> None:
    try:
        template = Template.parse(text)
    except TemplateError:
        return
    rendered = template.render(given_values)
    assert set(rendered.missing) <= set(template.variables)


def position_of_error(text: str) -> int | None:
    try:
        Template.parse(text)
    except TemplateError as error:
        return error.position
    return None


@given(pieces)
def test_an_error_points_at_opening_braces(text: str) -> None:
    position = position_of_error(text)
    assert position is None or text.startswith("{{", position)


@given(pieces)
def test_no_placeholder_is_ever_left_unfilled(text: str) -> None:
    try:
        template = Template.parse(text)
    except TemplateError:
        return
    assert "{{" not in template.render({}).text


@given(st.text())
def test_values_come_out_as_they_went_in(value: str) -> None:
    template = Template.parse("<{{a}}|{{b|-}}>")
    text = template.render({"a": value, "b": "{{a}}" + value}).text
    assert text == "<" + value + "|{{a}}" + value + ">"
