"""The reconciliation's SQL: staging, the comparison of whole sides, runs and differences."""

from typing import Final

from chassis.store.names import CHASSIS, names_in
from scheduler_sync.domain.appointment import FHIR_STATUS_OF_STEP, FhirStatus, State, WorkflowStep
from scheduler_sync.domain.reconciliation import FIELDS, Kind, Settled, Side
from scheduler_sync.store.columns import spellings

_TABLES: Final = names_in("scheduler_sync.store.tables")
links = _TABLES.AppointmentLinks
patients = _TABLES.Patients
identifiers = _TABLES.PatientIdentifiers
runs = _TABLES.ReconcileRuns
found = _TABLES.ReconcileDifferences
seen = _TABLES.ReconcileSeen
days = _TABLES.ReconcileDays
deliveries = CHASSIS.Deliveries


def _words(*values: str) -> str:
    return ", ".join(f"'{value}'" for value in values)


_OVER: Final = _words(*spellings(State.CANCELLED), *spellings(State.UNSCHEDULED))
"""The stored states of appointments that nobody has to show."""
_UNSCHEDULED: Final = _words(*spellings(State.UNSCHEDULED))
_CANCELLED_THERE: Final = _words(FhirStatus.CANCELLED, FhirStatus.ENTERED_IN_ERROR, FhirStatus.NOSHOW, "off")
_FHIR_STATUS: Final = (
    f"CASE WHEN {links}.{links.state} IN ({_UNSCHEDULED}) THEN '{FhirStatus.CANCELLED}' ELSE CASE {links}.{links.step} "
    + " ".join(f"WHEN '{step}' THEN '{status}'" for step, status in FHIR_STATUS_OF_STEP.items())
    + " END END"
)
_STEP_THERE: Final = (
    f"CASE WHEN {links}.{links.step} = '{WorkflowStep.REQUESTED}' THEN '{WorkflowStep.SCHEDULED}' "
    f"ELSE {links}.{links.step} END"
)
_ON_THE_WORKLIST: Final = _words(WorkflowStep.SCHEDULED, WorkflowStep.CONFIRMED)
# Cancelled appointments leave the worklist; what it shows of patients who are there already differs between products.
_WORKLIST_STATUS: Final = (
    f"CASE WHEN {links}.{links.state} IN ({_OVER}) THEN 'off' "
    f"WHEN {links}.{links.powerserver_step} IN ({_ON_THE_WORKLIST}) THEN 'listed' END"
)

# Parameters of the comparisons: $1 run, $2 site, $3 and $4 the compared time, $5 the time at which the run began,
# $6 days of which no absence is to be believed, then the side's own.
_IN_TIME: Final = f"{links}.{links.slot_start} >= $3 AND {links}.{links.slot_start} < $4"
_IS_WHOLE: Final = f"""({_IN_TIME} AND NOT EXISTS (
    SELECT 1 FROM unnest($6::date[]) AS cut (day)
    WHERE {links}.{links.slot_start} >= cut.day - interval '1 day'
        AND {links}.{links.slot_start} < cut.day + interval '2 days'))"""


def _is_moving(destination: Side, *, key: str) -> str:
    """Whether a delivery about the link is on its way. Former code wrote no subject: then the whole key waits."""
    return f"""({links}.{links.updated_at} >= $5
    OR {links}.{links.id} IN (SELECT {deliveries.subject} FROM {deliveries} WHERE {deliveries.state} = 'pending'
        AND {deliveries.destination} = '{destination}' AND {deliveries.subject} IS NOT NULL)
    OR {key} IN (SELECT {deliveries.key} FROM {deliveries} WHERE {deliveries.state} = 'pending'
        AND {deliveries.destination} = '{destination}' AND {deliveries.subject} IS NULL))"""


def _compare(side: Side, ours: str, theirs: str) -> str:
    """Notes each difference between ``ours`` and ``theirs``: the same rules as ``domain.reconciliation.differing``."""
    differs = ", ".join(
        f"CASE WHEN o.{name} IS NOT NULL AND t.{name} IS NOT NULL AND o.{name} IS DISTINCT FROM t.{name} "
        f"THEN '{name}' END"
        for name in FIELDS
    )
    shown = {
        one: "jsonb_strip_nulls(jsonb_build_object(" + ", ".join(f"'{name}', {one}.{name}" for name in FIELDS) + "))"
        for one in "ot"
    }
    both = ", ".join(f"coalesce(o.{name}, t.{name})" for name in FIELDS)
    all_theirs = ", ".join(f"coalesce(t.{name}, o.{name})" for name in FIELDS)
    return f"""
WITH {theirs}, {ours}
INSERT INTO {found} ({found.run_id}, {found.side}, {found.kind}, {found.link_id}, {found.key}, {found.fields},
    {found.ours}, {found.theirs}, {found.settled}, {found.noted_at}, {found.since})
SELECT $1::bigint, '{side}', CASE WHEN t.double_of IS NOT NULL THEN '{Kind.DOUBLE}' WHEN o.id IS NULL
        THEN '{Kind.UNKNOWN}' WHEN t.key IS NULL THEN '{Kind.MISSING}' ELSE '{Kind.DIFFERS}' END,
    coalesce(o.id, t.double_of), t.key,
    CASE WHEN o.id IS NULL OR t.key IS NULL THEN '{{}}' ELSE array_remove(ARRAY[{differs}], NULL) END,
    {shown["o"]}, {shown["t"]},
    CASE WHEN o.is_moving THEN '{Settled.MOVING}' ELSE '{Settled.FOUND}' END, clock_timestamp(), clock_timestamp()
FROM ours o FULL JOIN theirs t ON t.of_link = o.id
WHERE CASE
    WHEN o.id IS NULL THEN t.status NOT IN ({_CANCELLED_THERE})
    WHEN t.key IS NULL THEN o.is_shown AND o.is_whole
    ELSE ({both}) IS DISTINCT FROM ({all_theirs})
        AND NOT (o.status IN ({_CANCELLED_THERE}) AND t.status IN ({_CANCELLED_THERE}))
    END
"""


# $7, $8, $9: facilities, names of resources, their HealthcareServices; $10, $11: the days that were read.
COMPARE_OMEGAAI: Final = _compare(
    Side.OMEGAAI,
    f"""services AS (SELECT * FROM unnest($7::text[], $8::text[], $9::text[]) AS named (facility, name, service)),
ours AS (
    SELECT {links}.{links.id} AS id, {_FHIR_STATUS} AS status, {links}.{links.slot_start} AS starts,
        {links}.{links.slot_end} AS ends, services.service AS resource, {patients}.{patients.fhir_id} AS patient,
        {links}.{links.state} NOT IN ({_OVER}) AND {links}.{links.slot_start} IS NOT NULL AS is_shown,
        {_IS_WHOLE} AS is_whole, {_is_moving(Side.OMEGAAI, key=f"{links}.{links.patient_id}")} AS is_moving
    FROM {links} JOIN {patients} ON {patients}.{patients.id} = {links}.{links.patient_id}
    LEFT JOIN services ON services.facility = {links}.{links.facility} AND services.name = {links}.{links.resource}
    WHERE {links}.{links.site} = $2 AND (({_IN_TIME}) OR {links}.{links.id} IN (SELECT of_link FROM theirs))
)""",
    f"""latest AS (
    SELECT DISTINCT ON ({seen.key}) * FROM {seen}
    WHERE {seen.side} = '{Side.OMEGAAI}' AND {seen.day} >= $10 AND {seen.day} < $11
    ORDER BY {seen.key}, {seen.number} DESC
), matched AS (
    SELECT latest.*, coalesce(named.{links.id}, written.{links.id}, placed.{links.id}) AS owner,
        named.{links.id} IS NOT NULL AS is_named
    FROM latest LEFT JOIN {links} AS named ON named.{links.omegaai_id} = latest.{seen.key}
    LEFT JOIN {links} AS written ON written.{links.id} = latest.{seen.link_id}
    LEFT JOIN {links} AS placed ON placed.{links.site} = $2 AND placed.{links.placer_number} = latest.{seen.placer}
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY owner ORDER BY is_named DESC, {seen.number}) AS nth FROM matched
), theirs AS (
    SELECT CASE WHEN nth = 1 THEN owner END AS of_link, CASE WHEN nth > 1 THEN owner END AS double_of,
        {seen.key} AS key, {seen.status} AS status, {seen.starts} AS starts, {seen.ends} AS ends,
        {seen.resource} AS resource, {seen.patient} AS patient
    FROM numbered
)""",
)

COMPARE_POWERSERVER: Final = _compare(
    Side.POWERSERVER,
    f"""ours AS (
    SELECT {links}.{links.id} AS id, {_STEP_THERE} AS status, NULL::timestamptz AS starts, NULL::timestamptz AS ends,
        NULL::text AS resource, NULL::text AS patient, false AS is_shown, false AS is_whole,
        {_is_moving(Side.POWERSERVER, key=f"{links}.{links.id}")} AS is_moving
    FROM {links} WHERE {links}.{links.site} = $2 AND {_IN_TIME} AND $6::date[] IS NOT NULL
        AND {links}.{links.powerserver_step} IS NOT NULL
)""",
    f"""theirs AS (
    SELECT {links.id} AS of_link, NULL::uuid AS double_of, {links.placer_number} AS key,
        {links.powerserver_step} AS status, NULL::timestamptz AS starts, NULL::timestamptz AS ends,
        NULL::text AS resource, NULL::text AS patient
    FROM {links} WHERE {links}.{links.site} = $2 AND {_IN_TIME} AND {links.powerserver_step} IS NOT NULL
)""",
)

# $7: the facilities with stations; $8, $9: the days that were read.
COMPARE_WORKLIST: Final = _compare(
    Side.WORKLIST,
    f"""ours AS (
    SELECT {links}.{links.id} AS id, {_WORKLIST_STATUS} AS status, {links}.{links.slot_start} AS starts,
        NULL::timestamptz AS ends, {links}.{links.resource} AS resource, {links}.{links.patient_id}::text AS patient,
        ({_WORKLIST_STATUS}) IS NOT DISTINCT FROM 'listed' AS is_shown, {_IS_WHOLE} AS is_whole,
        {_is_moving(Side.POWERSERVER, key=f"{links}.{links.id}")} AS is_moving
    FROM {links} WHERE {links}.{links.site} = $2 AND {links}.{links.facility} = ANY($7::text[])
        AND (({_IN_TIME}) OR {links}.{links.id} IN (SELECT of_link FROM theirs))
)""",
    f"""latest AS (
    SELECT DISTINCT ON ({seen.key}) * FROM {seen}
    WHERE {seen.side} = '{Side.WORKLIST}' AND {seen.day} >= $8 AND {seen.day} < $9
    ORDER BY {seen.key}, {seen.number} DESC
), matched AS (
    SELECT latest.*, coalesce(placed.{links.id}, numbered.{links.id}) AS owner,
        coalesce(placed.{links.patient_id}, numbered.{links.patient_id}) AS owned_by
    FROM latest
    LEFT JOIN {links} AS placed ON placed.{links.site} = $2 AND placed.{links.placer_number} = latest.{seen.placer}
    LEFT JOIN (
        SELECT DISTINCT ON (accession) {links.id}, {links.patient_id}, accession
        FROM {links}, unnest({links.accession_numbers}) AS accession
        WHERE {links.site} = $2 AND {links.slot_start} >= $3::timestamptz - interval '2 days'
            AND {links.slot_start} < $4::timestamptz + interval '2 days'
    ) AS numbered ON latest.{seen.placer} IS NULL AND numbered.accession = latest.{seen.accession}
), theirs AS (
    SELECT owner AS of_link, NULL::uuid AS double_of, {seen.key} AS key, {seen.status} AS status,
        {seen.starts} AS starts, {seen.ends} AS ends, {seen.resource} AS resource,
        CASE WHEN {seen.patient} IS NULL OR owner IS NULL THEN NULL WHEN EXISTS (
            SELECT 1 FROM {identifiers} WHERE {identifiers.patient_id} = owned_by
                AND encode(sha256(convert_to({identifiers.value}, 'UTF8')), 'hex') = matched.{seen.patient}
        ) THEN owned_by::text ELSE 'another patient' END AS patient
    FROM matched
)""",
)

COUNT_COMPARED: Final = f"""
SELECT count(*) FROM {links}
WHERE {links.site} = $1 AND {links.slot_start} >= $2 AND {links.slot_start} < $3
"""

RESOURCES_OF_LINKS: Final = f"""
SELECT DISTINCT {links.facility}, {links.resource} FROM {links} WHERE {links.site} = $1
"""

# What the last day has seen of the same differences: since when, and whether a correction did not last.
KNOWN_BEFORE: Final = f"""
WITH before AS (
    SELECT this.{found.id} AS id, min(earlier.{found.since}) AS since,
        max(earlier.{found.run_id}) FILTER (WHERE earlier.{found.settled} = '{Settled.HEALED}') AS healed_by
    FROM {found} AS this JOIN {found} AS earlier ON earlier.{found.run_id} < this.{found.run_id}
        AND earlier.{found.noted_at} > clock_timestamp() - interval '25 hours'
        AND earlier.{found.settled} <> '{Settled.GONE}'
        AND (earlier.{found.side}, earlier.{found.kind}, earlier.{found.fields}, earlier.{found.ours},
            earlier.{found.theirs}) = (this.{found.side}, this.{found.kind}, this.{found.fields}, this.{found.ours},
            this.{found.theirs})
        AND earlier.{found.link_id} IS NOT DISTINCT FROM this.{found.link_id}
        AND earlier.{found.key} IS NOT DISTINCT FROM this.{found.key}
    WHERE this.{found.run_id} = $1
    GROUP BY this.{found.id}
)
UPDATE {found} SET {found.since} = before.since,
    {found.settled} = CASE WHEN before.healed_by IS NULL OR {found}.{found.settled} <> '{Settled.FOUND}'
        THEN {found}.{found.settled} ELSE '{Settled.LISTED}' END,
    {found.why} = CASE WHEN before.healed_by IS NULL THEN {found}.{found.why}
        ELSE 'run ' || before.healed_by || ' corrected the same, and it came back' END
FROM before WHERE {found}.{found.id} = before.id
"""

# A delivery that the partner refused for good would be refused again.
LIST_REFUSED: Final = f"""
UPDATE {found} SET {found.settled} = '{Settled.LISTED}',
    {found.why} = 'a delivery about it was refused for good: settle that one first'
FROM {links}, {deliveries}
WHERE {found}.{found.run_id} = $1 AND {found}.{found.settled} = '{Settled.FOUND}'
    AND {links}.{links.id} = {found}.{found.link_id} AND {deliveries}.{deliveries.state} = 'dead'
    AND {deliveries}.{deliveries.destination} = CASE {found}.{found.side} WHEN '{Side.OMEGAAI}' THEN '{Side.OMEGAAI}'
        ELSE '{Side.POWERSERVER}' END
    AND {deliveries}.{deliveries.key} IN ({links}.{links.id}, {links}.{links.patient_id})
    AND coalesce({deliveries}.{deliveries.subject}, {links}.{links.id}) = {links}.{links.id}
"""

# Only a person can settle these, whatever a second look says.
LIST_FOR_A_PERSON: Final = f"""
UPDATE {found} SET {found.settled} = '{Settled.LISTED}', {found.why} = CASE {found.kind}
    WHEN '{Kind.DOUBLE}' THEN 'OmegaAI has two Appointments of it: remove one there'
    ELSE 'PowerServer owns time and resource: it has to send the appointment again' END
WHERE {found.run_id} = $1 AND {found.settled} = '{Settled.FOUND}' AND ({found.kind} = '{Kind.DOUBLE}'
    OR ({found.side} = '{Side.WORKLIST}' AND NOT ({found.kind} = '{Kind.DIFFERS}' AND {found.fields} = '{{status}}')))
"""

TO_HEAL: Final = f"""
SELECT count(*) FROM {found} WHERE {found.run_id} = $1 AND {found.settled} = '{Settled.FOUND}'
    AND {found.kind} <> '{Kind.UNKNOWN}'
"""

NEXT_FOUND: Final = f"""
SELECT {found.id}, {found.side}, {found.kind}, {found.link_id}, {found.key}, {found.fields} FROM {found}
WHERE {found.run_id} = $1 AND {found.settled} = '{Settled.FOUND}' AND {found.id} > $2 ORDER BY {found.id} LIMIT $3
"""

SETTLE: Final = f"""
UPDATE {found} SET {found.settled} = given.settled, {found.why} = given.why
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS given (id, settled, why) WHERE {found}.{found.id} = given.id
"""

SETTLE_ALL_FOUND: Final = f"""
UPDATE {found} SET {found.settled} = $2, {found.why} = $3
WHERE {found.run_id} = $1 AND {found.settled} = '{Settled.FOUND}'
"""

COUNTS: Final = f"""
SELECT {found.settled}, count(*) AS number FROM {found} WHERE {found.run_id} = $1 GROUP BY {found.settled}
"""

FORGET_FOUND: Final = f"DELETE FROM {found} WHERE {found.run_id} = $1"

# Staging.

OPEN_DAY: Final = f"""
INSERT INTO {days} ({days.side}, {days.day}, {days.digest}, {days.read_at}, {days.known_at})
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT ({days.side}, {days.day}) DO UPDATE SET {days.digest} = excluded.{days.digest},
    {days.read_at} = excluded.{days.read_at}, {days.known_at} = excluded.{days.known_at}
"""
DIGESTS: Final = f"SELECT {days.day}, {days.digest} FROM {days} WHERE {days.side} = $1"
EMPTY_DAY: Final = f"DELETE FROM {seen} WHERE {seen.side} = $1 AND {seen.day} = $2"
DROP_KEYS: Final = f"DELETE FROM {seen} WHERE {seen.side} = $1 AND {seen.key} = ANY($2::text[])"
FORGET_DAYS: Final = f"""
WITH gone AS (DELETE FROM {days} WHERE {days.day} < $1) DELETE FROM {seen} WHERE {seen.day} < $1
"""
KNOWN_DAYS: Final = f"""
SELECT count(*) AS number, min({days.read_at}) AS read_at, min({days.known_at}) AS known_at FROM {days}
WHERE {days.side} = $1 AND {days.day} >= $2 AND {days.day} < $3
"""
MOVE_KNOWN: Final = f"""
UPDATE {days} SET {days.known_at} = $4 WHERE {days.side} = $1 AND {days.day} >= $2 AND {days.day} < $3
"""
ANALYZE: Final = f"ANALYZE {seen}"

# Runs.

WISH: Final = f"""
INSERT INTO {runs} ({runs.state}, {runs.wanted_by}, {runs.wanted_at}, {runs.day}, {runs.dry_run})
VALUES ('wanted', $1, clock_timestamp(), $2, $3) RETURNING {runs.id}
"""

# A run that died while it read has changed nothing, and gives way; one that died while it corrected goes on.
SUPERSEDE: Final = f"""
UPDATE {runs} SET {runs.state} = 'superseded', {runs.finished_at} = clock_timestamp(),
    {runs.reason} = coalesce({runs.reason}, 'its process ended while it read')
WHERE {runs.state} = 'reading'
"""
TAKE_NEXT: Final = f"""
UPDATE {runs} SET {runs.holder} = $1,
    {runs.started_at} = CASE {runs.state} WHEN 'wanted' THEN clock_timestamp() ELSE {runs.started_at} END,
    {runs.state} = CASE {runs.state} WHEN 'wanted' THEN 'reading' ELSE 'healing' END
WHERE {runs.id} = (
    SELECT {runs.id} FROM {runs} WHERE {runs.state} IN ('healing', 'approved', 'wanted')
    ORDER BY CASE {runs.state} WHEN 'healing' THEN 0 WHEN 'approved' THEN 1 ELSE 2 END, {runs.id}
    FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING {runs.id}, {runs.state}, {runs.day}, {runs.dry_run}, {runs.started_at}, {runs.first_day}, {runs.end_day}
"""
HELD: Final = f"SELECT {runs.state} FROM {runs} WHERE {runs.id} = $1 AND {runs.holder} = $2 FOR UPDATE"
MOVE: Final = f"""
UPDATE {runs} SET {runs.state} = $3, {runs.counts} = {runs.counts} || $4::jsonb, {runs.reason} = $5,
    {runs.first_day} = coalesce($6, {runs.first_day}), {runs.end_day} = coalesce($7, {runs.end_day}),
    {runs.finished_at} = CASE WHEN $3 IN ('done', 'failed') THEN clock_timestamp() END
WHERE {runs.id} = $1 AND {runs.holder} = $2 RETURNING {runs.id}
"""
ASK_ONCE: Final = f"""
UPDATE {runs} SET {runs.state} = 'superseded', {runs.finished_at} = clock_timestamp(),
    {runs.reason} = 'run ' || $1::bigint::text || ' looked again'
WHERE {runs.state} = 'asks' AND {runs.id} < $1::bigint
"""
DUE: Final = f"""
SELECT coalesce(max({runs.wanted_at}) < clock_timestamp() - $1 * interval '1 second', true)
    AND NOT EXISTS (SELECT 1 FROM {runs} WHERE {runs.state} IN ('wanted', 'reading', 'healing', 'approved', 'asks'))
FROM {runs} WHERE {runs.day} IS NULL AND NOT {runs.dry_run}
"""
LAST_SLICE: Final = f"""
SELECT {runs.end_day} FROM {runs} WHERE {runs.state} = 'done' AND {runs.day} IS NULL AND {runs.end_day} IS NOT NULL
    AND {runs.finished_at} > clock_timestamp() - interval '1 day' AND {runs.end_day} > $1
ORDER BY {runs.id} DESC LIMIT 1
"""
PRUNE: Final = f"""
DELETE FROM {runs} WHERE {runs.state} IN ('done', 'failed', 'declined', 'superseded')
    AND {runs.finished_at} < clock_timestamp() - $1 * interval '1 day'
"""
GAUGES: Final = f"""
SELECT
    (SELECT extract(epoch FROM clock_timestamp() - max({runs.finished_at})) FROM {runs}
        WHERE {runs.state} = 'done' AND NOT {runs.dry_run}) AS last_run_seconds,
    (SELECT count(*) FROM {runs} WHERE {runs.state} = 'asks') AS asks,
    coalesce((SELECT jsonb_object_agg(side, jsonb_build_array(number, seconds)) FROM (
        SELECT {found.side} AS side, count(*) AS number,
            extract(epoch FROM clock_timestamp() - min({found.since})) AS seconds
        FROM {found} WHERE {found.run_id} = (SELECT max({runs.id}) FROM {runs}
            WHERE {runs.state} IN ('done', 'asks') AND NOT {runs.dry_run})
            AND {found.settled} IN ('{Settled.LISTED}', '{Settled.FOUND}')
        GROUP BY {found.side}) AS counted), '{{}}') AS open
"""
