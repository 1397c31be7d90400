"""Message templates: `{{name}}` and `{{name|fallback}}`, filled in one pass and never evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_OPENING = "{{"
_CLOSING = "}}"
# No brace can stand inside a placeholder, so one that nests or is never closed cannot be misread.
_PLACEHOLDER = re.compile(
    r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*(?:\|([^{}]*))?\}\}",
)
_as_json = json.JSONEncoder(ensure_ascii=False).encode


class TemplateError(ValueError):
    """The text is no template; `position` is the index of the braces at fault, from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place for a value; without a value the fallback stands there, if there is one."""

    name: str
    fallback: str | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A filled template, and the names that had neither a value nor a fallback."""

    text: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders, checked once and filled any number of times."""

    parts: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Reads a template; raises TemplateError where braces are malformed or never closed."""
        parts: list[str | Placeholder] = []
        position = 0
        while (opening := text.find(_OPENING, position)) >= 0:
            match = _PLACEHOLDER.match(text, opening)
            if match is None:
                raise _explain(text, opening)
            if opening > position:
                parts.append(text[position:opening])
            name, fallback = match.groups()
            parts.append(Placeholder(name, None if fallback is None else fallback.strip()))
            position = match.end()
        if position < len(text):
            parts.append(text[position:])
        return cls(tuple(parts))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the placeholders, each once, in the order of the text."""
        return tuple(dict.fromkeys(p.name for p in self.parts if isinstance(p, Placeholder)))

    def render(self, values: Mapping[str, object]) -> Rendered:
        """Fills every placeholder; None and the empty string count as no value."""
        filled: list[str] = []
        missing: dict[str, None] = {}
        for part in self.parts:
            if isinstance(part, str):
                filled.append(part)
                continue
            value = values.get(part.name)
            if value is not None and value != "":
                filled.append(value if isinstance(value, str) else _as_json(value))
            elif part.fallback is not None:
                filled.append(part.fallback)
            else:
                missing[part.name] = None
        return Rendered("".join(filled), tuple(missing))


def _explain(text: str, opening: int) -> TemplateError:
    where = f"The {{{{ at character {opening + 1}"
    if text.find(_CLOSING, opening) < 0:
        return TemplateError(f"{where} is never closed.", opening)
    return TemplateError(
        f"{where} does not open a placeholder like {{{{name}}}} or {{{{name|fallback}}}}.", opening
    )
