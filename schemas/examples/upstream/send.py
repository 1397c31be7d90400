"""Publish one message and hear what becomes of it; written from asyncapi.yaml alone.

pip install pika
AMQP_URL=amqp://shop:…@localhost:5672/%2F python send.py ACCOUNT PHONE TEXT
"""

from __future__ import annotations

import json
import os
import sys
import uuid

import pika


def main(account: int, phone: str, text: str) -> None:
    """Print the answer, then each event of the message until it has arrived or failed."""
    address = pika.URLParameters(os.environ["AMQP_URL"])
    user, message_id = address.credentials.username, f"example-{uuid.uuid4()}"
    with pika.BlockingConnection(address) as connection:
        channel = connection.channel()
        channel.confirm_delivery()  # what the broker has not confirmed is published again
        channel.basic_publish(
            "hantar.commands",
            f"message.send.{user}",
            json.dumps({"account": account, "phone": phone, "body": text}),
            pika.BasicProperties(
                message_id=message_id,
                user_id=user,
                type="hantar.message.send.v1",
                content_type="application/json",
                delivery_mode=2,
            ),
            mandatory=True,
        )
        mine: set[int] = set()
        for method, properties, body in channel.consume(f"hantar.events.{user}"):
            event = json.loads(body)
            if properties.correlation_id == message_id:
                print(method.routing_key, event)
                mine = {item["id"] for item in event.get("queued", [])}
            told = [each for each in event.get("events", []) if each["message_id"] in mine]
            for each in told:
                print(each["seq"], each["status"], each["error"] or "")
            channel.basic_ack(method.delivery_tag)
            if method.routing_key == "command.rejected" or any(
                each["status"] in ("delivered", "read", "failed", "skipped") for each in told
            ):
                break


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
