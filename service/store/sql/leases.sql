-- name: leave
-- Stop being counted, and free what is still held.
WITH gone AS (DELETE FROM workers WHERE name = $1)
UPDATE shard_leases SET owner = NULL, beat = beat + 1 WHERE owner = $1

-- name: beat
-- Say "alive" for a worker and the leases it serves; answers those it still has. A lease that it
-- holds only on paper falls silent, and is taken by whoever has room for it.
WITH alive AS (
    INSERT INTO workers (name, beat) VALUES ($1, 1)
    ON CONFLICT (name) DO UPDATE SET beat = workers.beat + 1
)
UPDATE shard_leases SET beat = beat + 1 WHERE owner = $1 AND shard = ANY($2::int[])
RETURNING shard, epoch

-- name: leases
-- Every lease.
SELECT shard, owner, epoch, beat FROM shard_leases ORDER BY shard

-- name: workers
-- Every worker that entered and did not leave.
SELECT name, beat FROM workers

-- name: forget_worker
-- Drop a worker that stopped beating, unless it beat meanwhile.
DELETE FROM workers WHERE name = $1 AND beat = $2

-- name: take
-- Take a lease whose beat has not moved since it was looked at; a new epoch begins.
UPDATE shard_leases SET owner = $1, epoch = epoch + 1, beat = beat + 1
WHERE shard = $2 AND epoch = $3 AND beat = $4
RETURNING epoch

-- name: release
-- Give a lease back.
UPDATE shard_leases SET owner = NULL, beat = beat + 1
WHERE shard = $1 AND epoch = $2 AND owner = $3

-- name: free_all
-- Nobody owns anything: for a start that knows that no other process is there.
WITH gone AS (DELETE FROM workers)
UPDATE shard_leases SET owner = NULL, beat = beat + 1 WHERE owner IS NOT NULL
