"""What a message says: its words, the media that go with them, and the approved template.

Media and template are JSON of which every string may hold placeholders, filled as the words are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.core.template import Placeholder, Template, TemplateError
from service.core.text import body_error, json_error

#: WhatsApp takes no longer words below media.
CAPTION_LIMIT_CHARS = 1024
URL_LIMIT_CHARS = 2048
#: Media and template of one message, as JSON.
OPTIONS_LIMIT_BYTES = 16 * 1024
_URL = re.compile(r"https?://[^\s\x00]+")


class ContentError(ValueError):
    """What it says cannot be sent; `field` is the path of what is at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Filled:
    """What one recipient gets, and the names that had neither a value nor a fallback."""

    body: str
    #: `media` and `meta`, with their values
    options: Mapping[str, Any] | None
    missing: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ContentError where it cannot be sent."""
        media = (self.options or {}).get("media")
        if media is None or self.body:
            # Media may go without words.
            _refuse("body", body_error(self.body))
        if media is not None:
            _check_media(media, self.body)
        if self.options is not None:
            for field, part in self.options.items():
                _refuse(field, json_error(part))
            if len(orjson.dumps(self.options)) > OPTIONS_LIMIT_BYTES:
                raise ContentError("meta" if "meta" in self.options else "media", _TOO_LONG)


_TOO_LONG = f"Must have at most {OPTIONS_LIMIT_BYTES} bytes with its values."


@dataclass(frozen=True, slots=True)
class Content:
    """What is said, checked once and filled any number of times."""

    body: Template
    #: `media` and `meta`, in which a Template stands for each string that has placeholders
    options: Mapping[str, Any]

    @classmethod
    def parse(
        cls,
        body: str,
        *,
        media: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Content:
        """Reads a template; raises ContentError where braces are malformed or never closed."""
        given = {"media": media, "meta": meta}
        options = {field: _parsed(part, field) for field, part in given.items() if part is not None}
        if len(orjson.dumps(given)) > OPTIONS_LIMIT_BYTES:
            raise ContentError("meta" if meta else "media", _TOO_LONG)
        return cls(_template(body, "body"), options)

    @property
    def placeholders(self) -> list[Placeholder]:
        """Every place for a value: those of the words first."""
        templates = [self.body, *_templates(self.options)]
        parts = (part for template in templates for part in template.parts)
        return [part for part in parts if isinstance(part, Placeholder)]

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the placeholders, each once."""
        return tuple(dict.fromkeys(place.name for place in self.placeholders))

    def fill(self, values: Mapping[str, object]) -> Filled:
        """Fills every placeholder; None and the empty string count as no value."""
        rendered = self.body.render(values)
        if not self.options:
            return Filled(rendered.text, None, rendered.missing)
        missing = dict.fromkeys(rendered.missing)
        options = _filled(self.options, values, missing)
        return Filled(rendered.text, options, tuple(missing))


def _check_media(media: Mapping[str, Any], body: str) -> None:
    url, caption = media["url"], media.get("caption")
    if len(url) > URL_LIMIT_CHARS or not _URL.fullmatch(url):
        raise ContentError("media.url", f"Must be a URL of at most {URL_LIMIT_CHARS} characters.")
    if media["type"] == "audio":
        return
    field, words = ("media.caption", caption) if caption else ("body", body)
    if len(words) > CAPTION_LIMIT_CHARS:
        detail = f"Must have at most {CAPTION_LIMIT_CHARS} characters below media."
        raise ContentError(field, detail)


def _refuse(field: str, error: str | None) -> None:
    if error is not None:
        raise ContentError(field, error)


def _template(text: str, field: str) -> Template:
    try:
        return Template.parse(text)
    except TemplateError as error:
        raise ContentError(field, str(error)) from error


def _parsed(value: Any, field: str) -> Any:
    if isinstance(value, str):
        return _template(value, field) if "{{" in value else value
    if isinstance(value, Mapping):
        return {name: _parsed(part, f"{field}.{name}") for name, part in value.items()}
    if isinstance(value, list):
        return [_parsed(part, f"{field}.{index}") for index, part in enumerate(value)]
    return value


def _templates(value: Any) -> Iterator[Template]:
    if isinstance(value, Template):
        yield value
        return
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list):
        for part in parts:
            yield from _templates(part)


def _filled(value: Any, values: Mapping[str, object], missing: dict[str, None]) -> Any:
    if isinstance(value, Template):
        rendered = value.render(values)
        missing.update(dict.fromkeys(rendered.missing))
        return rendered.text
    if isinstance(value, Mapping):
        return {name: _filled(part, values, missing) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values, missing) for part in value]
    return value
