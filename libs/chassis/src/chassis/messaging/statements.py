"""The SQL of the room: the service's own statements for each message, batch and turn of a loop."""

from typing import Final

from chassis.store.names import CHASSIS

BATCH_ROWS: Final = 1000
"""Events that the relay sends in one turn."""
LARGEST_TURN: Final = 20
"""Messages of a parked line that share a transaction. A larger number would hold rows longer that other keys need."""
OVERTAKING_SECONDS: Final = 60.0
"""An event that a later one overtook arrives within this time."""
SENT_LOOKED_AT: Final = 1000
"""How many of the newest sent events are compared with what Kafka holds."""

inbox = CHASSIS.Inbox
outbox = CHASSIS.Outbox
letters = CHASSIS.DeadLetters
keys = CHASSIS.ParkedKeys
parked = CHASSIS.ParkedMessages
positions = CHASSIS.ConsumerPositions
missed = CHASSIS.MissedRecords
gaps = CHASSIS.RevisionGaps

# ``earlier``: the unsent rows before $1.
UNSENT: Final = f"""
SELECT {outbox.id}, {outbox.topic}, convert_to({outbox.aggregate_id}::text, 'UTF8') AS key, {outbox.value},
    {outbox.headers}, {outbox.traceparent},
    {outbox.created_at}, coalesce({outbox.resend_at}, {outbox.created_at}) AS due_at,
    (SELECT count(*) FROM {outbox} WHERE {outbox.sent_at} IS NULL AND {outbox.id} <= $1) AS earlier
FROM {outbox} WHERE {outbox.sent_at} IS NULL AND {outbox.id} > $1 ORDER BY {outbox.id} LIMIT {BATCH_ROWS}
"""

# Rows that Kafka has acknowledged and the store has not marked. The time tells a row from another one of the same
# number, after the store was set back meanwhile.
MARK_SENT_LATE: Final = f"""
UPDATE {outbox} SET {outbox.sent_at} = clock_timestamp()
FROM unnest($1::bigint[], $2::timestamptz[]) AS sent ({outbox.id}, {outbox.created_at})
WHERE {outbox}.{outbox.id} = sent.{outbox.id} AND {outbox}.{outbox.created_at} = sent.{outbox.created_at}
    AND {outbox.sent_at} IS NULL
"""

MARK_NOTHING: Final = f"""
UPDATE {outbox} SET {outbox.sent_at} = NULL
WHERE {outbox.id} = (SELECT {outbox.id} FROM {outbox} WHERE {outbox.sent_at} IS NULL ORDER BY {outbox.id} LIMIT 1)
"""

MARK_SENT: Final = f"UPDATE {outbox} SET {outbox.sent_at} = clock_timestamp() WHERE {outbox.id} = ANY($1::bigint[])"

# The oldest row is the first of its index, so counting reads nothing but the index.
WAITING_IN_OUTBOX: Final = f"""
SELECT
    (SELECT count(*) FROM {outbox} WHERE {outbox.sent_at} IS NULL) AS unsent,
    coalesce((
        SELECT extract(epoch FROM clock_timestamp() - coalesce({outbox.resend_at}, {outbox.created_at}))
        FROM {outbox} WHERE {outbox.sent_at} IS NULL ORDER BY {outbox.id} LIMIT 1
    ), 0)::float8 AS age
"""

# By the unique (aggregate_id, revision): message_id stands in no index.
IN_OUTBOX: Final = f"""
SELECT o.{outbox.aggregate_id}, o.{outbox.revision}, o.{outbox.message_id}, o.{outbox.id} FROM {outbox} o
JOIN unnest($1::uuid[], $2::int[]) AS asked ({outbox.aggregate_id}, {outbox.revision})
ON o.{outbox.aggregate_id} = asked.{outbox.aggregate_id} AND o.{outbox.revision} = asked.{outbox.revision}
"""

# Before the first waiting row, so that a backlog of a million rows is not scanned.
NEWEST_SENT: Final = f"""
SELECT {outbox.id}, {outbox.topic}, convert_to({outbox.aggregate_id}::text, 'UTF8') AS key FROM {outbox}
WHERE {outbox.sent_at} IS NOT NULL AND {outbox.id} < coalesce(
    (SELECT {outbox.id} FROM {outbox} WHERE {outbox.sent_at} IS NULL ORDER BY {outbox.id} LIMIT 1), {2**63 - 1}
) ORDER BY {outbox.id} DESC LIMIT {SENT_LOOKED_AT}
"""

HANDLED: Final = f"""
SELECT {inbox.message_id} FROM {inbox} WHERE {inbox.consumer} = $1 AND {inbox.message_id} = ANY($2::uuid[])
UNION ALL
SELECT {letters.message_id} FROM {letters} WHERE {letters.consumer} = $1 AND {letters.message_id} = ANY($2::uuid[])
UNION ALL
SELECT {parked.message_id} FROM {parked} WHERE {parked.consumer} = $1 AND {parked.message_id} = ANY($2::uuid[])
"""

# A dead letter is no claim, so that it can be replayed. Its record may be read again, and is not handled again.
CLAIM: Final = f"""
INSERT INTO {inbox} ({inbox.consumer}, {inbox.message_id}) SELECT $1, id FROM unnest($2::uuid[]) AS asked (id)
WHERE NOT EXISTS (
    SELECT 1 FROM {letters}
    WHERE {letters.consumer} = $1 AND {letters.message_id} = asked.id AND {letters.state} <> 'replayed'
)
ON CONFLICT DO NOTHING RETURNING {inbox.message_id}
"""

FOR_A_PERSON: Final = f"""
SELECT
    (SELECT count(*) FROM {letters} WHERE {letters.consumer} = $1 AND {letters.state} = 'open') AS dead_letters,
    (SELECT count(*) FROM {missed}
        WHERE {missed.consumer} = $1 AND {missed.acknowledged_at} IS NULL) AS missed_records,
    (SELECT count(*) FROM {gaps} WHERE {gaps.consumer} = $1 AND {gaps.counted_at} IS NOT NULL) AS revision_gaps
"""

RELEASE: Final = f"DELETE FROM {inbox} WHERE {inbox.consumer} = $1 AND {inbox.message_id} = ANY($2::uuid[])"

# A record that is read again from its place has its letter already, also a dropped one. After the topic was made anew,
# another record may come from the same place: its letter has no offset, because the place is taken.
KEEP_DEAD_LETTERS: Final = f"""
INSERT INTO {letters}
    ({letters.id}, {letters.consumer}, {letters.kind}, {letters.reason}, {letters.topic}, {letters.partition},
    {letters.kafka_offset}, {letters.message_id}, {letters.key}, {letters.value}, {letters.headers}, {letters.attempts})
SELECT {letters.id}, $1, {letters.kind}, {letters.reason}, {letters.topic}, {letters.partition},
    CASE WHEN NOT EXISTS (
        SELECT 1 FROM {letters} l WHERE (l.{letters.consumer}, l.{letters.topic}, l.{letters.partition},
            l.{letters.kafka_offset})
            = ($1, failed.{letters.topic}, failed.{letters.partition}, failed.{letters.kafka_offset})
            AND l.{letters.state} = 'open' AND l.{letters.value} IS DISTINCT FROM failed.{letters.value}
    ) THEN {letters.kafka_offset} END, {letters.message_id}, {letters.key}, {letters.value}, {letters.headers}, 1
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::uuid[], $9::bytea[],
    $10::bytea[], $11::text[])
    AS failed ({letters.id}, {letters.kind}, {letters.reason}, {letters.topic}, {letters.partition},
        {letters.kafka_offset}, {letters.message_id}, {letters.key}, {letters.value}, {letters.headers})
WHERE NOT EXISTS (
    SELECT 1 FROM {letters} l WHERE (l.{letters.consumer}, l.{letters.topic}, l.{letters.partition},
        l.{letters.kafka_offset})
        = ($1, failed.{letters.topic}, failed.{letters.partition}, failed.{letters.kafka_offset})
        AND l.{letters.state} <> 'replayed' AND l.{letters.value} IS NOT DISTINCT FROM failed.{letters.value}
)
ON CONFLICT ({letters.consumer}, {letters.topic}, {letters.partition}, {letters.kafka_offset})
    WHERE {letters.kafka_offset} IS NOT NULL AND {letters.state} = 'open' DO NOTHING
"""

HOLD_KEYS: Final = f"""
SELECT {keys.key} FROM {keys} WHERE {keys.consumer} = $1 AND {keys.key} = ANY($2::uuid[])
ORDER BY {keys.key} FOR KEY SHARE
"""

PARK_KEYS: Final = f"""
INSERT INTO {keys} ({keys.consumer}, {keys.key}, {keys.reason}, {keys.attempts}, {keys.next_attempt_at})
SELECT $1, {keys.key}, {keys.reason}, 1, clock_timestamp() + pause * interval '1 second'
FROM unnest($2::uuid[], $3::text[], $4::float8[]) AS failed ({keys.key}, {keys.reason}, pause)
ON CONFLICT ({keys.consumer}, {keys.key}) DO NOTHING RETURNING {keys.key}
"""

PARK_MESSAGES: Final = f"""
INSERT INTO {parked} ({parked.consumer}, {parked.key}, {parked.message_id}, {parked.topic}, {parked.partition},
    {parked.kafka_offset}, {parked.value}, {parked.headers})
SELECT $1, {parked.key}, {parked.message_id}, {parked.topic}, {parked.partition}, {parked.kafka_offset},
    {parked.value}, {parked.headers}
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::bigint[], $7::bytea[], $8::text[])
    WITH ORDINALITY AS waiting ({parked.key}, {parked.message_id}, {parked.topic}, {parked.partition},
        {parked.kafka_offset}, {parked.value}, {parked.headers}, place)
ORDER BY place ON CONFLICT ({parked.consumer}, {parked.message_id}) DO NOTHING
"""

TAKE_KEY: Final = f"""
SELECT {keys.key}, {keys.attempts} FROM {keys}
WHERE {keys.consumer} = $1 AND {keys.next_attempt_at} <= clock_timestamp()
ORDER BY {keys.next_attempt_at} LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""

LINE_OF_KEY: Final = f"""
SELECT {parked.sequence}, {parked.message_id}, {parked.topic}, {parked.partition}, {parked.kafka_offset},
    {parked.value}, {parked.headers}
FROM {parked} WHERE {parked.consumer} = $1 AND {parked.key} = $2 ORDER BY {parked.sequence} LIMIT {LARGEST_TURN}
"""

TRY_KEY_LATER: Final = f"""
UPDATE {keys} SET {keys.attempts} = {keys.attempts} + $3, {keys.reason} = coalesce($4, {keys.reason}),
    {keys.next_attempt_at} = clock_timestamp() + $5 * interval '1 second'
WHERE {keys.consumer} = $1 AND {keys.key} = $2
"""

# Two statements: the second sees the commits of transactions that held the key before the first got it.
HAVE_KEY_ALONE: Final = f"""
SELECT {keys.key} FROM {keys} WHERE {keys.consumer} = $1 AND {keys.key} = $2 FOR UPDATE SKIP LOCKED
"""

UNPARK: Final = f"""
DELETE FROM {keys} k WHERE {keys.consumer} = $1 AND {keys.key} = $2
    AND NOT EXISTS (
        SELECT 1 FROM {parked} m WHERE m.{parked.consumer} = k.{keys.consumer} AND m.{parked.key} = k.{keys.key}
    )
"""

PARKED_KEYS: Final = f"""
SELECT count(*) AS parked,
    extract(epoch FROM min({keys.next_attempt_at}) - clock_timestamp())::float8 AS due_in_seconds
FROM {keys} WHERE {keys.consumer} = $1
"""

# Never backwards within one topic: the partition's former owner may commit its last batch late.
MOVE_POSITIONS: Final = f"""
INSERT INTO {positions} AS known ({positions.consumer}, {positions.topic}, {positions.partition},
    {positions.topic_id}, {positions.next_offset}, {positions.last_record})
SELECT $1, * FROM unnest($2::text[], $3::int[], $4::uuid[], $5::bigint[], $6::bytea[])
ON CONFLICT ({positions.consumer}, {positions.topic}, {positions.partition}) DO UPDATE SET
    {positions.topic_id} = excluded.{positions.topic_id},
    {positions.next_offset} = excluded.{positions.next_offset},
    {positions.last_record} = excluded.{positions.last_record}, {positions.moved_at} = clock_timestamp()
WHERE known.{positions.topic_id} <> excluded.{positions.topic_id}
    OR known.{positions.next_offset} < excluded.{positions.next_offset}
"""

POSITIONS: Final = f"""
SELECT {positions.topic}, {positions.partition}, {positions.topic_id}, {positions.next_offset},
    {positions.last_record}, {positions.moved_at} FROM {positions}
WHERE {positions.consumer} = $1
    AND ({positions.topic}, {positions.partition}) IN (SELECT * FROM unnest($2::text[], $3::int[]))
"""

# One process reports the gap: the process that finds the position unchanged since it was read.
SET_POSITION: Final = f"""
UPDATE {positions} SET {positions.topic_id} = $6, {positions.next_offset} = $7, {positions.last_record} = NULL,
    {positions.moved_at} = clock_timestamp()
WHERE {positions.consumer} = $1 AND {positions.topic} = $2 AND {positions.partition} = $3
    AND {positions.topic_id} = $4 AND {positions.next_offset} = $5 RETURNING {positions.topic}
"""

KEEP_MISSED: Final = f"""
INSERT INTO {missed} ({missed.id}, {missed.consumer}, {missed.topic}, {missed.partition}, {missed.kind},
    {missed.first_offset}, {missed.number}, {missed.handled_until})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

# The consumer should know an unknown aggregate only if the aggregate is younger than the consumer: older events may
# have expired on Kafka before.
OPEN_GAPS: Final = f"""
INSERT INTO {gaps} ({gaps.consumer}, {gaps.aggregate_id}, {gaps.revision}, {gaps.type})
SELECT $1, {gaps.aggregate_id}, {gaps.revision}, {gaps.type}
FROM unnest($2::uuid[], $3::int[], $4::text[], $5::timestamptz[])
    AS gap ({gaps.aggregate_id}, {gaps.revision}, {gaps.type}, made_at)
WHERE made_at IS NULL OR made_at > (SELECT min({positions.began_at}) FROM {positions} WHERE {positions.consumer} = $1)
ON CONFLICT DO NOTHING
"""

CLOSE_GAPS: Final = f"""
DELETE FROM {gaps} WHERE {gaps.consumer} = $1
    AND ({gaps.aggregate_id}, {gaps.revision}) IN (SELECT * FROM unnest($2::uuid[], $3::int[]))
"""

COUNT_GAPS: Final = f"""
UPDATE {gaps} SET {gaps.counted_at} = clock_timestamp()
WHERE {gaps.consumer} = $1 AND {gaps.counted_at} IS NULL
    AND {gaps.noticed_at} < clock_timestamp() - interval '{OVERTAKING_SECONDS} seconds'
RETURNING {gaps.aggregate_id}, {gaps.revision}, {gaps.type}
"""

COUNT_DEAD_LETTERS: Final = f"SELECT count(*) FROM {letters} WHERE {letters.consumer} = $1 AND {letters.state} = 'open'"

FORGET_PARKED: Final = f"DELETE FROM {parked} WHERE {parked.sequence} = $1"
