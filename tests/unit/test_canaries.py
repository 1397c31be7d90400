from __future__ import annotations

import pytest

from tests.canaries import Canaries


@pytest.fixture
def canaries() -> Canaries:
    made = Canaries()
    made.phones = {"60123456789"}
    made.texts = {"your parcel 00 is here"}
    return made


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"to": "+60123456789", "event": "sent"}', "the phone 60123456789"),
        ("KeyError: 60123456789", "the phone 60123456789"),
        ('{"error": "bad: your parcel 17 is here"}', "the text"),
        (f"Authorization hantar_live_{'x' * 40}", "the secret hantar_live_"),
        ("cannot reach amqp://shop:p4ss@mq/hantar", "the secret"),
    ],
)
def test_what_was_logged_of_people_and_keys_is_found_with_its_place(
    canaries: Canaries, line: str, what: str
) -> None:
    canaries.read(f"all is well\n{line}\n", "some test")
    [leak] = canaries.found()
    assert leak.startswith(what)
    assert leak.endswith(f"in some test: {line}")


def test_ids_and_masked_secrets_are_no_canaries(canaries: Canaries) -> None:
    canaries.read('{"message_id": 601234567890, "url": "amqp://shop:***@mq/", "seconds": 1}', "t")
    assert canaries.found() == []
