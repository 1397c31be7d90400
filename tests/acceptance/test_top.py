from __future__ import annotations

from service.store.pool import Pool
from tests.acceptance.processes import Processes
from tests.database import SHARDS
from tests.system import make_account

SENT = """
INSERT INTO messages (account_id, device_id, phone, body, status, priority, created_at, sent_at,
        error_code)
    SELECT $1, $2, '+60123456789', 'hello', status::message_status, 1, now() - age, sent_at, error
    FROM (VALUES
        ('sent', interval '9 s', now(), NULL), ('sent', interval '9 s', now(), NULL),
        ('queued', interval '42 s', NULL, NULL), ('failed', interval '9 s', NULL, 'not_on_whatsapp')
    ) m (status, age, sent_at, error)
"""


async def test_it_shows_what_devices_do_and_what_waits(
    dsn: str, pool: Pool, processes: Processes
) -> None:
    busy = await make_account(pool, per_second=2)
    paused = await make_account(pool)
    await pool.execute("UPDATE devices SET name = '[b]Kedai[/b]' WHERE id = $1", busy.device_id)
    await pool.execute("UPDATE devices SET paused = true WHERE id = $1", paused.device_id)
    await pool.execute(SENT, busy.id, busy.device_id)
    await pool.execute(
        "INSERT INTO parked (message_id, device_id, priority, not_before, reason)"
        " VALUES (1, $1, 1, now(), 'behind')",
        paused.device_id,
    )
    processes.environment |= {
        "HANTAR_DATABASE_URL": dsn,
        "HANTAR_AMQP_URL": "amqp://hantar@127.0.0.1:1/",
        "HANTAR_SHARDS": str(SHARDS),
        "COLUMNS": "80",
    }
    done = await processes.do("top", "--once")
    assert done.code == 0, done
    head, _, table = done.output.partition("\n\n")
    assert f"0 of {SHARDS} shards by 0 dispatcher(s)" in head
    assert "waiting now: paused 1" in head
    [_, first, second] = [line.split() for line in table.splitlines() if line.strip()]
    assert first[:4] == [str(busy.device_id), "[b]Kedai[/b]", "simulator", "ready"]
    assert {"0.4", "2.0", "20%", "not_on_whatsapp"} <= set(first)
    # sent 42 s before, and looked at a little later
    assert any(each.isdigit() and 42 <= int(each) < 60 for each in first[4:])
    assert second[3:5] == ["paused", "paused"]
