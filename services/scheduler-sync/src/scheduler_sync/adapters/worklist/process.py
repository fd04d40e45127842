"""``python -m scheduler_sync.adapters.worklist.process``: asks a modality worklist, and ends.

Standard input: one JSON object (``connection``, ``questions``). Standard output: one line an answer, in the order of
the questions. Exit codes: 0 all were asked; 3 no association; 4 the association ended early. It writes no log: what
pynetdicom logs holds patients' names.
"""

import json
import logging
import ssl
import sys
from collections.abc import Mapping
from typing import Any, Final

from pydicom import config as reading
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

from scheduler_sync.adapters.worklist.asking import Asked, Part, Step, whole_answer

NO_ASSOCIATION: Final = 3
ENDED_EARLY: Final = 4
_PENDING: Final = frozenset({0xFF00, 0xFF01})
_SUCCESS: Final = 0x0000


class EndedError(Exception):
    """The association is gone."""


def main() -> int:
    logging.disable(logging.CRITICAL)
    reading.settings.reading_validation_mode = reading.IGNORE
    reading.settings.writing_validation_mode = reading.IGNORE
    given = json.loads(sys.stdin.buffer.read())
    association = associate(given["connection"])
    if association is None:
        return NO_ASSOCIATION
    try:
        for one in given["questions"]:
            answer = whole_answer(Asked(**one), lambda asked: find(association, asked))
            sys.stdout.write(f"{answer.to_line()}\n")
            sys.stdout.flush()
    except EndedError:
        return ENDED_EARLY
    finally:
        if association.is_established:
            association.release()
    return 0


def associate(connection: Mapping[str, Any]) -> Association | None:
    """None where the worklist does not answer, or refuses."""
    ae = AE(ae_title=connection["calling"])
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = connection["timeout_seconds"]
    ae.connection_timeout = connection["timeout_seconds"]
    ae.add_requested_context(ModalityWorklistInformationFind)
    tls = connection.get("tls")
    arguments = None if tls is None else (context_of(tls), connection["host"])
    association = ae.associate(
        connection["host"], connection["port"], ae_title=connection["called"], tls_args=arguments
    )  # fmt: skip
    return association if association.is_established else None


def context_of(tls: Mapping[str, str | None]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.get("ca_file"))
    if tls.get("certificate_file"):
        context.load_cert_chain(str(tls["certificate_file"]), tls.get("key_file"))
    return context


def find(association: Association, asked: Asked) -> Part:
    """One C-FIND. EndedError where the association ends within it."""
    if not association.is_established:
        raise EndedError
    steps: list[Step] = []
    unreadable = 0
    last: int | None = None
    for status, item in association.send_c_find(keys(asked), ModalityWorklistInformationFind):
        last = int(status.Status) if status and "Status" in status else None
        if item is None:
            unreadable += last in _PENDING
            continue
        step = step_of(item)
        if step is None:
            unreadable += 1
        else:
            steps.append(step)
    if last is None:
        raise EndedError
    return Part(steps, unreadable, has_failed=last != _SUCCESS)


def keys(asked: Asked) -> Dataset:
    step, whole = Dataset(), Dataset()
    step.ScheduledStationAETitle = asked.station
    step.ScheduledProcedureStepStartDate = asked.day
    step.ScheduledProcedureStepStartTime = asked.time
    step.ScheduledProcedureStepID = ""
    whole.SpecificCharacterSet = "ISO_IR 192"
    whole.AccessionNumber = asked.accession
    whole.PatientID = ""
    whole.TimezoneOffsetFromUTC = ""
    whole.PlacerOrderNumberImagingServiceRequest = ""
    whole.ScheduledProcedureStepSequence = [step]
    return whole


def step_of(item: Dataset) -> Step | None:
    """None for an item that names no order, or no start."""
    sequence = item.get("ScheduledProcedureStepSequence")
    if not sequence:
        return None
    first = sequence[0]
    found = Step(
        placer=_text(item, "PlacerOrderNumberImagingServiceRequest"),
        accession=_text(item, "AccessionNumber"),
        step_id=_text(first, "ScheduledProcedureStepID"),
        station=_text(first, "ScheduledStationAETitle"),
        day=_text(first, "ScheduledProcedureStepStartDate"),
        time=_text(first, "ScheduledProcedureStepStartTime"),
        offset=_text(item, "TimezoneOffsetFromUTC"),
        patient_id=_text(item, "PatientID"),
    )
    return found if found.day and (found.placer or found.accession) else None


def _text(item: Dataset, keyword: str) -> str:
    try:
        return str(item.get(keyword) or "").strip()
    except (ValueError, TypeError, NotImplementedError):  # pydicom decodes a value when it is first looked at
        return ""


if __name__ == "__main__":
    sys.exit(main())
