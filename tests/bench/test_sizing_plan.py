"""The arithmetic from costs to a plan, and the document's agreement with the measurements."""

from dataclasses import replace
from itertools import pairwise

import pytest

from bench.sizing import FILE
from bench.sizing_plan import DOCUMENT, SITES, Assumptions, Cost, Measured, Partners, document, plan, storage_gb
from chassis.settings import RetentionSettings

COST = Cost(
    partitions=1, replicas=1, messages=1000, messages_per_second=200, acknowledged_per_second=250,
    scheduler_sync_cpu_us=2000, notifier_cpu_us=1000, postgres_cpu_us=1000, kafka_cpu_us=100, kafka_bytes=2000,
    postgres_rows=20, wal_bytes=10_000,
    table_bytes={"outbox": 1000, "hl7_journal": 2000, "patients": 500, "link_history": 100},
)  # fmt: skip
MEASURED = Measured([COST], load_before=0.2)
GIVEN = Assumptions()


def test_a_plan_follows_from_the_costs() -> None:
    found = plan(MEASURED, 10_000)
    # 10,000 sites × 300 appointments × 7 messages = 21 million a day, 243 a second, 1,215 at the peak.
    assert found.messages_a_day == 21_000_000
    assert found.peak_per_second == pytest.approx(1215.28, abs=0.01)
    assert found.scheduler_sync_replicas == (5, 5)  # 2.43 cores at 60 %: 4.05
    assert found.notifier_replicas == (3, 3)
    assert found.postgres_cores == pytest.approx(2.03, abs=0.01)
    assert found.kafka_mb_per_second == pytest.approx(2.43, abs=0.01)
    assert found.wal_mb_per_second == pytest.approx(12.15, abs=0.01)
    assert found.kafka_disk_gb == pytest.approx(21e6 * 30 * 2000 * 3 / 1e9)
    assert found.partitions == 6


def test_the_plan_goes_by_one_replica_on_most_partitions() -> None:
    others = [replace(COST, partitions=4, scheduler_sync_cpu_us=4000), replace(COST, partitions=4, replicas=4)]
    assert plan(Measured([COST, *others], 0.2), 10_000).scheduler_sync_replicas == (9, 9)


def test_the_smallest_installation_has_a_spare_of_everything() -> None:
    found = plan(MEASURED, 1)
    assert found.scheduler_sync_replicas == (2, 2)
    assert found.notifier_replicas == (2, 2)
    assert found.brokers == 3


def test_costs_with_partners_are_the_upper_end() -> None:
    measured = replace(MEASURED, partners=Partners(5000, scheduler_sync_cpu_us=20_000, notifier_cpu_us=10_000))
    found = plan(measured, 10_000)
    assert found.scheduler_sync_replicas == (5, 41)
    assert found.notifier_replicas == (3, 21)
    assert found.partitions == 42, "twice the notifiers, in steps of the contract's six"


def test_retention_levels_what_it_empties_and_history_grows() -> None:
    kept, history = storage_gb(COST, 100, GIVEN)
    messages, appointments = 100 * 2100, 100 * 300
    assert kept == pytest.approx((messages * 7 * 1000 + messages * 30 * 2000) * 1.3 / 1e9)
    assert history == pytest.approx((appointments * 365 * 500 + messages * 365 * 100) * 1.3 / 1e9)
    longer = replace(GIVEN, retention=RetentionSettings(hl7_journal_days=60))
    assert storage_gb(COST, 100, longer)[0] > kept


def test_more_sites_never_need_less() -> None:
    plans = [plan(MEASURED, sites) for sites in (1, 10, 100, 1000, 10_000, 100_000)]
    for less, more in pairwise(plans):
        assert less.scheduler_sync_replicas <= more.scheduler_sync_replicas
        assert less.partitions <= more.partitions
        assert less.postgres_cores < more.postgres_cores


def test_the_document_says_what_was_measured() -> None:
    text = DOCUMENT.read_text()
    assert document(text, Measured.read(FILE)) == text, "python -m bench.sizing --document"
    assert all(f"{sites:,}".replace(",", " ") in text for sites in SITES)


def test_a_document_without_a_tables_place_is_refused() -> None:
    text = DOCUMENT.read_text().replace("<!-- plan: end -->", "")
    with pytest.raises(ValueError, match=r"no place.*plan"):
        document(text, MEASURED)
