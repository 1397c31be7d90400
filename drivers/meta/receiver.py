"""Meta's webhooks, from their bytes to what is said of our messages."""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import structlog

from drivers.driver import (
    Callback,
    Called,
    Inbound,
    KnownDevices,
    NotGenuine,
    Standing,
    TemplateStanding,
    Unread,
)
from drivers.meta.answers import Codes
from drivers.meta.marks import read_mark
from drivers.meta.standings import BLOCKING, recipients_of
from drivers.meta.webhooks import (
    InboundNews,
    NotReadable,
    QualityNews,
    StatusNews,
    TemplateNews,
    accounts_in,
    news_in,
    read_document,
    signed_by,
)
from service.telemetry import metrics

log = structlog.get_logger(__name__)


class MetaReceiver:
    """Believes what an app of one of the devices has signed, and of their messages alone."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._codes = Codes()

    def challenge(self, query: Mapping[str, str], devices: KnownDevices) -> str:
        """Meta's challenge, when it knows the verify token of one of the devices."""
        token = query.get("hub.verify_token", "").encode()
        known = [settings.get("verify_token") for settings in devices.values()]
        matches = [hmac.compare_digest(token, text.encode()) for text in known if text]
        challenge = query.get("hub.challenge", "")
        if query.get("hub.mode") != "subscribe" or not any(matches):
            raise NotGenuine("the verify token is not one of a device")
        return challenge

    def receive(
        self, body: bytes, headers: Mapping[str, str], devices: KnownDevices
    ) -> Sequence[Called]:
        """What a signed webhook says of messages, numbers and templates; the rest is counted."""
        try:
            document = read_document(body)
        except NotReadable as error:
            raise NotGenuine(str(error)) from None
        accounts = accounts_in(document)
        signers = {
            id_: settings
            for id_, settings in devices.items()
            if settings.get("business_account_id") in accounts
        }
        # One app serves many numbers: its secret is tried once.
        secrets = {settings.get("app_secret", "") for settings in signers.values()} - {""}
        signature = headers.get("X-Hub-Signature-256")
        good = {secret for secret in secrets if signed_by(body, signature, [secret])}
        if not good:
            raise NotGenuine("the signature is not that of an app of this account")
        believed = {id_: each for id_, each in signers.items() if each.get("app_secret") in good}
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for id_, settings in believed.items():
            numbers[settings.get("phone_number_id", "")].append(id_)
        news = news_in(document)
        found: list[Called] = []
        for other in news.others:
            metrics.META_WEBHOOKS.labels(metrics.META_KINDS(other.kind)).inc()
            found.append(Unread(min(believed), other.kind, other.text, other.at))
        for status in news.statuses:
            found += self._statuses(status, numbers[status.phone_number_id])
        for inbound in news.inbound:
            found += _inbound(inbound, numbers[inbound.phone_number_id])
        for template in news.templates:
            found += _template(template, believed)
        for quality in news.quality:
            found += _quality(quality, believed)
        return found

    def _statuses(self, news: StatusNews, devices: Sequence[int]) -> list[Callback]:
        if news.code is not None:
            self._codes.count(news.code)
        for device_id in devices:
            marked = read_mark(self._secret, device_id, news.mark)
            if marked is not None:
                name, sentence = news.error or (None, None)
                return [
                    Callback(
                        *marked, news.status, news.at, news.provider_id, name, sentence, news.holds
                    )
                ]
        # Somebody sent it by hand, or with another program.
        metrics.META_WEBHOOKS.labels("foreign_status").inc()
        return []


def _inbound(news: InboundNews, devices: Sequence[int]) -> list[Inbound]:
    return [
        Inbound(device_id, news.phone, news.text, news.provider_id, news.at, news.kind)
        for device_id in devices
    ]


def _template(news: TemplateNews, devices: Iterable[int]) -> list[TemplateStanding]:
    """Templates belong to the account: every number of it hears of them."""
    return [
        TemplateStanding(
            id_,
            news.name,
            news.language,
            news.status,
            news.at,
            news.reason,
            sendable=news.status not in BLOCKING,
        )
        for id_ in devices
    ]


def _quality(news: QualityNews, devices: KnownDevices) -> list[Standing]:
    """Only the phone is named, which is known here once it was read."""
    return [
        Standing(
            id_, news.at, news.quality, news.messaging_limit, recipients_of(news.messaging_limit)
        )
        for id_, settings in devices.items()
        if settings.get("phone", news.phone) == news.phone
    ]
