"""The whole history of one appointment across every hop, in time order, for finding a cause.

It holds only opaque ids, codes, times and states. Fields are listed here one by one, and none holds patient data.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from tests.chaos.evidence import Evidence, Row
from tests.chaos.stories import moment

_DETAILS: Final = ("from", "to", "by", "control_id", "start", "type", "ack_code", "repeat", "applied", "dropped",
                   "versionId", "status", "template", "problem")  # fmt: skip

_SHOWN_OF_A_LINK: Final = (
    "state", "step", "revision", "omegaai_id", "omegaai_version", "omegaai_written_version", "powerserver_step",
    "powerserver_heard_at", "powerserver_told_at",
)  # fmt: skip


def history(evidence: Evidence, placer: str) -> list[str]:
    """One line per event of the appointment."""
    link = next((row for row in evidence.sync["links"] if row["placer_number"] == placer), None)
    lines = [*_ledgers(evidence, placer, link), *(_stores(evidence, link) if link is not None else ())]
    told = [f"  {at:%H:%M:%S.%f} {hop:<22} {words}" for at, hop, words in sorted(lines)]
    if link is None:
        return ["  there is no link", *told]
    return [f"  link {link['id']} " + " ".join(f"{name}={link[name]}" for name in _SHOWN_OF_A_LINK), *told]


def _ledgers(evidence: Evidence, placer: str, link: Row | None) -> Iterator[tuple[datetime, str, str]]:
    for name, rows in (("powerserver", evidence.powerserver), ("omegaai", evidence.omegaai)):
        for row in rows:
            if placer in {row["subject"], row["detail"].get("placer_number")}:
                yield moment(row["at"]), f"{name} ledger", f"{row['kind']} {row['subject']} {_words(row['detail'])}"
    for row in evidence.mailsink:
        if link is not None and row["detail"].get("appointment") == str(link["id"]):
            yield (
                moment(row["at"]),
                "mailsink ledger",
                f"{row['kind']} {row['subject']} {row['detail'].get('template')}",
            )


def _stores(evidence: Evidence, link: Row) -> Iterator[tuple[datetime, str, str]]:
    yield from _decisions(evidence, link["id"])
    yield from _outgoing(evidence, link)
    yield from _notifier(evidence, link["id"])


def _decisions(evidence: Evidence, key: UUID) -> Iterator[tuple[datetime, str, str]]:
    entries = [row for row in evidence.sync["history"] if row["link_id"] == key]
    causes = {row["cause_id"] for row in entries}
    for row in evidence.sync["journal"]:
        if row["id"] in causes:
            words = f"{row['type']} {row['control_id']} {row['state']} repeats {row['repeats']}"
            yield row["received_at"], "journal", f"{words} (id …{str(row['id'])[-6:]})"
    for row in entries:
        move = f"{row['state_before']}→{row['state_after']} revision {row['revision']} changed {row['changed']}"
        words = f"{row['source']} {row['message']}: {row['outcome']} {move}"
        yield row["at"], "link history", f"{words} (cause …{str(row['cause_id'])[-6:]})"
    for row in evidence.sync["conflicts"]:
        if row["link_id"] == key:
            yield row["at"], "conflict", row["why"]


def _outgoing(evidence: Evidence, link: Row) -> Iterator[tuple[datetime, str, str]]:
    for row in evidence.sync["outbox"]:
        if row["aggregate_id"] == link["id"]:
            yield row["created_at"], "outbox", f"{row['topic']} revision {row['revision']} sent {row['sent_at']}"
    for name, rows in (("sync", evidence.sync["deliveries"]), ("notifier", evidence.notifier["deliveries"])):
        for row in rows:
            if row["key"] in {link["id"], link["patient_id"]}:
                done = f"{row['state']} after {row['attempts']} attempts at {row['done_at']}"
                words = f"{row['kind']} {row['idempotency_key']} {done}: {row['receipt'] or row['last_error']}"
                yield row["created_at"], f"{name} delivery", words


def _notifier(evidence: Evidence, key: UUID) -> Iterator[tuple[datetime, str, str]]:
    for row in evidence.notifier["notifications"]:
        if row["appointment_id"] == key:
            words = f"{row['template']} revision {row['revision']} {row['state']} {row['reason'] or ''}"
            yield row["created_at"], "notifier", f"{words} hand-overs {row['unanswered_handovers']}"
    heard = {row["message_id"]: row["received_at"] for row in evidence.notifier["inbox"]}
    for topic, revision, message_id in evidence.topics.get(key, []):
        if message_id in heard:
            yield heard[message_id], "notifier inbox", f"{topic} revision {revision}"


def _words(detail: Row) -> str:
    return " ".join(f"{name}={detail[name]}" for name in _DETAILS if name in detail)
