"""An upstream service gone mad: `python -m tests.acceptance.flooder URL USER ACCOUNT SECONDS`.

Publishes garbage of many kinds as fast as the broker takes it, and prints how much it was.
"""

from __future__ import annotations

import sys
import time

import pika

TYPE = "hantar.message.send.v1"


def main(url: str, user: str, account: int, seconds: float) -> None:
    """Publish for so long."""
    good = {"user_id": user, "type": TYPE, "content_type": "application/json", "message_id": "f"}
    faulty = b'{"account": %d, "phone": "nope", "body": "Hi"}' % account
    kinds = [
        (b"garbage", {}),
        (b'{"account":', good),
        (b'{"account": 999999999, "phone": "0123456789", "body": "Hi"}', good),
        (b"[" * 2000, good),
        (b"{}", good | {"type": "hantar.message.send.v9"}),
        (b" " * 70_000, good),
        (b'{"phone": "0123456789", "body": "Hi"}', good),
        # These two are commands, and refused in an answer each.
        (faulty, good),
        (faulty, None),
    ]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for body, given in kinds:
            properties = given or good | {"message_id": f"f-{count}"}
            channel.basic_publish(
                "hantar.commands", "message.send", body, pika.BasicProperties(**properties)
            )
            count += 1
    connection.close()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
