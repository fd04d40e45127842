"""The modality worklist over DICOM, asked by a separate program of pynetdicom, as a modality asks it."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification  # type: ignore[attr-defined]

DAY = "20261201"
ASKED = ("AccessionNumber", "PatientID", "PatientName", "PlacerOrderNumberImagingServiceRequest", "StudyInstanceUID")
ASKED_OF_STEP = (
    "ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime", "Modality",
)  # fmt: skip


def keys(of_step: Mapping[str, str] | None = None, **others: str) -> Dataset:
    asked, step = Dataset(), Dataset()
    for name in ASKED:
        setattr(asked, name, others.get(name, ""))
    for name in ASKED_OF_STEP:
        setattr(step, name, (of_step or {"ScheduledProcedureStepStartDate": DAY}).get(name, ""))
    asked.ScheduledProcedureStepSequence = [step]
    return asked


def find(port: int, asked: Dataset, *, called: str = "POWERSERVER") -> tuple[list[Dataset], int | None]:
    """The items and the last status; None where the association ended without one."""
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        raise ConnectionError
    found: list[Dataset] = []
    last: int | None = None
    for status, item in association.send_c_find(asked, ModalityWorklistInformationFind):
        last = status.Status if status else None
        if item is not None:
            found.append(item)
    if association.is_established:
        association.release()
    return found, last


async def asked(bench, identifier: Dataset, **more: Any) -> tuple[list[Dataset], int | None]:
    return await asyncio.to_thread(find, bench.simulator.worklist_port, identifier, **more)


async def test_a_booked_appointment_is_an_item_for_each_study_at_its_time(bench) -> None:
    placer = await bench.book(start="2026-12-01T14:30:00-05:00", study_types=["CT-HEAD", "CT-CHEST"])
    await bench.book(start="2026-12-02T09:00:00-05:00")
    found, status = await asked(bench, keys())
    assert status == 0
    steps = [item.ScheduledProcedureStepSequence[0] for item in found]
    assert [step.ScheduledProcedureStepStartTime for step in steps] == ["143000", "150000"]
    assert {step.ScheduledStationAETitle for step in steps} == {"BLUME_CT"}
    assert {item.PlacerOrderNumberImagingServiceRequest for item in found} == {placer}
    assert {item.PatientID for item in found} == {"4711"}
    assert "PatientBirthDate" not in found[0], "only what was asked comes back"
    assert [item.AccessionNumber for item in found] == [f"ACC{placer[1:]}", f"ACC{placer[1:]}-2"]


async def test_station_time_range_and_accession_narrow_the_answer(bench) -> None:
    first = await bench.book(resource="BLUME CT", start="2026-12-01T09:00:00-05:00")
    second = await bench.book(resource="BLUME MR", start="2026-12-01T10:00:00-05:00", study_types=["MR-KNEE"])
    day = {"ScheduledProcedureStepStartDate": DAY}
    for identifier, expected in (
        (keys({**day, "ScheduledStationAETitle": "BLUME_MR"}), [second]),
        (keys({**day, "ScheduledProcedureStepStartTime": "0900-0959"}), [first]),
        (keys({**day, "ScheduledProcedureStepStartTime": "10"}), [second]),
        (keys({"ScheduledProcedureStepStartDate": "20261130-20261202"}), [first, second]),
        (keys({}, AccessionNumber=f"ACC{second[1:]}"), [second]),
        (keys({**day, "Modality": "DX"}), []),
    ):
        found, status = await asked(bench, identifier)
        assert ([item.PlacerOrderNumberImagingServiceRequest for item in found], status) == (expected, 0)


async def test_a_cancelled_appointment_leaves_the_worklist(bench) -> None:
    placer = await bench.book()
    await bench.act(placer, "cancelled-with-notice")
    assert await asked(bench, keys()) == ([], 0)


@pytest.mark.parametrize(
    "broken", [{"ScheduledProcedureStepStartDate": "20269999"}, {"ScheduledProcedureStepStartTime": "1"}]
)
async def test_a_wrong_key_is_refused(bench, broken: dict[str, str]) -> None:
    with pytest.warns(UserWarning, match="Invalid value for VR"):
        identifier = keys(broken)
    found, status = await asked(bench, identifier)
    assert (found, status) == ([], 0xA900)


async def test_without_the_sequence_and_under_another_title_nothing_is_answered(bench) -> None:
    bare = Dataset()
    bare.PatientID = ""
    assert await asked(bench, bare) == ([], 0xA900)
    with pytest.raises(ConnectionError):
        await asked(bench, keys(), called="ANOTHER")


async def test_faults(bench) -> None:
    for hour in (9, 10, 11):
        await bench.book(start=datetime.fromisoformat(f"2026-12-01T{hour:02}:00:00-05:00").isoformat())
    faults = bench.simulator.services.misbehaviour
    for mode, more, expected in (
        ("status", {}, (0, 0xA700)),
        ("limit", {"status": 2}, (2, 0)),
        ("limit-failure", {"status": 2}, (2, 0xA700)),
        ("limit-failure", {"status": 3}, (3, 0)),
        ("cut", {}, (0, None)),
        ("slow", {"seconds": 0.01}, (3, 0)),
    ):
        faults.order(mode, target="worklist", **more)
        found, status = await asked(bench, keys())
        assert (len(found), status) == expected, mode


async def test_echo(bench) -> None:
    def echo() -> int:
        ae = AE(ae_title="MODALITY")
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", bench.simulator.worklist_port, ae_title="POWERSERVER")
        status = association.send_c_echo()
        association.release()
        return int(status.Status)

    assert await asyncio.to_thread(echo) == 0
