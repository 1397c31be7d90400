"""`hantar dead`, as an operator uses it in a shell."""

from __future__ import annotations

from tests.acceptance.processes import Processes
from tests.integration.upstream.foreign import Foreign
from tests.integration.upstream.test_poison import buried
from tests.system import Account, Hantar


async def test_dead_commands_are_listed_shown_and_dropped(
    hantar: Hantar, account: Account, upstream: Foreign, broker: str, dsn: str, processes: Processes
) -> None:
    processes.environment |= {"HANTAR_DATABASE_URL": dsn, "HANTAR_AMQP_URL": broker}
    for number in range(3):
        await upstream.publish("message.send", f"garbage {number}".encode(), f"dead-{number}")
    await buried(broker, 3)
    listed = (await processes.do("dead", "list", "--json")).json
    assert [each["message_id"] for each in listed] == ["dead-0", "dead-1", "dead-2"]
    assert {each["reason"] for each in listed} == {"invalid_json"}
    assert "garbage" not in str(listed)
    first, second, third = (each["id"] for each in listed)
    shown = await processes.do("dead", "show", second)
    assert shown.json["body"] == "garbage 1"
    missing = await processes.do("dead", "show", "nothing")
    assert (missing.code, missing.output) == (1, "")
    dropped = await processes.do("dead", "drop", first, "--yes", "--json")
    assert dropped.json == [{"id": first}]
    partly = await processes.do("dead", "drop", third, first, "--yes", "--json")
    assert partly.code == 1
    assert first in partly.error
    assert [each.id for each in await buried(broker)] == [second]
    for wrong in (("drop", "--yes"), ("drop", second, "--all", "--yes"), ("replay",)):
        assert (await processes.do("dead", *wrong)).code == 2
    unsure = await processes.do("dead", "drop", "--all")
    assert unsure.code == 1
    assert [each.id for each in await buried(broker)] == [second]
    table = await processes.do("dead", "list")
    assert second in table.output
