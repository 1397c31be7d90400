"""Celery: a process for each core, its default; what its page "Optimizing" says of short tasks: a
prefetch of 64 each; no results, late acknowledgements, no gossip, mingling or heartbeats."""

from __future__ import annotations

from celery import Celery

from tests.bench.rivals.sending import AMQP_URL, Item, blocking, enqueue_blocking

app = Celery("rivals", broker=AMQP_URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=64,
    broker_transport_options={"confirm_publish": True},
)


@app.task(name="send")  # whichever program it is in
def send(id_: int, phone: str, text: str) -> None:
    blocking().send(id_, phone, text)


def publish(items: list[Item]) -> None:
    with app.producer_or_acquire() as producer:
        for item in items:
            send.apply_async(item, producer=producer)


if __name__ == "__main__":
    enqueue_blocking(publish)
