"""The SQL of the room: transactions, the store's identity, and housekeeping."""

from typing import Final

from chassis.store.names import CHASSIS

outbox = CHASSIS.Outbox
deliveries = CHASSIS.Deliveries
audit = CHASSIS.OperatorAudit
identity = CHASSIS.StoreIdentity
inbox = CHASSIS.Inbox
journal = CHASSIS.Hl7Journal
letters = CHASSIS.DeadLetters
timers = CHASSIS.Timers

WRITE_OUTBOX: Final = f"""
INSERT INTO {outbox} ({outbox.topic}, {outbox.aggregate_id}, {outbox.revision}, {outbox.message_id},
    {outbox.value}, {outbox.headers}, {outbox.traceparent})
SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::uuid[], $5::bytea[], $6::text[], $7::text[])
"""

# Two lines would let an older word about one thing overtake a newer one. It waits for rows that are being
# marked done.
JOIN_LINES: Final = f"""
UPDATE {deliveries} SET {deliveries.key} = joined.{deliveries.key}
FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS joined ({deliveries.destination}, former, {deliveries.key})
WHERE {deliveries}.{deliveries.destination} = joined.{deliveries.destination}
    AND {deliveries}.{deliveries.key} = joined.former AND {deliveries}.{deliveries.state} IN ('pending', 'dead')
"""

WRITE_DELIVERIES: Final = f"""
INSERT INTO {deliveries} ({deliveries.id}, {deliveries.destination}, {deliveries.key}, {deliveries.kind},
    {deliveries.payload}, {deliveries.headers}, {deliveries.idempotency_key}, {deliveries.traceparent},
    {deliveries.subject})
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[],
    $8::text[], $9::uuid[])
ON CONFLICT ({deliveries.destination}, {deliveries.idempotency_key}) DO NOTHING
"""

WRITE_AUDIT: Final = f"""
INSERT INTO {audit} ({audit.actor}, {audit.action}, {audit.subject}, {audit.detail})
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
"""

READ_IDENTITY: Final = f"""
SELECT {identity.service}, {identity.belongs_to}, {identity.incarnation}, {identity.epoch}, {identity.compared_to},
    {identity.recovery_began_at}, {identity.created_at} FROM {identity}
"""

FOUND: Final = f"""
INSERT INTO {identity} ({identity.service}, {identity.belongs_to}, {identity.incarnation})
VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""

COMPLETE: Final = f"UPDATE {identity} SET {identity.belongs_to} = $1"

ADOPT: Final = f"""
UPDATE {identity} SET {identity.service} = $1, {identity.belongs_to} = $2, {identity.compared_to} = $3,
    {identity.epoch} = {identity.epoch} + $4, {identity.recovery_began_at} = NULL
"""

BEAT: Final = f"UPDATE {identity} SET {identity.beat} = {identity.beat} + 1 RETURNING {identity.beat}"

BEGIN_RECOVERY: Final = f"""
UPDATE {identity} SET {identity.recovery_began_at} = coalesce({identity.recovery_began_at}, clock_timestamp())
"""

# A row whose revision is not newer than the known one is late, also after the timer has fired or was cancelled. A
# subquery with LIMIT uses the primary key; a join might read the whole table.
WRITE_TIMERS: Final = f"""
INSERT INTO {timers} ({timers.kind}, {timers.key}, {timers.name}, {timers.revision}, {timers.state},
    {timers.due_at}, {timers.next_attempt_at}, {timers.payload}, {timers.traceparent}, {timers.settled_at})
SELECT {timers.kind}, {timers.key}, {timers.name}, {timers.revision},
    CASE WHEN {timers.due_at} IS NULL THEN 'cancelled' ELSE 'waiting' END,
    coalesce({timers.due_at}, clock_timestamp()), coalesce({timers.due_at}, clock_timestamp()), {timers.payload},
        {timers.traceparent},
    CASE WHEN {timers.due_at} IS NULL THEN clock_timestamp() END
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::timestamptz[], $6::text[], $7::text[])
    AS word ({timers.kind}, {timers.key}, {timers.name}, {timers.revision}, {timers.due_at}, {timers.payload},
        {timers.traceparent})
WHERE coalesce((
    SELECT known.{timers.revision} FROM {timers} known WHERE (known.{timers.kind}, known.{timers.key},
        known.{timers.name}) = (word.{timers.kind}, word.{timers.key}, word.{timers.name})
    ORDER BY known.{timers.revision} DESC LIMIT 1
), -1) < word.{timers.revision}
ON CONFLICT DO NOTHING
"""

# A row that a worker holds is left to the worker. A handler must not wait for it: the worker may wait for the aggregate
# that the handler has locked.
FORGET_OLDER_TIMERS: Final = f"""
DELETE FROM {timers} WHERE ctid = ANY (ARRAY(
    SELECT older.ctid FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[]) AS word ({timers.kind},
        {timers.key}, {timers.name}, {timers.revision})
    CROSS JOIN LATERAL (
        SELECT known.ctid FROM {timers} known
        WHERE (known.{timers.kind}, known.{timers.key}, known.{timers.name}) = (word.{timers.kind},
            word.{timers.key}, word.{timers.name}) AND known.{timers.revision} < word.{timers.revision}
        FOR UPDATE SKIP LOCKED
    ) AS older
))
"""

# Each statement finds the oldest deletable rows by an index, so a turn costs the same in a table of any size. now(),
# because clock_timestamp() differs from row to row and cannot use an index. By ctid: a join could read the whole table.
DELETE_OLD: Final = {
    str(outbox): f"""
        DELETE FROM {outbox} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {outbox} WHERE {outbox.sent_at} < now() - $1 * interval '1 day'
            ORDER BY {outbox.sent_at} LIMIT $2
        ))""",
    str(deliveries): f"""
        DELETE FROM {deliveries} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {deliveries}
            WHERE {deliveries.state} IN ('done', 'dropped') AND {deliveries.done_at} < now() - $1 * interval '1 day'
            ORDER BY {deliveries.done_at} LIMIT $2
        ))""",
    str(inbox): f"""
        DELETE FROM {inbox} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {inbox} WHERE {inbox.received_at} < now() - $1 * interval '1 day'
            ORDER BY {inbox.received_at} LIMIT $2
        ))""",
    str(journal): f"""
        DELETE FROM {journal} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {journal}
            WHERE {journal.state} NOT IN ('needs_setup', 'failed')
                AND {journal.processed_at} < now() - $1 * interval '1 day'
            ORDER BY {journal.processed_at} LIMIT $2
        ))""",
    str(letters): f"""
        DELETE FROM {letters} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {letters}
            WHERE {letters.state} <> 'open' AND {letters.settled_at} < now() - $1 * interval '1 day'
            ORDER BY {letters.settled_at} LIMIT $2
        ))""",
    # An older row of the same timer goes first; left alone it would count again. A dead row with a newer row has no
    # use.
    str(timers): f"""
        DELETE FROM {timers} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {timers} t
            WHERE {timers.state} IN ('fired', 'cancelled')
                AND {timers.settled_at} < now() - $1 * interval '1 day' AND {timers.revision} = (
                SELECT known.{timers.revision} FROM {timers} known
                WHERE (known.{timers.kind}, known.{timers.key}, known.{timers.name}) = (t.{timers.kind},
                    t.{timers.key}, t.{timers.name}) ORDER BY known.{timers.revision} LIMIT 1
            )
            ORDER BY {timers.settled_at} LIMIT $2
        )) OR ctid = ANY (ARRAY(
            SELECT ctid FROM {timers} t WHERE {timers.state} = 'dead' AND {timers.revision} < (
                SELECT known.{timers.revision} FROM {timers} known
                WHERE (known.{timers.kind}, known.{timers.key}, known.{timers.name}) = (t.{timers.kind},
                    t.{timers.key}, t.{timers.name})
                ORDER BY known.{timers.revision} DESC LIMIT 1
            )
        ))""",
}
