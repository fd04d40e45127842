"""The service's SQL, for each message, delivery and turn of a loop."""

from typing import Final

from chassis.store.aggregates import insert_many, upsert_many
from chassis.store.names import CHASSIS, names_in
from scheduler_sync.store import columns

_TABLES: Final = names_in("scheduler_sync.store.tables")
patients = _TABLES.Patients
identifiers = _TABLES.PatientIdentifiers
reviews = _TABLES.PatientReviews
links = _TABLES.AppointmentLinks
resources = _TABLES.Resources
resource_pairs = _TABLES.ResourcePairs
parked_tasks = _TABLES.ParkedTasks
cursors = _TABLES.FeedCursor
calendars = _TABLES.Calendars
claims = _TABLES.Claims
held = _TABLES.HeldSlots
blocks = _TABLES.BlockedTimes
deliveries = CHASSIS.Deliveries
inbox = CHASSIS.Inbox
journal = CHASSIS.Hl7Journal

_PATIENT: Final = ", ".join(columns.PATIENT)
_LINK: Final = ", ".join(columns.LINK)

WRITE_PATIENTS: Final = upsert_many(patients, columns.PATIENT, key=patients.id, arrays=columns.ARRAYS)

# The usual outcome of a message about a known patient: cheap while no index holds the column (a HOT update).
MOVE_HEARD_AT: Final = f"""
UPDATE {patients} SET {patients.heard_at} = given.{patients.heard_at}
FROM unnest($1::uuid[], $2::timestamptz[]) AS given ({patients.id}, {patients.heard_at})
WHERE {patients}.{patients.id} = given.{patients.id}
"""

WRITE_LINKS: Final = upsert_many(
    links, columns.LINK, key=links.id, arrays=columns.ARRAYS, extra=f"{links.updated_at} = now()"
)
WRITE_IDENTIFIERS: Final = insert_many(identifiers, columns.IDENTIFIER, arrays=columns.ARRAYS)
# The numbers of a record that has ended are the survivor's.
MOVE_IDENTIFIERS: Final = f"""
UPDATE {identifiers} SET {identifiers.patient_id} = given.{identifiers.patient_id},
    {identifiers.position} = given.{identifiers.position}
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::int[]) AS given ({identifiers.site},
    {identifiers.issuer}, {identifiers.value}, {identifiers.patient_id}, {identifiers.position})
WHERE {identifiers}.{identifiers.site} = given.{identifiers.site}
    AND {identifiers}.{identifiers.issuer} = given.{identifiers.issuer}
    AND {identifiers}.{identifiers.value} = given.{identifiers.value}
"""

WRITE_HISTORY: Final = insert_many(_TABLES.LinkHistory, columns.HISTORY, arrays=columns.ARRAYS)
WRITE_CONFLICTS: Final = insert_many(_TABLES.Conflicts, columns.CONFLICT, arrays=columns.ARRAYS)
PARK: Final = upsert_many(
    parked_tasks,
    columns.PARKED,
    key=parked_tasks.task_id,
    arrays=columns.ARRAYS,
    extra=f"{parked_tasks.replayed_at} = NULL",
)

LOCK_IDENTIFIED: Final = f"""
SELECT {_PATIENT} FROM {patients} WHERE {patients.id} IN (
    SELECT found.{identifiers.patient_id} FROM {identifiers} AS found
    JOIN unnest($2::text[], $3::text[]) AS asked ({identifiers.issuer}, {identifiers.value})
    ON found.{identifiers.issuer} = asked.{identifiers.issuer}
        AND found.{identifiers.value} = asked.{identifiers.value}
    WHERE found.{identifiers.site} = $1
) ORDER BY {patients.id} FOR UPDATE
"""

LOCK_PATIENTS: Final = f"""
SELECT {_PATIENT} FROM {patients} WHERE {patients.id} = ANY($1::uuid[]) ORDER BY {patients.id} FOR UPDATE
"""

READ_PATIENTS: Final = f"SELECT {_PATIENT} FROM {patients} WHERE {patients.id} = ANY($1::uuid[])"

# A statement of its own, after the locks are held: the statement that waits for the locks would return the rows from
# before the wait.
IDENTIFIERS: Final = f"""
SELECT {identifiers.patient_id}, {identifiers.issuer}, {identifiers.value} FROM {identifiers}
WHERE {identifiers.patient_id} = ANY($1::uuid[]) ORDER BY {identifiers.patient_id}, {identifiers.position}
"""

LOCK_LINKS_BY_PLACER: Final = f"""
SELECT {_LINK} FROM {links} WHERE {links.site} = $1 AND {links.placer_number} = ANY($2::text[])
ORDER BY {links.id} FOR UPDATE
"""

LOCK_LINKS_OF_PATIENTS: Final = f"""
SELECT {_LINK} FROM {links}
WHERE ({links.site} = $1 AND {links.placer_number} = ANY($2::text[])) OR {links.patient_id} = ANY($3::uuid[])
ORDER BY {links.id} FOR UPDATE
"""

LOCK_LINKS: Final = f"""
SELECT {_LINK} FROM {links}
WHERE {links.id} = ANY($1::uuid[]) OR ({links.site} = $2
    AND ({links.placer_number} = ANY($3::text[]) OR {links.omegaai_id} = ANY($4::text[])))
ORDER BY {links.id} FOR UPDATE
"""

LOCK_FREE_LINKS: Final = f"""
SELECT {_LINK} FROM {links} WHERE {links.id} = ANY($1::uuid[]) ORDER BY {links.id} FOR UPDATE SKIP LOCKED
"""

WRITES_UNDER_WAY: Final = f"""
SELECT {deliveries.payload} FROM {deliveries}
WHERE {deliveries.destination} = $1 AND {deliveries.kind} = 'appointment.upsert'
    AND {deliveries.state} = 'pending' AND {deliveries.attempts} > 0 AND {deliveries.key} = ANY($2::uuid[])
"""

# A row without a subject is from former code, which had the subject in the idempotency key.
IS_LATER_DONE: Final = f"""
SELECT bool_or({deliveries.state} = 'done') FROM {deliveries}
WHERE {deliveries.key} = $2 AND {deliveries.destination} = $3 AND (
    {deliveries.subject} = $4
    OR ({deliveries.subject} IS NULL AND strpos({deliveries.idempotency_key}, $4::text) > 0)
  )
  AND {deliveries.sequence} > (SELECT {deliveries.sequence} FROM {deliveries} WHERE {deliveries.id} = $1)
  AND ({deliveries.state} = 'done'
    OR ({deliveries.state} = 'pending' AND {deliveries.lease_until} > clock_timestamp()))
"""

REVISIONS: Final = f"""
SELECT {patients.id}, {patients.revision} FROM {patients} WHERE {patients.id} = ANY($1::uuid[])
UNION ALL SELECT {links.id}, {links.revision} FROM {links} WHERE {links.id} = ANY($1::uuid[])
UNION ALL SELECT {resource_pairs.id}, {resource_pairs.revision} FROM {resource_pairs}
    WHERE {resource_pairs.id} = ANY($1::uuid[])
"""

IDS_OF_PATIENTS: Final = f"""
SELECT {patients.id}, {patients.fhir_id}, {patients.fhir_version} FROM {patients} WHERE {patients.id} = ANY($1::uuid[])
"""

IDS_OF_LINKS: Final = f"""
SELECT {links}.{links.id}, {patients}.{patients.fhir_id}, {links.omegaai_id}, {links.omegaai_written_version},
    {links.patient_id}, {links.state}, {links.step}
FROM {links} JOIN {patients} ON {patients}.{patients.id} = {links.patient_id}
WHERE {links}.{links.id} = ANY($1::uuid[])
"""

STEPS_OF_LINKS: Final = f"""
SELECT {links.id}, {links.step}, {links.powerserver_step} FROM {links} WHERE {links.id} = ANY($1::uuid[])
"""

CLAIM_LINKS: Final = """
SELECT outcome, claim_id, link_id, by_link_id
FROM claim_links($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[], $7::text[])
"""

# What stands on the resources between two instants, as epoch minutes: one row a resource. date_part
# gives floats, extract would give slow numerics. $4 are links, $5 claims that do not count.
BUSY: Final = f"""
SELECT {calendars}.{calendars.resource_id} AS resource_id, {calendars}.{calendars.capacity} AS capacity,
    stood.starts, stood.ends,
    stood.block_starts, stood.block_ends
FROM {calendars} CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(floor(date_part('epoch', greatest(lower({claims.during}), $2)) / 60)::int), '{{}}')
            AS starts,
        coalesce(array_agg(ceil(date_part('epoch', least(upper({claims.during}), $3)) / 60)::int), '{{}}') AS ends,
        array_agg(floor(date_part('epoch', greatest(lower({claims.during}), $2)) / 60)::int)
            FILTER (WHERE {claims.kind} = 'block') AS block_starts,
        array_agg(ceil(date_part('epoch', least(upper({claims.during}), $3)) / 60)::int)
            FILTER (WHERE {claims.kind} = 'block') AS block_ends
    FROM {claims} WHERE {claims}.{claims.resource_id} = {calendars}.{calendars.resource_id}
        AND {claims.during} && tstzrange($2, $3) AND NOT {claims.released}
        AND ({claims.expires_at} IS NULL OR {claims.expires_at} > clock_timestamp())
        AND ({claims.link_id} IS NULL OR {claims.link_id} <> ALL($4::uuid[])) AND {claims.id} <> ALL($5::uuid[])
) AS stood
WHERE {calendars}.{calendars.resource_id} = ANY($1::uuid[])
"""

# $2 is the site's capacity of the resources that may be overbooked. The order of the locks is that of every claim.
SET_CAPACITIES: Final = f"""
UPDATE {calendars} SET {calendars.capacity} = given.capacity FROM (
    SELECT known.{calendars.resource_id} AS id,
        CASE WHEN {resources}.{resources.overbooking} THEN $2::smallint ELSE 1 END AS capacity
    FROM {calendars} AS known JOIN {resources} ON {resources}.{resources.id} = known.{calendars.resource_id}
    WHERE {resources}.{resources.facility} = $1
        AND known.{calendars.capacity} <> CASE WHEN {resources}.{resources.overbooking} THEN $2::smallint ELSE 1 END
    ORDER BY known.{calendars.resource_id} FOR NO KEY UPDATE OF known
) AS given WHERE {calendars}.{calendars.resource_id} = given.id
"""

LOCK_BLOCKS: Final = f"SELECT * FROM {blocks} WHERE {blocks.id} = ANY($1::uuid[]) ORDER BY {blocks.id} FOR UPDATE"

WRITE_BLOCKS: Final = f"""
INSERT INTO {blocks} ({blocks.id}, {blocks.site}, {blocks.facility}, {blocks.resource}, {blocks.starts}, {blocks.ends},
    {blocks.zone}, {blocks.heard_at})
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[],
    $8::timestamptz[])
ON CONFLICT ({blocks.id}) DO UPDATE SET {blocks.facility} = excluded.{blocks.facility},
    {blocks.resource} = excluded.{blocks.resource}, {blocks.starts} = excluded.{blocks.starts},
    {blocks.ends} = excluded.{blocks.ends}, {blocks.zone} = excluded.{blocks.zone},
    {blocks.heard_at} = excluded.{blocks.heard_at}
"""

# A row that a claim is working on is left to it: it sweeps by itself. $1: these alone; null: all.
RELEASE_EXPIRED: Final = f"""
UPDATE {claims} SET {claims.released} = true WHERE {claims.id} IN (
    SELECT {claims.id} FROM {claims}
    WHERE NOT {claims.released} AND {claims.expires_at} <= clock_timestamp()
        AND ($1::uuid[] IS NULL OR {claims.id} = ANY($1)) FOR UPDATE SKIP LOCKED
)
"""

# The same id twice at once: the second insert waits for the first transaction, and then writes nothing.
WRITE_HOLD: Final = f"""
INSERT INTO {held} ({held.id}, {held.client}, {held.facility}, {held.resource}, {held.slot_start}, {held.slot_end},
    {held.studies}, {held.patient_id}, {held.moves_id}, {held.expires_at})
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, clock_timestamp() + $10::float8 * interval '1 second')
ON CONFLICT DO NOTHING RETURNING {held.expires_at}
"""

HOLD: Final = f"SELECT * FROM {held} WHERE {held.id} = $1"

CLAIM_HOLD: Final = "SELECT outcome FROM claim($1, tstzrange($2, $3), $4, 'hold', $5, NULL)"

FORGET_HOLDS: Final = f"DELETE FROM {held} WHERE {held.expires_at} < clock_timestamp() - interval '30 days'"

LINKS_OF_PATIENT: Final = f"""
SELECT {_LINK} FROM {links}
WHERE {links.patient_id} = $1 AND {links.slot_start} >= $2 AND {links.slot_start} < $3
ORDER BY {links.slot_start}, {links.id} LIMIT $4
"""

LINK: Final = f"SELECT {_LINK} FROM {links} WHERE {links.id} = $1"

# Blocks of past days, and blocks that were opened.
FORGET_BLOCKS: Final = f"""
DELETE FROM {blocks} WHERE {blocks.heard_at} < clock_timestamp() - interval '30 days'
    AND coalesce({blocks.ends}, '-infinity') < clock_timestamp() - interval '1 day'
"""

# Claims of past days, and holds and requests that have ended long ago.
FORGET_CLAIMS: Final = f"""
DELETE FROM {claims} WHERE {claims.id} IN (
    SELECT {claims.id} FROM {claims}
    WHERE upper({claims.during}) < clock_timestamp() - interval '1 day'
        OR ({claims.released} AND {claims.made_at} < clock_timestamp() - interval '30 days')
    LIMIT 5000 FOR UPDATE SKIP LOCKED
)
"""

# Future appointments with a time that claim nothing: booked before there were claims, or on a resource that OmegaAI did
# not have then. Paged by id.
UNCLAIMED_LINKS: Final = f"""
SELECT {links.id} FROM {links}
WHERE {links.id} > $1 AND {links.slot_end} > clock_timestamp() AND {links.state} = ANY($2::text[])
    AND NOT EXISTS (SELECT FROM {claims} WHERE {claims.link_id} = {links}.{links.id})
ORDER BY {links.id} LIMIT 200
"""

# Each patient is paired with the first one that is like it. A pair that was decided is never asked about again.
FIND_REVIEWS: Final = f"""
WITH people AS (
    SELECT {patients.id} AS id, {patients.site} AS site, {patients.birth_date} AS born,
        lower({patients.family}) || '^' || lower({patients.given}) AS name, lower({patients.email}) AS email,
        regexp_replace({patients.phone}, '[^0-9]', '', 'g') AS phone
    FROM {patients} WHERE {patients.merged_into} IS NULL
), pairs AS (
    SELECT first_value(id) OVER alike AS first_id, id AS second_id, 'name and birth date' AS reason
    FROM people WHERE name <> '^' AND born IS NOT NULL WINDOW alike AS (PARTITION BY site, name, born ORDER BY id)
    UNION ALL
    SELECT first_id, id, 'e-mail' FROM (
        SELECT id, name, first_value(id) OVER alike AS first_id, first_value(name) OVER alike AS first_name
        FROM people WHERE email <> '' WINDOW alike AS (PARTITION BY site, email ORDER BY id)
    ) AS of_email WHERE name <> first_name
    UNION ALL
    SELECT first_id, id, 'phone' FROM (
        SELECT id, name, first_value(id) OVER alike AS first_id, first_value(name) OVER alike AS first_name
        FROM people WHERE length(phone) >= 7 WINDOW alike AS (PARTITION BY site, phone ORDER BY id)
    ) AS of_phone WHERE name <> first_name
)
INSERT INTO {reviews} ({reviews.first_id}, {reviews.second_id}, {reviews.reasons}, {reviews.state}, {reviews.found_at})
SELECT first_id, second_id, array_agg(DISTINCT reason), 'open', now() FROM pairs WHERE first_id <> second_id
    AND NOT EXISTS (SELECT FROM {reviews} AS known WHERE known.{reviews.first_id} = pairs.first_id
        AND known.{reviews.second_id} = pairs.second_id)
GROUP BY first_id, second_id ON CONFLICT ({reviews.first_id}, {reviews.second_id}) DO NOTHING
"""

NOTE_DOUBTS: Final = f"""
INSERT INTO {reviews} AS known ({reviews.first_id}, {reviews.second_id}, {reviews.reasons}, {reviews.state},
    {reviews.found_at}, {reviews.journal_ids})
SELECT first_id, second_id, ARRAY['numbers in one message'], 'open', now(), array_agg(cause_id)
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS named (first_id, second_id, cause_id)
GROUP BY first_id, second_id
ON CONFLICT ({reviews.first_id}, {reviews.second_id}) DO UPDATE SET
    {reviews.state} = CASE WHEN known.{reviews.state} = 'different'
        AND NOT known.{reviews.reasons} @> excluded.{reviews.reasons} THEN 'open' ELSE known.{reviews.state} END,
    {reviews.reasons} = CASE WHEN known.{reviews.reasons} @> excluded.{reviews.reasons} THEN known.{reviews.reasons}
        ELSE known.{reviews.reasons} || excluded.{reviews.reasons} END,
    {reviews.journal_ids} = ARRAY(SELECT DISTINCT unnest(known.{reviews.journal_ids} || excluded.{reviews.journal_ids})
        ORDER BY 1 DESC LIMIT 100)
"""
"""Another kind of doubt about a pair opens its review again; the same kind of doubt does not."""

NOTE_OTHER_IN_OMEGAAI: Final = f"""
INSERT INTO {reviews} AS known ({reviews.first_id}, {reviews.omegaai_id}, {reviews.reasons}, {reviews.state},
    {reviews.found_at}, {reviews.seen})
VALUES ($1, $2, $3, 'open', now(), $4::jsonb)
ON CONFLICT ({reviews.first_id}, {reviews.omegaai_id}) WHERE {reviews.second_id} IS NULL DO UPDATE SET
    {reviews.state} = CASE WHEN known.{reviews.state} IN ('same', 'different')
        AND known.{reviews.seen} ->> 'birth_date' IS NOT DISTINCT FROM excluded.{reviews.seen} ->> 'birth_date'
        AND known.{reviews.seen} ->> 'sex' IS NOT DISTINCT FROM excluded.{reviews.seen} ->> 'sex'
        THEN known.{reviews.state} ELSE 'open' END,
    {reviews.reasons} = excluded.{reviews.reasons}, {reviews.seen} = excluded.{reviews.seen}
RETURNING {reviews.id}, {reviews.state}
"""
"""A decision holds for the birth date and the sex that the person saw."""

NEWEST_TOLD_PATIENT: Final = f"""
SELECT {deliveries.payload} FROM {deliveries} WHERE {deliveries.destination} = 'omegaai' AND {deliveries.key} = $1
    AND {deliveries.kind} = 'patient.upsert' AND {deliveries.state} = 'done'
ORDER BY {deliveries.sequence} DESC LIMIT 1
"""

MERGED_WITH_MESSAGES: Final = f"""
SELECT {reviews.id}, {reviews.journal_ids} FROM {reviews}
WHERE {reviews.state} <> 'merged' AND {reviews.journal_ids} <> '{{}}' AND EXISTS (
    SELECT FROM {patients} WHERE {patients.merged_into} IS NOT NULL
        AND {patients}.{patients.id} IN ({reviews.first_id}, {reviews.second_id}))
"""
"""Reviews whose records PowerServer has merged, with the messages that named both."""

END_MERGED_REVIEWS: Final = f"""
UPDATE {reviews} SET {reviews.state} = 'merged' FROM {patients}
WHERE {reviews.state} <> 'merged' AND {reviews.second_id} IS NOT NULL AND {patients.merged_into} IS NOT NULL
    AND {patients}.{patients.id} IN ({reviews.first_id}, {reviews.second_id})
"""

END_WRITTEN_REVIEWS: Final = f"""
UPDATE {reviews} SET {reviews.state} = 'settled'
WHERE {reviews.second_id} IS NULL AND {reviews.state} IN ('open', 'same', 'different') AND NOT EXISTS (
    SELECT FROM {deliveries} WHERE {deliveries.destination} = 'omegaai' AND {deliveries.key} = {reviews.first_id}
        AND {deliveries.kind} = 'patient.upsert' AND {deliveries.state} IN ('pending', 'dead'))
"""
"""The patient's data are in OmegaAI, or a person gave the deliveries up."""

WAITING_FOR_A_PERSON: Final = f"""
SELECT (SELECT count(*) FROM {journal} WHERE {journal.state} IN ('needs_setup', 'failed'))
     + (SELECT count(*) FROM {parked_tasks} WHERE {parked_tasks.replayed_at} IS NULL) AS inputs,
    (SELECT count(*) FROM {reviews} WHERE {reviews.state} = 'open') AS reviews
"""

MOVE_CURSOR: Final = f"""
INSERT INTO {cursors} ({cursors.feed}, {cursors.last_task_id}, {cursors.last_authored_on},
    {cursors.read_at}) VALUES ($1, $2, $3, $4)
ON CONFLICT ({cursors.feed}) DO UPDATE SET {cursors.last_task_id} = excluded.{cursors.last_task_id},
    {cursors.last_authored_on} = excluded.{cursors.last_authored_on},
    {cursors.read_at} = excluded.{cursors.read_at}
"""

CLAIM_TASKS: Final = f"""
INSERT INTO {inbox} ({inbox.consumer}, {inbox.message_id}) SELECT $1, id FROM unnest($2::uuid[]) AS asked (id)
ON CONFLICT DO NOTHING RETURNING {inbox.message_id}
"""

RELEASE_TASKS: Final = f"DELETE FROM {inbox} WHERE {inbox.consumer} = $1 AND {inbox.message_id} = ANY($2::uuid[])"

NEVER_WRITTEN: Final = f"""
SELECT {links.id} FROM {links} WHERE {links.omegaai_id} IS NULL AND {links.slot_start} IS NOT NULL
"""

PENDING: Final = f"""
SELECT {deliveries.id}, {deliveries.key}, {deliveries.kind}, {deliveries.payload} FROM {deliveries}
WHERE {deliveries.destination} = $1 AND {deliveries.state} = 'pending' ORDER BY {deliveries.sequence} FOR UPDATE
"""

LET_GO: Final = f"""
UPDATE {deliveries} SET {deliveries.state} = 'dropped', {deliveries.done_at} = clock_timestamp(),
    {deliveries.lease_token} = NULL, {deliveries.lease_until} = NULL,
    {deliveries.last_error} = $2
WHERE {deliveries.id} = ANY($1::uuid[])
"""
