"""Dramatiq: two processes of eight threads, its defaults on two cores, with confirms."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.bench.rivals.sending import AMQP_URL, Item, blocking, enqueue_blocking

broker = RabbitmqBroker(url=AMQP_URL, confirm_delivery=True)
dramatiq.set_broker(broker)


@dramatiq.actor
def send(id_: int, phone: str, text: str) -> None:
    blocking().send(id_, phone, text)


def publish(items: list[Item]) -> None:
    dramatiq.group(send.message(*item) for item in items).run()


if __name__ == "__main__":
    enqueue_blocking(publish)
