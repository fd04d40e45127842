"""The forms of a study type and of a procedure code."""

import re
from typing import Any, Final

from omegaai_sim.fhir.records import Resource
from omegaai_sim.organizations.editing import MODALITIES
from omegaai_sim.staff.editor import Editor
from omegaai_sim.staff.forms import Entries
from omegaai_sim.study_types import catalogue
from simulator_kit.store import Work

LATERALITIES: Final = ("Left", "Right", "Bilateral")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_SHORTEST_MINUTES: Final = 10
_LONGEST_MINUTES: Final = 720


def _type_values(_work: Work, body: Resource | None) -> dict[str, Any]:
    found = body or {"active": True}
    references = [one.get("reference", "").partition("/")[2] for one in found.get("procedureCode", [])]
    return {
        "code": found.get("code", ""),
        "description": found.get("description", ""),
        "modality": found.get("modality", ""),
        "duration": found.get("duration", ""),
        "body_part": found.get("bodyPart", ""),
        "laterality": found.get("laterality", ""),
        "active": found.get("active", True),
        "procedure_codes": references,
    }


def _code(work: Work, entries: Entries, kind: str, stored: Resource | None) -> str:
    code = entries.text("code", "code", required=True)
    if code and not _CODE.fullmatch(code):
        entries.wrong("code", "A code has letters, digits, points, - and _, at most 50.")
    if any(one["code"] == code and one["id"] != (stored or {}).get("id") for one in catalogue.bodies(work, kind)):
        entries.wrong("code", "This code is in use.")
    return code


def _type_body(work: Work, entries: Entries, stored: Resource | None) -> Resource:
    minutes = entries.number("duration", "duration", _SHORTEST_MINUTES, _LONGEST_MINUTES)
    modality = entries.choice("modality", "modality", ("", *MODALITIES))
    laterality = entries.choice("laterality", "laterality", ("", *LATERALITIES))
    known = {one["id"] for one in catalogue.bodies(work, "ProcedureCode")}
    codes = [{"reference": f"ProcedureCode/{one}"} for one in entries.several("procedure_codes") if one in known]
    given = {
        "code": _code(work, entries, "StudyType", stored),
        "description": entries.text("description", "description", required=True),
        "modality": modality,
        "bodyPart": entries.text("body_part", "body part"),
        "laterality": laterality,
        "duration": minutes,
        "procedureCode": codes,
        "active": entries.is_ticked("active"),
    }
    kept = {name: held for name, held in (stored or {}).items() if name not in given}
    return {**kept, **{name: held for name, held in given.items() if held not in ("", None, [])}}


def _type_more(work: Work, _body: Resource | None) -> dict[str, Any]:
    codes = catalogue.bodies(work, "ProcedureCode")
    return {
        "modalities": [(one, one) for one in MODALITIES],
        "lateralities": [(one, one) for one in LATERALITIES],
        "all_codes": [(one["id"], f"{one['code']} {one.get('display', '')}") for one in codes],
    }


STUDY_TYPE: Final = Editor(
    "StudyType", "study_types/one.html", _type_values, _type_body, _type_more,
    lists=("procedure_codes",), ticks=("active",),
)  # fmt: skip


def _code_values(_work: Work, body: Resource | None) -> dict[str, Any]:
    found = body or {"active": True, "billable": True}
    return {
        "code": found.get("code", ""),
        "display": found.get("display", ""),
        "billable": found.get("billable", False),
        "authorization": found.get("priorAuthorization", False),
        "active": found.get("active", True),
    }


def _code_body(work: Work, entries: Entries, stored: Resource | None) -> Resource:
    return {
        **(stored or {}),
        "code": _code(work, entries, "ProcedureCode", stored),
        "display": entries.text("display", "description", required=True),
        "billable": entries.is_ticked("billable"),
        "priorAuthorization": entries.is_ticked("authorization"),
        "active": entries.is_ticked("active"),
    }


PROCEDURE_CODE: Final = Editor(
    "ProcedureCode", "study_types/code.html", _code_values, _code_body, lambda _work, _body: {},
    ticks=("billable", "authorization", "active"),
)  # fmt: skip
