"""Message templates: bodies and the resource."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import orjson

from schemas.shapes import Row, Time
from service.core.template import Template as Parsed
from service.core.times import rfc3339

ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s\x00]+$", max_length=2048)]


class Media(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A picture, document, film or recording that goes with a text."""

    type: Literal["image", "document", "video", "audio"]
    url: Url
    filename: ShortText | None = None
    caption: Annotated[str, msgspec.Meta(max_length=1024)] | None = None


class MetaTwin(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The template that Meta approved for the same text."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{1,512}$")]
    language: Annotated[str, msgspec.Meta(pattern="^[a-z]{2,3}(_[A-Z]{2})?$")]
    components: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=10)] = []
    #: whether it goes instead of the text when Meta takes no text
    fallback: bool = True


class TemplateBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /templates."""

    name: str
    body: str
    slug: str | None = None
    is_active: bool = True
    media: Media | None = None
    meta: MetaTwin | None = None


class TemplateChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of PUT and PATCH; a new name does not change the slug."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    body: str | msgspec.UnsetType = msgspec.UNSET
    slug: str | msgspec.UnsetType = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    media: Media | msgspec.UnsetType | None = msgspec.UNSET
    meta: MetaTwin | msgspec.UnsetType | None = msgspec.UNSET


class Template(msgspec.Struct):
    """A message template; `variables` are the names in its placeholders."""

    id: int
    name: str
    slug: str
    body: str
    variables: list[str]
    is_active: bool
    media: Media | None
    meta: MetaTwin | None
    created_at: Time
    updated_at: Time


def template(row: Row) -> Template:
    """The template resource."""
    return Template(
        id=row["id"],
        name=row["name"],
        slug=row["slug"],
        body=row["body"],
        variables=list(Parsed.parse(row["body"]).variables),
        is_active=row["is_active"],
        media=_read(row["media"], Media),
        meta=_read(row["meta"], MetaTwin),
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
    )


def _read(text: str | None, kind: Any) -> Any:
    return msgspec.convert(orjson.loads(text), kind) if text is not None else None
