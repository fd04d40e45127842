"""The modality worklist SCP: Verification and Modality Worklist C-FIND, as strict as the standard lets it be.

pynetdicom answers each association in a thread of its own; the store is read on the event loop, which owns it.
"""

import asyncio
import logging
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from powerserver_sim.worklist import items
from powerserver_sim.worklist.items import Item, Wanted
from simulator_kit import misbehaviour
from simulator_kit.misbehaviour import Fault, Misbehaviour, Mode, Target
from simulator_kit.store import Store

SUCCESS, PENDING, CANCELLED = 0x0000, 0xFF00, 0xFE00
OUT_OF_RESOURCES, NOT_OF_SOP_CLASS, UNABLE = 0xA700, 0xA900, 0xC000
ANSWER_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02
"""Between looks whether the listener shall end."""
TARGET: Final = Target(
    "worklist",
    "A modality worklist query (C-FIND) that comes in.",
    [
        misbehaviour.status(OUT_OF_RESOURCES, (OUT_OF_RESOURCES, NOT_OF_SOP_CLASS, UNABLE)),
        misbehaviour.slow(1.0),
        misbehaviour.CUT,
        Mode("limit", "Gives the first `status` items and says that these are all.", range(10_001), status=100),
        Mode("limit-failure", "Gives the first `status` items, and ends with 0xA700.", range(10_001), status=100),
    ],
)

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs what it carries


@dataclass(frozen=True, slots=True)
class _Answer:
    found: list[Item]
    status: int
    fault: Fault | None


class WorklistScp:
    """Listens from `start` until `close`; `port` is the port in use, also when 0 was asked for."""

    def __init__(self, store: Store, misbehaviour: Misbehaviour, *, title: str) -> None:
        self._store = store
        self._misbehaviour = misbehaviour
        self._loop = asyncio.get_running_loop()
        self._ae = AE(ae_title=title)
        self._ae.require_called_aet = True
        self._ae.maximum_associations = 20
        self._ae.add_supported_context(Verification)
        self._ae.add_supported_context(ModalityWorklistInformationFind)
        self._server: Any = None
        self.port = 0

    def start(self, host: str, port: int) -> None:
        handlers: list[Any] = [(evt.EVT_C_ECHO, lambda _: SUCCESS), (evt.EVT_C_FIND, self._find)]
        self._server = self._ae.make_server((host, port), evt_handlers=handlers, server_class=ThreadedAssociationServer)
        self.port = int(self._server.socket.getsockname()[1])
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="worklist", daemon=True).start()

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        socketserver.BaseServer.shutdown(self._server)  # pynetdicom's own looks only every half second
        self._ae.shutdown()  # the open associations
        self._server.server_close()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Runs in the association's thread."""
        asked = cast("Dataset", event.identifier)
        try:
            wanted = read_keys(asked)
        except items.WrongKeyError:
            yield NOT_OF_SOP_CLASS, None
            return
        calling = str(event.assoc.requestor.ae_title)
        answered = asyncio.run_coroutine_threadsafe(self._answer(wanted, calling), self._loop)
        answer = answered.result(ANSWER_SECONDS)
        if answer.fault is not None and answer.fault.mode == "slow":
            time.sleep(answer.fault.seconds)
        if answer.fault is not None and answer.fault.mode == "cut":
            event.assoc.abort()
            return
        for item in answer.found:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING, only_asked(dataset(item), asked)
        if answer.status != SUCCESS:
            yield answer.status, None

    async def _answer(self, wanted: Wanted, calling: str) -> _Answer:
        fault = self._misbehaviour.take(TARGET.name)
        found = await self._store.read(lambda work: items.find(work, wanted))
        status = SUCCESS
        if fault is not None and fault.mode == "status":
            found, status = [], int(fault.status or UNABLE)
        if fault is not None and fault.mode.startswith("limit"):
            most = int(fault.status or 0)
            status = OUT_OF_RESOURCES if fault.mode == "limit-failure" and len(found) > most else SUCCESS
            found = found[:most]
        seen = {"calling": calling, "items": len(found), "status": f"{status:#06x}"}
        await self._store.write(lambda work: work.record("in", "dicom.worklist", wanted.station or "", seen))
        return _Answer(found, status, fault)


def read_keys(asked: Dataset) -> Wanted:
    """The matching keys. Raises `WrongKeyError` where the identifier is not one of the SOP class."""
    steps = asked.get("ScheduledProcedureStepSequence")
    if steps is None or len(steps) > 1:
        raise items.WrongKeyError("ScheduledProcedureStepSequence has one item")
    step = steps[0] if len(steps) else Dataset()
    first_day, last_day = items.read_date_range(day) if (day := _text(step, _DAY)) else (None, None)
    first_time, last_time = items.read_time_range(clock) if (clock := _text(step, _CLOCK)) else (None, None)
    return Wanted(
        station=_text(step, "ScheduledStationAETitle"),
        modality=_text(step, "Modality"),
        first_day=first_day,
        last_day=last_day,
        first_time=first_time,
        last_time=last_time,
        patient_id=_text(asked, "PatientID"),
        accession=_text(asked, "AccessionNumber"),
        placer=_text(asked, "PlacerOrderNumberImagingServiceRequest"),
    )


def dataset(item: Item) -> Dataset:
    """The item with every attribute that this SCP knows."""
    step = _filled(
        {
            "ScheduledStationAETitle": item.station,
            _DAY: f"{item.starts:%Y%m%d}",
            _CLOCK: f"{item.starts:%H%M%S}",
            "Modality": item.modality,
            "ScheduledPerformingPhysicianName": "",
            "ScheduledProcedureStepDescription": item.description,
            "ScheduledStationName": item.station_name,
            "ScheduledProcedureStepLocation": item.location,
            "ScheduledProcedureStepID": item.step_id,
            "ScheduledProcedureStepStatus": item.status,
        }
    )
    found = _filled(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "AccessionNumber": item.accession,
            "ReferringPhysicianName": item.referring,
            "PatientName": f"{item.family}^{item.given}^{item.middle}".rstrip("^"),
            "PatientID": item.patient_id,
            "IssuerOfPatientID": item.issuer,
            "PatientBirthDate": item.birth_date,
            "PatientSex": item.sex,
            "StudyInstanceUID": item.study_uid,
            "RequestedProcedureDescription": item.description,
            "RequestedProcedureID": item.accession,
            "PlacerOrderNumberImagingServiceRequest": item.placer,
            "FillerOrderNumberImagingServiceRequest": item.filler,
        }
    )
    code = _filled({"CodeValue": item.code, "CodingSchemeDesignator": "99PS", "CodeMeaning": item.description})
    found.RequestedProcedureCodeSequence = [code]
    found.ScheduledProcedureStepSequence = [step]
    return found


def only_asked(found: Dataset, asked: Dataset) -> Dataset:
    """The requested attributes alone; an unknown one comes back empty. The character set always stands."""
    answer = Dataset()
    if "SpecificCharacterSet" in found:
        answer.SpecificCharacterSet = found.SpecificCharacterSet
    for element in asked:
        if element.VR == "SQ" and element.tag in found:
            wanted = element.value[0] if len(element.value) else None
            known = list(found[element.tag].value)
            inner = known if wanted is None or not len(wanted) else [only_asked(one, wanted) for one in known]
            answer.add_new(element.tag, "SQ", inner)
        elif element.tag in found:
            answer[element.tag] = found[element.tag]
        elif element.keyword != "SpecificCharacterSet":
            answer.add_new(element.tag, element.VR, [] if element.VR == "SQ" else None)
    return answer


_DAY: Final = "ScheduledProcedureStepStartDate"
_CLOCK: Final = "ScheduledProcedureStepStartTime"


def _text(asked: Dataset, keyword: str) -> str | None:
    """A key's value; None where it is missing or empty. A list of values is no single-value key."""
    value = str(asked.get(keyword) or "").strip()
    if "\\" in value:
        raise items.WrongKeyError(f"{keyword} has several values")
    return None if value in {"", "*"} else value


def _filled(values: Mapping[str, str]) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found
