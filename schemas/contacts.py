"""Contacts, their groups, and imports of them: bodies and resources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import orjson

from schemas.api import Id, Scalar
from schemas.resources import instant
from schemas.shapes import Row, Time
from service.core.times import rfc3339

#: Members that one call adds or removes.
MEMBERS_LIMIT = 1000

ContactIds = Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MEMBERS_LIMIT)]


class ContactBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /contacts."""

    phone: str
    name: str | None = None
    external_id: str | None = None
    attributes: dict[str, Scalar] | None = None
    opted_out: bool | None = None


class ContactChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of PUT and PATCH: what is not there stays as it is, null empties a field."""

    phone: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    external_id: str | msgspec.UnsetType | None = msgspec.UNSET
    attributes: dict[str, Scalar] | msgspec.UnsetType | None = msgspec.UNSET
    opted_out: bool | msgspec.UnsetType = msgspec.UNSET


class GroupBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /contact-groups."""

    name: str
    description: str | None = None


class GroupChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of PUT and PATCH of a group."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET


class Members(msgspec.Struct, forbid_unknown_fields=True):
    """Contacts to add to a group or to take out of it."""

    contact_ids: ContactIds


class Contact(msgspec.Struct):
    """A person with a phone."""

    id: int
    phone: str
    name: str | None
    external_id: str | None
    attributes: dict[str, Scalar]
    opted_out: bool
    opted_out_at: Time | None
    created_at: Time
    updated_at: Time


class ContactGroup(msgspec.Struct):
    """A named set of contacts."""

    id: int
    name: str
    description: str | None
    contacts: int
    created_at: Time
    updated_at: Time


class MembersChanged(msgspec.Struct):
    """How many contacts a call added to a group, or took out of it."""

    group_id: int
    changed: int
    contacts: int


class Import(msgspec.Struct):
    """A file of contacts; `rows` were received, `done` of them are worked off."""

    id: int
    state: Literal["queued", "running", "completed", "failed"]
    error: str | None
    group_id: int | None
    rows: int
    done: int
    created: int
    updated: int
    rejected: int
    created_at: Time
    completed_at: Time | None


def contact(row: Row) -> Contact:
    """The contact resource."""
    attributes: dict[str, Any] = orjson.loads(row["attributes"])
    return Contact(
        id=row["id"],
        phone=row["phone"],
        name=row["name"],
        external_id=row["external_id"],
        attributes=attributes,
        opted_out=row["opted_out_at"] is not None,
        opted_out_at=instant(row["opted_out_at"]),
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
    )


def group(row: Row) -> ContactGroup:
    """The contact group resource."""
    return ContactGroup(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        contacts=row["contacts"],
        created_at=rfc3339(row["created_at"]),
        updated_at=rfc3339(row["updated_at"]),
    )


def contact_import(row: Row) -> Import:
    """The import resource."""
    return Import(
        id=row["id"],
        state=row["state"],
        error=row["error"],
        group_id=row["group_id"],
        rows=row["rows"],
        done=row["done"],
        created=row["created"],
        updated=row["updated"],
        rejected=row["rejected"],
        created_at=rfc3339(row["created_at"]),
        completed_at=instant(row["completed_at"]),
    )
