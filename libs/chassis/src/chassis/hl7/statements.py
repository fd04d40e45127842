"""The SQL of the journal: every received HL7 message and its outcome."""

from typing import Final

from chassis.store.names import CHASSIS

journal = CHASSIS.Hl7Journal

CLAIM: Final = f"""
INSERT INTO {journal} ({journal.id}, {journal.sender}, {journal.control_id}, {journal.digest}, {journal.type},
    {journal.raw}, {journal.state}, {journal.received_at}, {journal.processed_at})
SELECT {journal.id}, {journal.sender}, {journal.control_id}, {journal.digest}, {journal.type}, {journal.raw},
    'accepted', {journal.received_at}, clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::timestamptz[])
    AS asked ({journal.id}, {journal.sender}, {journal.control_id}, {journal.digest}, {journal.type},
        {journal.raw}, {journal.received_at})
ORDER BY {journal.sender}, {journal.control_id}, {journal.digest}
ON CONFLICT ({journal.sender}, {journal.control_id}, {journal.digest}) DO UPDATE SET
    {journal.repeats} = {journal}.{journal.repeats} + 1
RETURNING {journal.id}, {journal.sender}, {journal.control_id}, {journal.digest}, {journal.state},
    {journal.repeats} > 0 AS known, EXISTS (
    SELECT 1 FROM {journal} other
    WHERE other.{journal.sender} = {journal}.{journal.sender}
      AND other.{journal.control_id} = {journal}.{journal.control_id}
      AND other.{journal.digest} <> {journal}.{journal.digest}
) AS other_content
"""

FORGET: Final = f"DELETE FROM {journal} WHERE {journal.id} = ANY($1::uuid[]) AND {journal.repeats} = 0"

KEEP_OUTCOMES: Final = f"""
UPDATE {journal} j SET {journal.state} = k.{journal.state}, {journal.reason} = k.{journal.reason},
    {journal.setting} = k.{journal.setting}, {journal.processed_at} = clock_timestamp(),
    {journal.terms} = COALESCE(string_to_array(k.{journal.terms}, E'\\n'), j.{journal.terms}),
    {journal.edited_from} = COALESCE(k.{journal.edited_from}, j.{journal.edited_from})
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[])
    AS k ({journal.id}, {journal.state}, {journal.reason}, {journal.setting}, {journal.terms}, {journal.edited_from})
WHERE j.{journal.id} = k.{journal.id}
"""

REPLACED: Final = f"""
UPDATE {journal} SET {journal.state} = 'dropped', {journal.setting} = NULL, {journal.processed_at} = clock_timestamp(),
    {journal.reason} = 'an edited copy was processed in its place'
WHERE {journal.id} = $1 AND {journal.state} IN ('needs_setup', 'failed', 'rejected')
"""

REJECT: Final = f"""
INSERT INTO {journal} ({journal.id}, {journal.sender}, {journal.control_id}, {journal.digest}, {journal.type},
    {journal.raw}, {journal.state}, {journal.reason}, {journal.received_at}, {journal.processed_at}, {journal.terms})
VALUES ($1, $2, $3, $4, $5, $6, 'rejected', $7, $8, clock_timestamp(), string_to_array($9, E'\\n'))
ON CONFLICT ({journal.sender}, {journal.control_id}, {journal.digest}) DO UPDATE SET
    {journal.repeats} = {journal}.{journal.repeats} + 1
RETURNING {journal.id}, {journal.repeats} > 0 AS known
"""

KEEP_LARGE: Final = f"UPDATE {journal} SET {journal.raw} = lo_get($2) WHERE {journal.id} = $1"
