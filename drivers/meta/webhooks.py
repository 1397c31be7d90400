"""What Meta calls back with: signatures over raw bytes, statuses, inbound messages, the rest.

Source: Meta's webhook reference of the WhatsApp Business Account object. Deliveries repeat and come
in any order; `delivered` may never come before `read`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from drivers.driver import Action, Holds, Rule, Scope
from drivers.meta.errors import rule_of
from drivers.meta.standings import phone_of, word
from service.core.lifecycle import Status

#: Statuses that say something of a message; `deleted`, `played` and what comes later do not.
STATUSES = {
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "failed": Status.FAILED,
}
_SCHEME = "sha256="
_FIELD = re.compile(r"[a-z0-9_]{1,50}")
#: Of a part that nothing is done about so much is kept.
OTHER_LIMIT_BYTES = 16 * 1024
#: Digits of a phone and some to spare; what is longer is none.
_PHONE = re.compile(r"[0-9]{1,20}", re.ASCII)


class NotReadable(Exception):
    """The body is not a webhook of a WhatsApp Business Account."""


@dataclass(frozen=True, slots=True)
class StatusNews:
    """A status of a message; `mark` is what its sender asked to be told back."""

    phone_number_id: str
    provider_id: str
    mark: object
    status: Status
    at: datetime
    code: int | None = None

    @property
    def error(self) -> tuple[str, str] | None:
        """The name and the sentence of the code."""
        if self.code is None:
            return None
        rule = rule_of(self.code)
        return rule.name, f"{rule.sentence} (code {self.code})"

    @property
    def holds(self) -> Holds | None:
        """What else waits because of the code, which says the same as in an answer."""
        return None if self.code is None else _holds(rule_of(self.code))


def _holds(rule: Rule) -> Holds | None:
    if rule.scope is Scope.MESSAGE or rule.action is Action.RETRY:
        return None
    if rule.action is Action.HOLD:
        return Holds(rule.scope, rule.after_seconds)
    if rule.known_seconds is not None:
        return Holds(rule.scope, rule.known_seconds, refused=True, marketing=rule.marketing)
    if rule.action is Action.FAIL and rule.scope is not Scope.TEMPLATE:
        return None
    return Holds(rule.scope, None)


@dataclass(frozen=True, slots=True)
class InboundNews:
    """A message that a person wrote; `text` is empty where it has none."""

    phone_number_id: str
    provider_id: str
    phone: str
    text: str
    at: datetime
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class TemplateNews:
    """A word on a template of the business account."""

    name: str
    language: str
    status: str
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class QualityNews:
    """A word on a number; `phone` in E.164, as Meta does not name its id here."""

    phone: str
    event: str
    messaging_limit: str | None
    at: datetime

    @property
    def quality(self) -> str | None:
        """What the event says of the quality, if it does."""
        return "RED" if self.event == "FLAGGED" else None


@dataclass(frozen=True, slots=True)
class OtherNews:
    """A part that nothing is done about, of a kind that is unknown or in a form that is."""

    kind: str
    part: object
    at: datetime

    @property
    def text(self) -> str:
        """The part as JSON, cut where it is long; empty where it is nested too deeply for that."""
        try:
            return orjson.dumps(self.part)[:OTHER_LIMIT_BYTES].decode(errors="ignore")
        except orjson.JSONEncodeError:
            return ""


@dataclass(slots=True)
class News:
    """All that one webhook holds; `others` is what nothing is done about."""

    statuses: list[StatusNews] = field(default_factory=list)
    inbound: list[InboundNews] = field(default_factory=list)
    templates: list[TemplateNews] = field(default_factory=list)
    quality: list[QualityNews] = field(default_factory=list)
    others: list[OtherNews] = field(default_factory=list)


def signed_by(body: bytes, signature: str | None, app_secrets: Iterable[str]) -> bool:
    """Whether one of these secrets made the X-Hub-Signature-256 of these very bytes.

    Every secret is compared, each in constant time.
    """
    given = (signature or "").encode("utf-8", "replace")
    good = False
    for secret in app_secrets:
        made = _SCHEME + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        good |= hmac.compare_digest(given, made.encode())
    return good


def read_document(body: bytes) -> dict[str, Any]:
    """The webhook as JSON; raises NotReadable."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotReadable("not JSON") from error
    if not isinstance(document, dict) or document.get("object") != "whatsapp_business_account":
        raise NotReadable("not of a WhatsApp Business Account")
    return document


def accounts_in(document: dict[str, Any]) -> set[str]:
    """The business accounts that it is about."""
    ids = (entry.get("id") for entry in _dicts(document.get("entry")))
    return {id_ for id_ in ids if isinstance(id_, str)}


def numbers_in(document: dict[str, Any]) -> set[str]:
    """The phone numbers that it is about."""
    return {number for _, value, _ in _changes(document) if (number := _number(value)) is not None}


def news_in(document: dict[str, Any]) -> News:
    """Everything in it; what is malformed or unknown is named in `others`, never an error."""
    news = News()
    for kind, value, at in _changes(document):
        number = _number(value)
        if kind == "messages" and number is not None:
            _messages(news, number, value, at)
        elif kind == "message_template_status_update" and (template := _template(value, at)):
            news.templates.append(template)
        elif kind == "phone_number_quality_update" and (quality := _quality(value, at)):
            news.quality.append(quality)
        else:
            news.others.append(OtherNews(kind, value, at))
    return news


def _template(value: dict[str, Any], at: datetime) -> TemplateNews | None:
    name, language = value.get("message_template_name"), value.get("message_template_language")
    status = word(value.get("event"))
    if not (isinstance(name, str) and isinstance(language, str) and status):
        return None
    return TemplateNews(name, language, status, word(value.get("reason")), at)


def _quality(value: dict[str, Any], at: datetime) -> QualityNews | None:
    phone, event = phone_of(value.get("display_phone_number")), word(value.get("event"))
    limit = word(value.get("max_daily_conversations_per_business"))
    limit = limit or word(value.get("current_limit"))
    return QualityNews(phone, event, limit, at) if phone and event else None


def _messages(news: News, number: str, value: dict[str, Any], heard_at: datetime) -> None:
    for item in _dicts(value.get("statuses")):
        status = STATUSES.get(_plain(item.get("status")))
        at, provider_id = _time(item.get("timestamp")), _id(item.get("id"))
        if status is None or at is None or provider_id is None:
            news.others.append(OtherNews("status", item, heard_at))
            continue
        mark = item.get("biz_opaque_callback_data")
        code = _code(item) if status is Status.FAILED else None
        news.statuses.append(StatusNews(number, provider_id, mark, status, at, code))
    for item in _dicts(value.get("messages")):
        at, provider_id = _time(item.get("timestamp")), _id(item.get("id"))
        sender = _plain(item.get("from"))
        if at is None or provider_id is None or not _PHONE.fullmatch(sender):
            news.others.append(OtherNews("message", item, heard_at))
            continue
        kind = _kind(item)
        news.inbound.append(InboundNews(number, provider_id, f"+{sender}", _text(item), at, kind))


def _changes(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], datetime]]:
    for entry in _dicts(document.get("entry")):
        # Their clock may be ahead of ours, and then their word would stand against all later ones.
        now = datetime.now(UTC)
        at = min(_time(entry.get("time")) or now, now)
        for change in _dicts(entry.get("changes")):
            value = change.get("value")
            yield _field(change), value if isinstance(value, dict) else {}, at


def _field(change: dict[str, Any]) -> str:
    found = change.get("field")
    return found if isinstance(found, str) and _FIELD.fullmatch(found) else "other"


def _dicts(found: object) -> Iterator[dict[str, Any]]:
    return (
        (item for item in found if isinstance(item, dict)) if isinstance(found, list) else iter(())
    )


def _number(value: dict[str, Any]) -> str | None:
    metadata = value.get("metadata")
    found = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def _id(found: object) -> str | None:
    return found if isinstance(found, str) and 0 < len(found) <= 200 else None


def _plain(found: object) -> str:
    """A text, or a number as one; anything else may be nested too deeply to be written."""
    return str(found) if isinstance(found, str | int) else ""


def _time(found: object) -> datetime | None:
    text = _plain(found)
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return datetime.fromtimestamp(int(text), UTC)


def _code(item: dict[str, Any]) -> int:
    error = next(_dicts(item.get("errors")), {})
    code = error.get("code")
    return code if isinstance(code, int) else -1


def _kind(item: dict[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else "unsupported"


def _text(item: dict[str, Any]) -> str:
    """The words of a text, a button, a list reply or a caption."""
    kind = item.get("type")
    part = item.get(kind) if isinstance(kind, str) else None
    if not isinstance(part, dict):
        return ""
    if kind == "interactive":
        reply = part.get(_plain(part.get("type")))
        part = reply if isinstance(reply, dict) else {}
    for name in ("body", "text", "title", "caption"):
        if isinstance(part.get(name), str):
            return str(part[name])
    return ""
