"""The worklist asked in a separate process: against a real SCP that may be limited, slow, failing or gone."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]
from sync_samples import site_file

from chassis.errors import Transient
from scheduler_sync.adapters.worklist.asking import Asked, Part, Step, whole_answer
from scheduler_sync.adapters.worklist.worklist import Worklist
from scheduler_sync.domain.reconciliation import Days
from scheduler_sync.settings import WorklistSettings

DAY = date(2026, 12, 1)
ONE_DAY = Days(DAY, date(2026, 12, 2))
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def item(number: int, *, station: str = "BLUME_CT", hour: int = 9, **more: str) -> Dataset:
    step, found = Dataset(), Dataset()
    step.ScheduledStationAETitle = station
    step.ScheduledProcedureStepStartDate = more.get("day", f"{DAY:%Y%m%d}")
    step.ScheduledProcedureStepStartTime = f"{hour:02}{number % 60:02}00"
    step.ScheduledProcedureStepID = str(number)
    found.AccessionNumber = more.get("accession", f"ACC{number}")
    found.PlacerOrderNumberImagingServiceRequest = more.get("placer", f"P{number}")
    found.PatientID = "4711"
    found.ScheduledProcedureStepSequence = [step]
    return found


@dataclass
class Scp:
    """A worklist that answers as ``answer`` says; ``asked`` has every question."""

    answer: Callable[[Dataset], Iterator[tuple[int, Dataset | None]]]
    asked: list[Dataset] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[int]:
        ae = AE(ae_title="POWERSERVER")
        ae.add_supported_context(ModalityWorklistInformationFind)

        def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
            self.asked.append(event.identifier)
            yield from self.answer(event.identifier)

        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
        try:
            yield server.socket.getsockname()[1]
        finally:
            ae.shutdown()


def matching(items: list[Dataset], *, most: int = 10_000, ends: int = 0) -> Callable:
    def answer(asked: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        wanted = asked.ScheduledProcedureStepSequence[0]
        first, _, last = (wanted.ScheduledProcedureStepStartTime or "").partition("-")
        found = [
            one for one in items
            if wanted.ScheduledStationAETitle in ("", one.ScheduledProcedureStepSequence[0].ScheduledStationAETitle)
            and (asked.AccessionNumber in ("", None, one.AccessionNumber))
            and (not first or first <= one.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime <= last)
        ]  # fmt: skip
        for one in found[:most]:
            yield 0xFF00, one
        if len(found) > most and ends:
            yield ends, None

    return answer


def worklist(port: int, **more: object) -> Worklist:
    return Worklist(WorklistSettings(host="127.0.0.1", port=port, timeout_seconds=20, **more), site_file())


async def test_studies_of_one_order_are_one_appointment_from_the_first_start() -> None:
    items = [item(1, hour=10), item(1, hour=9), item(2, station="LAKE_CT", hour=9), item(3, station="NOBODYS", hour=9)]
    with Scp(matching(items)).listening() as port:
        [day] = [one async for one in worklist(port).days(ONE_DAY)]
    found = {one.placer: (one.starts, one.resource) for one in day.found}
    assert found == {
        "P1": (datetime(2026, 12, 1, 14, 1, tzinfo=UTC), "BLUME CT"),
        "P2": (datetime(2026, 12, 1, 17, 2, tzinfo=UTC), "LAKE CT"),
    }
    assert (day.is_cut, day.unreadable) == (False, 0)


async def test_a_day_at_a_round_number_is_asked_by_the_hour() -> None:
    """A server that stops at 100 and says nothing: the hours have them all."""
    items = [item(number, hour=8 + number % 12) for number in range(230)]
    scp = Scp(matching(items, most=100))
    with scp.listening() as port:
        [day] = [one async for one in worklist(port).days(ONE_DAY)]
    assert len(day.found) == 230
    assert not day.is_cut
    assert len(scp.asked) == 6 + 24


async def test_a_failure_after_some_items_is_asked_by_the_hour_and_a_full_hour_is_said_to_be_cut() -> None:
    items = [item(number, hour=9) for number in range(230)]
    with Scp(matching(items, most=99, ends=0xA700)).listening() as port:
        [day] = [one async for one in worklist(port).days(ONE_DAY)]
    assert day.is_cut
    assert len(day.found) == 99


async def test_an_item_that_names_no_order_or_no_time_is_counted() -> None:
    items = [item(1), item(2, placer="", accession=""), item(3, day="")]
    with Scp(matching(items)).listening() as port:
        [day] = [one async for one in worklist(port).days(ONE_DAY)]
    assert [one.placer for one in day.found] == ["P1"]
    assert day.unreadable == 2


async def test_the_second_look_asks_by_accession_number() -> None:
    with Scp(matching([item(1), item(2)])).listening() as port:
        found = await worklist(port).shows(["ACC2"])
        assert [one.placer for one in found] == ["P2"]
        assert await worklist(port).shows([]) == []


async def test_nobody_listens_the_wrong_title_an_abort_and_silence_are_transient() -> None:
    is_over = threading.Event()

    def silent(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        is_over.wait(30)
        yield 0x0000, None

    with pytest.raises(Transient, match="no association"):
        _ = [one async for one in worklist(9).days(ONE_DAY)]
    with Scp(silent).listening() as port:
        began = time.monotonic()
        with pytest.raises(Transient, match="longest_seconds"):
            _ = [one async for one in worklist(port, longest_seconds=2).days(ONE_DAY)]
        assert time.monotonic() - began < 25
        is_over.set()


def test_the_hours_are_asked_only_where_the_day_may_be_cut() -> None:
    def step(number: int) -> Step:
        return Step(f"P{number}", "", str(number), "A", "20261201", "090000", "", "")

    for number, asks in ((0, 1), (1, 1), (49, 1), (50, 25), (64, 25), (1000, 25), (1001, 1)):
        asked: list[Asked] = []

        def find(one: Asked, number: int = number, asked: list[Asked] = asked) -> Part:
            asked.append(one)
            return Part([step(n) for n in range(number if not one.time else number % 7)])

        whole_answer(Asked("A", "20261201"), find)
        assert len(asked) == asks, number
