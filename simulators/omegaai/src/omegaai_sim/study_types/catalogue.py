"""Study types (order sets) and procedure codes as they are stored."""

import json
from dataclasses import dataclass

from omegaai_sim.fhir.records import Resource
from simulator_kit.store import Work


@dataclass(frozen=True, slots=True)
class StudyType:
    """What is booked. Without `modality` it fits every resource; without `minutes` the resource gives the length."""

    id: str
    code: str
    description: str
    modality: str
    minutes: int | None
    body_part: str
    laterality: str
    is_active: bool
    procedure_codes: tuple[str, ...]


def bodies(work: Work, kind: str) -> list[Resource]:
    """All resources of a type, in the order in which they were made."""
    rows = work.all("SELECT body FROM resource WHERE type = ? ORDER BY CAST(id AS INTEGER)", kind)
    return [json.loads(row["body"]) for row in rows]


def study_types(work: Work) -> list[StudyType]:
    codes = {one["id"]: one["code"] for one in bodies(work, "ProcedureCode")}
    return [_study_type(one, codes) for one in bodies(work, "StudyType")]


def bookable(work: Work) -> list[StudyType]:
    """What a patient may choose: the active study types that say a modality."""
    return [one for one in study_types(work) if one.is_active and one.modality]


def _study_type(body: Resource, codes: dict[str, str]) -> StudyType:
    references = [one.get("reference", "").partition("/")[2] for one in body.get("procedureCode", [])]
    return StudyType(
        id=body["id"],
        code=body["code"],
        description=str(body.get("description", body["code"])),
        modality=body.get("modality", ""),
        minutes=body.get("duration"),
        body_part=body.get("bodyPart", ""),
        laterality=body.get("laterality", ""),
        is_active=body.get("active", True),
        procedure_codes=tuple(codes[one] for one in references if one in codes),
    )
