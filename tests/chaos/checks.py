"""Checks the promise on evidence: an acknowledged input has exactly one effect, in order, and both ends agree.

The checks trust nothing from the suite: the expected effects follow from the ledgers of the systems at the ends and
from their answers. The stores between are searched for rows that should not exist, and for facts that no ledger shows.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from roster import roster
from scheduler_sync.inbound import cause_of_task
from scheduler_sync.receipts import NOT_SENT
from tests.chaos.evidence import Evidence, Row
from tests.chaos.load import Answered
from tests.chaos.stories import FHIR_OF_POWERSERVER, Story, difference, moment, stories

Kind = Literal["lost", "doubled", "reordered", "unequal", "illegal", "orphan"]
STATUS_OF_ACT: Final = {
    "confirmed": "CONFIRMED",
    "arrived": "ARRIVED",
    "ready-for-scan": "READY FOR SCAN",
    "need-to-reschedule": "SCHEDULED",
    "cancelled-with-notice": "CANCELLED",
    "no-show": "NO SHOW",
}
TEMPLATE_OF_EVENT: Final = {
    "appointment.scheduled": "please-confirm",
    "appointment.confirmed": "confirmed",
    "appointment.rescheduled": "moved",
}
LARGEST_NUMBER_OF_COPIES: Final = 2
_BLUME_MAY: Final = {"pending": {"booked", "cancelled"}, "waitlist": {"booked", "cancelled"},
                     "proposed": {"cancelled"}, "booked": {"cancelled"}}  # fmt: skip
_CLOSED: Final = frozenset({"cancelled", "noshow", "fulfilled"})


@dataclass(frozen=True)
class Violation:
    """A broken promise. ``placer`` names the appointment whose history explains it; empty when no single one does."""

    kind: Kind
    placer: str
    text: str


@dataclass
class Verdict:
    """The counts, and every violation."""

    inputs: int = 0
    effects: int = 0
    appointments: int = 0
    contested: int = 0
    reordered_on_the_wire: int = 0
    mails: int = 0
    mails_twice_and_logged: int = 0
    conflicts_logged: int = 0
    violations: list[Violation] = field(default_factory=list)

    def count(self, *kinds: Kind) -> int:
        return sum(1 for one in self.violations if one.kind in kinds)


def check(evidence: Evidence, answered: Sequence[Answered]) -> Verdict:
    """Compares the evidence with the promise."""
    told = stories(evidence)
    verdict = Verdict(appointments=len(told), conflicts_logged=len(evidence.sync["conflicts"]))
    for story in told.values():
        verdict.inputs += story.inputs
        verdict.effects += len(story.observed_fhir) + len(story.observed_hl7)
        verdict.contested += story.is_contested
        verdict.reordered_on_the_wire += story.is_reordered_on_the_wire
        verdict.violations += _appointment(story, evidence)
    verdict.violations += _answered(answered, evidence, told)
    verdict.violations += _hl7_in(evidence, told)
    verdict.violations += _hl7_out(evidence)
    verdict.violations += _patients(evidence)
    verdict.violations += _events(evidence)
    verdict.violations += _orphans(evidence)
    verdict.violations += _mails(evidence, verdict)
    verdict.violations += _chimes(evidence)
    return verdict


def _chimes(evidence: Evidence) -> Iterator[Violation]:
    """Each appointment's newest timer event took effect once and not early; no older event took effect later."""
    found = evidence.chimes
    chimed = Counter((row["key"], row["revision"]) for row in found["chimed"])
    for (key, revision), number in chimed.items():
        if number > 1:
            yield Violation("doubled", "", f"the timer of {key} had its effect {number} times for revision {revision}")
    for row in found["chimed"]:
        if row["at"] < row["due_at"]:
            yield Violation("illegal", "", f"the timer of {row['key']} was early")
        if row["newest"] != row["revision"]:
            newest, revision = row["newest"], row["revision"]
            yield Violation("reordered", "", f"the timer of {row['key']} fired for {revision} when {newest} was known")
    for row in found["heard"]:
        if row["word"] == "set" and (row["key"], row["revision"]) not in chimed:
            yield Violation("lost", "", f"the timer of {row['key']} had no effect for revision {row['revision']}")
    for row in found["timers"]:
        yield Violation("orphan", "", f"the timer of {row['key']} is {row['state']}")
    for row in found["dead_letters"]:
        yield Violation("orphan", "", f"a dead letter of chimes: {row['id']}")


def _appointment(story: Story, evidence: Evidence) -> Iterator[Violation]:
    """One appointment at both ends: one Appointment, every act's effect once and in order, equal when settled."""
    placer = story.placer
    if story.bookings != 1:
        yield Violation("doubled", placer, f"booked {story.bookings} times in PowerServer")
    if len(story.appointment_ids) != 1:
        kind: Kind = "doubled" if story.appointment_ids else "lost"
        yield Violation(kind, placer, f"{len(story.appointment_ids)} Appointments were created in OmegaAI")
    if not story.is_contested and not story.is_reordered_on_the_wire:
        for what, expected, observed in (
            ("PowerServer → OmegaAI", story.expected_fhir, story.observed_fhir),
            ("Blume → PowerServer", story.expected_hl7, story.observed_hl7),
        ):
            if found := difference(expected, observed):
                yield Violation(found, placer, f"{what}: {expected} were to come, {observed} came")  # type: ignore[arg-type]
    yield from _legal(story)
    appointment = evidence.fhir.get(placer)
    if appointment is None:
        return
    wanted = FHIR_OF_POWERSERVER.get(story.status)
    if appointment["status"] != wanted:
        shown = appointment["status"]
        yield Violation("unequal", placer, f"PowerServer shows {story.status}, OmegaAI {shown} instead of {wanted}")
    if story.start is None or moment(appointment["start"]) != story.start:
        yield Violation("unequal", placer, f"starts {story.start} in PowerServer, {appointment['start']} in OmegaAI")


def _legal(story: Story) -> Iterator[Violation]:
    """Versions have no gap, a patient writes only as Blume allows, and a closed appointment stays closed."""
    versions = [version for version, _, _ in story.versions]
    if versions != list(range(1, len(versions) + 1)):
        yield Violation("illegal", story.placer, f"versions of the Appointment: {versions}")
    for (_, before, _), (_, after, by) in zip(story.versions, story.versions[1:], strict=False):
        if by == "blume" and after not in _BLUME_MAY.get(before, set()):
            yield Violation("illegal", story.placer, f"the patient led {before} to {after}")
        if by != "blume" and before in _CLOSED and after not in _CLOSED and not story.is_contested:
            yield Violation("illegal", story.placer, f"the suite led {before} to {after}")


def _answered(answered: Sequence[Answered], evidence: Evidence, told: dict[str, Story]) -> Iterator[Violation]:
    """Every act answered with success is in the ledger: the simulators keep their own promise."""
    statuses: dict[str, set[str]] = defaultdict(set)
    moved: Counter[str] = Counter()
    for row in evidence.powerserver:
        if row["kind"] == "appointment.status" and row["detail"]["by"] == "staff":
            statuses[row["subject"]].add(row["detail"]["to"])
        moved[row["subject"]] += row["kind"] == "appointment.moved"
    for one in answered:
        story = told.get(one.placer)
        pressed = {status for _, status, by in story.versions if by == "blume"} if story else set()
        is_kept = story is not None and (
            one.act == "book"
            or (one.act == "move" and moved[one.placer] > 0)
            or STATUS_OF_ACT.get(one.act) in statuses[one.placer]
            or {"confirm": "booked", "cancel": "cancelled"}.get(one.act) in pressed
        )
        if not is_kept:
            yield Violation("lost", one.placer, f"{one.act} was answered with success and stands in no ledger")


def _hl7_in(evidence: Evidence, told: dict[str, Story]) -> Iterator[Violation]:
    """Each message acknowledged with AA has one row in the journal and one decision in the link's history."""
    journal: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.sync["journal"]:
        journal[row["control_id"]].append(row)
    decisions = Counter(row["cause_id"] for row in evidence.sync["history"] if row["source"] == "powerserver")
    for story in told.values():
        for control_id, code in story.sent.items():
            rows = journal[control_id]
            if code != "AA":
                yield Violation("lost", story.placer, f"{control_id} was answered {code} in the end")
            elif len(rows) != 1:
                kind: Kind = "doubled" if rows else "lost"
                yield Violation(
                    kind, story.placer, f"{control_id} was acknowledged AA and stands {len(rows)} times in the journal"
                )
            elif decisions[rows[0]["id"]] != 1:
                kind = "doubled" if decisions[rows[0]["id"]] else "lost"
                number = decisions[rows[0]["id"]]
                yield Violation(
                    kind, story.placer, f"{control_id} was acknowledged AA and was decided on {number} times"
                )
    if evidence.unsent_hl7:
        yield Violation("lost", "", f"{evidence.unsent_hl7} messages were never acknowledged to PowerServer")


def _hl7_out(evidence: Evidence) -> Iterator[Violation]:
    """PowerServer accepted each delivery exactly once.

    At most once, where the suite reports that PowerServer already showed something later. Another check compares both
    ends.
    """
    accepted: Counter[str] = Counter()
    effects: Counter[str] = Counter()
    for row in evidence.powerserver:
        if row["kind"] == "hl7.received" and row["detail"]["ack_code"] == "AA" and not row["detail"]["repeat"]:
            accepted[row["subject"]] += 1
        if row["kind"] == "appointment.status" and row["detail"]["by"] == "hl7":
            effects[row["detail"]["control_id"]] += 1
    placers = _placers(evidence)
    for row in evidence.sync["deliveries"]:
        if row["destination"] == "powerserver" and row["state"] == "done":
            times = accepted[row["idempotency_key"]]
            is_right = times <= 1 if _was_out_of_date(row) else times == 1
            if not is_right or effects[row["idempotency_key"]] > 1:
                kind: Kind = "lost" if times == 0 else "doubled"
                placer = placers.get(row["key"], "")
                yield Violation(
                    kind, placer, f"delivery {row['idempotency_key']} was accepted {times} times by PowerServer"
                )


def _was_out_of_date(delivery: Row) -> bool:
    return bool(json.loads(delivery["receipt"] or "{}").get("ack") == NOT_SENT)


def _patients(evidence: Evidence) -> Iterator[Violation]:
    created = sum(1 for row in evidence.omegaai if row["kind"] == "Patient.created" and row["detail"]["by"] != "blume")
    booked = {row["detail"]["patient_id"] for row in evidence.powerserver if row["kind"] == "appointment.booked"}
    if created != len(booked):
        kind: Kind = "lost" if created < len(booked) else "doubled"
        yield Violation(kind, "", f"{len(booked)} patients were booked for, {created} Patients were created in OmegaAI")


def _events(evidence: Evidence) -> Iterator[Violation]:
    """Compares the outbox with topics and inboxes: each event arrives, in the order of its revisions."""
    placers = _placers(evidence)
    heard = {name: _heard(store, name) for name, store in _consumers(evidence).items()}
    revisions: dict[UUID, list[int]] = defaultdict(list)
    for row in evidence.sync["outbox"]:
        key, placer = row["aggregate_id"], placers.get(row["aggregate_id"], "")
        revisions[key].append(row["revision"])
        what = f"{row['topic']} revision {row['revision']}"
        if all(message_id != row["message_id"] for _, _, message_id in evidence.topics.get(key, [])):
            yield Violation("lost", placer, f"{what} is not on its topic")
            continue
        for name, messages in heard.items():
            if row["topic"] in roster().by_name[name].hears and row["message_id"] not in messages:
                yield Violation("lost", placer, f"{what} was not heard by {name}")
    for key, found in revisions.items():
        if found != list(range(1, len(found) + 1)):
            yield Violation("reordered", placers.get(key, ""), f"revisions in the outbox: {found}")
    written = {row["message_id"] for row in evidence.sync["outbox"]}
    for key, records in evidence.topics.items():
        yield from _records(placers.get(key, ""), records, written)


def _consumers(evidence: Evidence) -> dict[str, dict[str, list[Row]]]:
    """The stores of all services that consume from Kafka, by the service's name."""
    stores = {"notifier": evidence.notifier, **evidence.others}
    return {name: store for name, store in stores.items() if roster().by_name[name].hears}


def _heard(store: dict[str, list[Row]], consumer: str) -> set[UUID]:
    return {row["message_id"] for row in store["inbox"] if row["consumer"] == consumer}


def _records(placer: str, records: Sequence[tuple[str, int, UUID]], written: set[UUID]) -> Iterator[Violation]:
    """The records on the topics under one key. A repeated event is harmless: the inbox drops it."""
    first: dict[str, list[int]] = defaultdict(list)
    seen = set()
    for topic, revision, message_id in records:
        if message_id not in written:
            yield Violation("doubled", placer, f"{topic} has an event that no transaction wrote")
        if message_id not in seen:
            seen.add(message_id)
            first[topic].append(revision)
    for topic, numbers in first.items():
        if numbers != sorted(numbers):
            yield Violation("reordered", placer, f"revisions on {topic}: {numbers}")


def _orphans(evidence: Evidence) -> Iterator[Violation]:
    """Rows that should not exist when everything has settled."""
    placers = _placers(evidence)
    yield from _left_in(evidence.sync, "scheduler-sync", placers)
    yield from _left_in(evidence.notifier, "notifier", placers)
    for name, store in evidence.others.items():
        yield from _left_in(store, name, placers)
    for row in evidence.sync["journal"]:
        if row["state"] not in {"accepted", "replayed"}:
            yield Violation("orphan", "", f"journal: {row['control_id']} is {row['state']}: {row['reason']}")
    for row in evidence.sync["parked_tasks"]:
        yield Violation("orphan", "", f"Task {row['task_id']} of {row['focus']} is parked: {row['reason']}")
    claims = {row["message_id"] for row in evidence.sync["inbox"] if row["consumer"] == "omegaai.tasks"}
    tasks = {cause_of_task(task["id"]) for task in evidence.tasks}
    ready = sum(1 for task in evidence.tasks if task["status"] == "ready")
    if ready or claims != tasks:
        words = f"{len(tasks - claims)} completed without a claim, {len(claims - tasks)} claims without a Task"
        yield Violation("orphan", "", f"Tasks: {ready} ready, {words}")
    published = {row["message_id"] for row in evidence.sync["outbox"]}
    for name, store in _consumers(evidence).items():
        if strangers := _heard(store, name) - published:
            yield Violation("orphan", "", f"{name} claimed {len(strangers)} events that nobody published")
    for row in evidence.notifier["notifications"]:
        if row["state"] in {"awaiting_recipient", "queued"}:
            placer = placers.get(row["appointment_id"], "")
            yield Violation("orphan", placer, f"notification {row['template']} is {row['state']}")


def _left_in(store: dict[str, list[Row]], name: str, placers: dict[UUID, str]) -> Iterator[Violation]:
    """Rows left in the chassis' tables."""
    for row in store["outbox"]:
        if row["sent_at"] is None:
            placer = placers.get(row["aggregate_id"], "")
            yield Violation("orphan", placer, f"{name}: outbox row {row['id']} is unsent")
    for row in store["deliveries"]:
        if row["state"] != "done" or row["lease_until"] is not None:
            what = f"delivery {row['kind']} to {row['destination']} is {row['state']}: {row['last_error']}"
            yield Violation("orphan", placers.get(row["key"], ""), f"{name}: {what}")
    for table in ("parked_keys", "parked_messages"):
        for row in store[table]:
            yield Violation("orphan", placers.get(row["key"], ""), f"{name}: a row in {table}")
    for row in store["dead_letters"]:
        yield Violation("orphan", "", f"{name}: dead letter of {row['topic']}: {row['reason']}")


def _placers(evidence: Evidence) -> dict[UUID, str]:
    """Placer numbers by link."""
    return {row["id"]: row["placer_number"] for row in evidence.sync["links"]}


def _mails(evidence: Evidence, verdict: Verdict) -> Iterator[Violation]:
    """One mail per event and channel; two only where SMTP could not tell and the notifier's store records it."""
    placers = _placers(evidence)
    received = (row["subject"] for row in evidence.mailsink if row["kind"] == "mail.received")
    copies = Counter(subject.strip("<>").split("@")[0] for subject in received)
    verdict.mails = sum(copies.values())
    rows = {row["notification_id"].hex: row for row in evidence.notifier["notifications"]}
    for identifier in copies.keys() - rows.keys():
        yield Violation("doubled", "", f"a mail {identifier} arrived that no notification stands for")
    newest: dict[UUID, Row] = {}
    for row in sorted(evidence.sync["outbox"], key=lambda row: row["revision"]):
        if row["topic"].startswith("appointment."):
            newest[row["aggregate_id"]] = row
    for identifier, row in rows.items():
        placer = placers.get(row["appointment_id"], "")
        is_newest = newest[row["appointment_id"]]["revision"] <= row["revision"]
        yield from _copies(row, copies[identifier], placer, verdict, is_newest=is_newest)
    told = {(row["appointment_id"], row["revision"]): row for row in rows.values()}
    for key, event in newest.items():
        template, found = TEMPLATE_OF_EVENT.get(event["topic"]), told.get((key, event["revision"]))
        if template is not None and (found is None or found["template"] != template or found["state"] != "sent"):
            state = "no notification" if found is None else f"{found['template']} {found['state']}"
            yield Violation("lost", placers.get(key, ""), f"{event['topic']} revision {event['revision']}: {state}")


def _copies(row: Row, number: int, placer: str, verdict: Verdict, *, is_newest: bool) -> Iterator[Violation]:
    """Compares one notification with the copies that arrived."""
    handovers, is_sent = row["unanswered_handovers"], row["state"] == "sent"
    what = f"{row['template']} of revision {row['revision']} ({row['state']}, {handovers} hand-overs)"
    if is_sent and number == 0 and not (row["reason"] or "").endswith("not at all"):
        yield Violation("lost", placer, f"{what} did not arrive")
    if number > int(is_sent):
        if number <= LARGEST_NUMBER_OF_COPIES and handovers >= number:
            verdict.mails_twice_and_logged += number > 1
        else:
            yield Violation("doubled", placer, f"{what} arrived {number} times")
    if row["state"] == "superseded" and is_newest:
        yield Violation("lost", placer, f"{what} was superseded by nothing")
    if row["state"] == "undeliverable":
        yield Violation("lost", placer, f"{what}: {row['reason']}")
