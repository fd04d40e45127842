"""From what a message costs to what an installation needs: the tables of `docs/operations/sizing.md`.

Plain arithmetic over `bench/results/sizing.json`, so that a new measurement makes new tables. What a message costs was
measured with bookings of new patients, the dearest message there is.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.driver import SIU
from chassis.settings import RetentionSettings
from contracts.topics import TOPICS

DOCUMENT = Path(__file__).parents[1] / "docs" / "operations" / "sizing.md"
SITES = (1, 100, 10_000)
DAY_SECONDS = 86_400
YEAR_DAYS = 365
ACK_BYTES = 160
QUIET_LOAD = 1.0
TOPIC = next(iter(TOPICS.values()))
PER_APPOINTMENT = frozenset({
    "patients", "patient_identifiers", "appointment_links", "aggregates", "recipients", "appointments",
})  # fmt: skip
"""Tables with one row for each appointment or patient, whatever the number of messages."""


@dataclass(frozen=True)
class Cost:
    """The measurements of one run, per message unless the name says otherwise."""

    partitions: int
    replicas: int
    messages: int
    messages_per_second: float
    acknowledged_per_second: float
    scheduler_sync_cpu_us: float
    notifier_cpu_us: float
    postgres_cpu_us: float
    kafka_cpu_us: float
    kafka_bytes: float
    postgres_rows: float
    wal_bytes: float
    table_bytes: dict[str, float]


@dataclass(frozen=True)
class Partners:
    """CPU per input with OmegaAI, PowerServer and the mail server present, one message at a time: no cost is shared."""

    inputs: int
    scheduler_sync_cpu_us: float
    notifier_cpu_us: float

    @classmethod
    def of_soak(cls, report: dict[str, Any]) -> "Partners":
        """The costs from the report of `python -m tests.chaos.soak`."""
        used = report["cpu_us_per_input"]
        return cls(report["inputs"], used["scheduler-sync"], used["notifier"])


@dataclass(frozen=True)
class Measured:
    """The content of `bench/results/sizing.json`."""

    costs: list[Cost]
    load_before: float
    """The machine's load average at the start of the run, to tell whether it was quiet."""
    partners: Partners | None = None

    @property
    def basis(self) -> Cost:
        """The basis of the plan: one replica of each service, fully busy, on as many partitions as were measured."""
        return max((one for one in self.costs if one.replicas == 1), key=lambda one: one.partitions)

    @classmethod
    def read(cls, path: Path) -> "Measured":
        found = json.loads(path.read_text())
        partners = found["partners"]
        return cls(
            [Cost(**one) for one in found["costs"]],
            found["load_before"],
            Partners(**partners) if partners else None,
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True)
class Assumptions:
    """The assumptions of the plan. None of them was measured at a customer's."""

    appointments_per_site_and_day: float = 300
    messages_per_appointment: float = 7
    peak_factor: float = 5
    """The busiest minutes relative to the day's mean: the morning, and the backlog after an outage."""
    busy_share: float = 0.6
    """Share of a core in use at the peak; the rest is for a replica that is away."""
    spare_storage: float = 1.3
    """Dead rows and half-full pages, until vacuum frees them."""
    replication_factor: int = 3
    least_replicas: int = 2
    retention: RetentionSettings = field(default_factory=RetentionSettings)

    @property
    def messages_per_site_and_day(self) -> float:
        return self.appointments_per_site_and_day * self.messages_per_appointment


@dataclass(frozen=True)
class Plan:
    """The needs of a number of sites. MB are 10^6 bytes, GB 10^9."""

    sites: int
    messages_a_day: float
    peak_per_second: float
    scheduler_sync_replicas: tuple[int, int]
    """With full batches and the partners' calls left out; and one message at a time with them."""
    notifier_replicas: tuple[int, int]
    partitions: int
    brokers: int
    kafka_cores: float
    kafka_mb_per_second: float
    """Written by the producers; each broker has a copy where there are as many as copies."""
    kafka_disk_gb: float
    postgres_cores: float
    wal_mb_per_second: float
    postgres_kept_gb: float
    postgres_history_gb_a_year: float
    network_mbit_per_second: float


def plan(measured: Measured, sites: int, assumptions: Assumptions | None = None) -> Plan:
    """The needs of ``sites`` sites, by the measured costs."""
    given = assumptions or Assumptions()
    cost, partners = measured.basis, measured.partners
    daily = sites * given.messages_per_site_and_day
    peak = daily / DAY_SECONDS * given.peak_factor

    def replicas(batched_us: float, alone_us: float | None) -> tuple[int, int]:
        low, high = (
            max(given.least_replicas, math.ceil(peak * each / 1e6 / given.busy_share))
            for each in (batched_us, max(batched_us, alone_us or 0))
        )
        return low, high

    notifiers = replicas(cost.notifier_cpu_us, partners.notifier_cpu_us if partners else None)
    kept, history = storage_gb(cost, sites, given)
    topic_days = TOPIC.retention_ms / 1000 / DAY_SECONDS
    copies = given.replication_factor
    wire_bytes = len(SIU) + ACK_BYTES + cost.kafka_bytes * (copies + 1) + cost.wal_bytes
    return Plan(
        sites=sites,
        messages_a_day=daily,
        peak_per_second=peak,
        scheduler_sync_replicas=replicas(
            cost.scheduler_sync_cpu_us, partners.scheduler_sync_cpu_us if partners else None
        ),
        notifier_replicas=notifiers,
        partitions=max(TOPIC.partitions, TOPIC.partitions * math.ceil(2 * notifiers[1] / TOPIC.partitions)),
        brokers=copies,
        kafka_cores=peak * cost.kafka_cpu_us * copies / 1e6 / given.busy_share,
        kafka_mb_per_second=peak * cost.kafka_bytes / 1e6,
        kafka_disk_gb=daily * topic_days * cost.kafka_bytes * copies / 1e9,
        postgres_cores=peak * cost.postgres_cpu_us / 1e6 / given.busy_share,
        wal_mb_per_second=peak * cost.wal_bytes / 1e6,
        postgres_kept_gb=kept,
        postgres_history_gb_a_year=history,
        network_mbit_per_second=peak * wire_bytes * 8 / 1e6,
    )


def kept_days(table: str, retention: RetentionSettings) -> float | None:
    """After how many days a row is deleted; None for history, which stays."""
    days = getattr(retention, f"{table}_days", None)
    return None if days is None else float(days)


def storage_gb(cost: Cost, sites: int, given: Assumptions) -> tuple[float, float]:
    """The size of tables that retention empties, and the yearly growth of the history."""
    kept = history = 0.0
    for table, each in cost.table_bytes.items():
        appointments = sites * given.appointments_per_site_and_day
        rate = appointments if table in PER_APPOINTMENT else sites * given.messages_per_site_and_day
        days = kept_days(table, given.retention)
        if days is None:
            history += rate * YEAR_DAYS * each
        else:
            kept += rate * days * each
    return kept * given.spare_storage / 1e9, history * given.spare_storage / 1e9


# ---- the document ----------------------------------------------------------------------------------------------------


def document(text: str, measured: Measured) -> str:
    """``text`` with its tables written anew. Raises ``ValueError`` when a table's place is missing."""
    for name, table in (
        ("throughput", throughput_table(measured)),
        ("cost", cost_table(measured)),
        ("tables", storage_table(measured.basis)),
        ("plan", plan_table([plan(measured, sites) for sites in SITES])),
    ):
        begin, end = f"<!-- {name}: written by bench.sizing -->\n", f"<!-- {name}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the document has no place, or more than one, for the table {name}: {begin.strip()}")
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Two significant digits, or the whole number with thin groups."""
    if value >= 10:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2g}" if value else "0"


def throughput_table(measured: Measured) -> str:
    base = measured.costs[0].messages_per_second
    rows = [
        [str(one.partitions), str(one.replicas), number(one.messages_per_second), number(one.acknowledged_per_second),
         f"{one.messages_per_second / base:.2f}"]
        for one in measured.costs
    ]  # fmt: skip
    table = _table(["partitions a topic", "replicas of each", "effects/s", "acknowledged/s", "beside the first"], rows)
    quiet = "" if measured.load_before < QUIET_LOAD else ": **other work ran beside it, which makes times longer**"
    return f"{table}\n\nThe machine's load average before the run was {measured.load_before:.1f}{quiet}."


def cost_table(measured: Measured) -> str:
    costs = measured.costs
    heads = ["a message", *(f"{one.partitions} × {one.replicas}" for one in costs)]
    words = {
        "scheduler_sync_cpu_us": "scheduler-sync, CPU µs",
        "notifier_cpu_us": "notifier, CPU µs",
        "postgres_cpu_us": "Postgres, CPU µs",
        "kafka_cpu_us": "Kafka, CPU µs",
        "kafka_bytes": "Kafka, bytes in segments",
        "postgres_rows": "Postgres, rows written",
        "wal_bytes": "Postgres, WAL bytes",
    }
    rows = [[word, *(number(getattr(one, name)) for one in costs)] for name, word in words.items()]
    if measured.partners is not None:
        alone = measured.partners
        for name, value in (("scheduler-sync", alone.scheduler_sync_cpu_us), ("notifier", alone.notifier_cpu_us)):
            rows.append([f"{name}, CPU µs, one at a time, partners there", number(value), *[""] * (len(costs) - 1)])
    return _table(heads, rows)


def storage_table(cost: Cost) -> str:
    given = RetentionSettings()
    rows = []
    for table, each in sorted(cost.table_bytes.items(), key=lambda one: -one[1]):
        days = kept_days(table, given)
        per = "appointment" if table in PER_APPOINTMENT else "message"
        rows.append([f"`{table}`", number(each), per, "stays" if days is None else f"{days:g} days"])
    return _table(["table", "bytes with indexes", "per", "kept"], rows)


def plan_table(plans: list[Plan]) -> str:
    def span(pair: tuple[int, int]) -> str:
        return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {number(pair[1])}"

    lines: list[tuple[str, list[str]]] = [
        ("messages a day", [number(one.messages_a_day) for one in plans]),
        ("messages a second at the peak", [number(one.peak_per_second) for one in plans]),
        ("scheduler-sync, replicas of one core", [span(one.scheduler_sync_replicas) for one in plans]),
        ("notifier, replicas of one core", [span(one.notifier_replicas) for one in plans]),
        ("Kafka brokers", [str(one.brokers) for one in plans]),
        ("Kafka, cores in all", [number(one.kafka_cores) for one in plans]),
        ("Kafka, MB/s from producers at the peak", [number(one.kafka_mb_per_second) for one in plans]),
        ("Kafka, GB on disk in all", [number(one.kafka_disk_gb) for one in plans]),
        ("partitions a topic", [str(one.partitions) for one in plans]),
        ("Postgres, cores", [number(one.postgres_cores) for one in plans]),
        ("Postgres, WAL MB/s at the peak", [number(one.wal_mb_per_second) for one in plans]),
        ("Postgres, GB that retention keeps level", [number(one.postgres_kept_gb) for one in plans]),
        ("Postgres, GB of history a year", [number(one.postgres_history_gb_a_year) for one in plans]),
        ("network at the peak, Mbit/s in all", [number(one.network_mbit_per_second) for one in plans]),
    ]
    heads = ["", *(f"{number(one.sites)} site{'s' if one.sites > 1 else ''}" for one in plans)]
    return _table(heads, [[word, *values] for word, values in lines])
