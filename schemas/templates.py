"""Message templates: bodies and the resource."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
import orjson

from schemas.media import Media
from schemas.shapes import Row, Time
from service.core.content import Content
from service.core.times import rfc3339


class MetaTwin(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The template that Meta approved for the same text.

    `components` are Meta's own, with placeholders where the values of a message go.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,512}(?!\n)$")]
    language: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(_[A-Z]{2})?(?!\n)$")]
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


class TwinStanding(msgspec.Struct):
    """Meta's last word on the twin, as its webhooks told: APPROVED, PAUSED, REJECTED, …"""

    status: str
    reason: str | None
    at: Time


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
    meta_standing: TwinStanding | None = None


def content_of(row: Row) -> Content:
    """What a template in these columns says; raises ContentError."""
    media, meta = (orjson.loads(row[name]) if row[name] else None for name in ("media", "meta"))
    if media is not None:
        media = {name: value for name, value in media.items() if value is not None}
    return Content.parse(row["body"], media=media, meta=meta)


def template(row: Row) -> Template:
    """The template resource."""
    return Template(
        id=row["id"],
        name=row["name"],
        slug=row["slug"],
        body=row["body"],
        variables=list(content_of(row).variables),
        is_active=row["is_active"],
        media=_read(row["media"], Media),
        meta=_read(row["meta"], MetaTwin),
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
        meta_standing=_standing(row["standing"]),
    )


def _standing(text: str | None) -> TwinStanding | None:
    if text is None:
        return None
    found = orjson.loads(text)
    at = rfc3339(datetime.fromisoformat(found["at"]))
    return TwinStanding(found["status"], found["reason"], at)


def _read(text: str | None, kind: Any) -> Any:
    return msgspec.convert(orjson.loads(text), kind) if text is not None else None
