"""The bus carries commands, callbacks and events between the roles: two kinds, one promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.bus.delivery import Delivery

__all__ = [
    "Bus",
    "Consumer",
    "Delivery",
    "Handler",
    "Outgoing",
    "PublishFailed",
    "PublishTimeout",
    "QueueMissing",
    "Refused",
    "Unroutable",
    "count_safe",
]

Handler = Callable[[Delivery], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish; `mandatory` means that having no queue to go to is an error."""

    exchange: str
    routing_key: str
    body: bytes
    type: str
    message_id: str | None = None  # None: the bus makes one up
    correlation_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    mandatory: bool = True


class PublishFailed(Exception):
    """No word that the message is safe: publish it again under the same `message_id`."""


class Unroutable(PublishFailed):
    """No queue is bound for the message: it is nowhere."""


class Refused(PublishFailed):
    """The broker refused the message: it is nowhere."""


class PublishTimeout(PublishFailed):
    """No answer in time: the message may still arrive."""


class QueueMissing(Exception):
    """There is no such queue: `hantar migrate` has not run, or somebody deleted it."""


class Consumer(Protocol):
    """One registered handler."""

    async def stop(self) -> None:
        """Take no more deliveries once this returns; those in hand may still be settled."""

    async def close(self) -> None:
        """Stop, cancel handlers still running, give what is unsettled back in order, in front."""


class Bus(Protocol):
    """Messages in, deliveries out, each at least once."""

    @property
    def connected(self) -> bool:
        """Whether a message published now can be expected to arrive."""

    async def publish(self, message: Outgoing) -> None:
        """Return when the message can no longer be lost, or raise `PublishFailed`."""

    async def publish_in_order(self, messages: Sequence[Outgoing]) -> int:
        """Publish these together; answers how many of them, from the first on, are safe.

        Raises `PublishFailed` when the first is not. None arrives unless all before it do or were
        refused one by one: published again from the first unsafe one on, each arrives for the first
        time after those before it.
        """

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumer:
        """Hand each delivery to `handler`, at most `prefetch` unsettled at once.

        The handler settles it, in time or later; one that raises has it requeued, so that the
        queue's delivery limit bounds the attempts. The handler must not wait for what is slow.
        """

    async def close(self) -> None:
        """Close the consumers and the connections; publishers still waiting get `PublishFailed`."""


def count_safe(outcomes: Sequence[BaseException | None]) -> int:
    """How many publishes succeeded, up to the first that failed; raises that if it is the first."""
    safe = next((n for n, outcome in enumerate(outcomes) if outcome is not None), len(outcomes))
    failure = outcomes[safe] if safe < len(outcomes) else None
    if safe == 0 and failure is not None:
        raise failure
    return safe
