"""Patients: PowerServer's key is Patient ID + Issuer of Patient ID."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Final

from powerserver_sim.rules import Refused
from simulator_kit.store import Work

SEXES: Final = {"F": "Female", "M": "Male", "O": "Other", "U": "Unknown"}
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Demographics:
    """The content of the Patient Info form; `birth_date` is `YYYY-MM-DD`, `sex` one of F M O U."""

    family: str
    given: str
    birth_date: str
    sex: str
    middle: str = ""
    email: str = ""
    phone: str = ""
    street: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class PatientChange:
    """A change of a patient, for hooks of the kind `patient`."""

    key: int
    is_new: bool
    ended: tuple[str, str] | None = None
    """Patient ID and issuer of the record that was merged into this one."""


def read_demographics(form: Mapping[str, Any]) -> Demographics:
    """Checked demographics from a form or a JSON body; refuses with the name of the field."""
    values: dict[str, str] = {}
    for item in fields(Demographics):
        value = form.get(item.name) or ""
        if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
            raise Refused(
                "invalid", f"{_label(item.name)} is not plain text of at most {_LONGEST} characters.", field=item.name
            )
        values[item.name] = value.strip()
    given = Demographics(**values)
    for name in ("family", "given", "birth_date", "sex"):
        if not values[name]:
            raise Refused("invalid", f"{_label(name)} is missing.", field=name)
    if given.sex not in SEXES:
        raise Refused("invalid", "Sex is one of F, M, O, U.", field="sex")
    try:
        born = date.fromisoformat(given.birth_date)
    except ValueError:
        raise Refused("invalid", "Date of birth is written YYYY-MM-DD.", field="birth_date") from None
    if not date(1850, 1, 1) <= born <= date.today():  # noqa: DTZ011 - a birth date has no zone
        raise Refused("invalid", "Date of birth is out of range.", field="birth_date")
    if given.email and not _EMAIL.fullmatch(given.email):
        raise Refused("invalid", "E-mail is not an address.", field="email")
    return given


def _label(name: str) -> str:
    return {
        "family": "Last name",
        "given": "First name",
        "birth_date": "Date of birth",
        "postal_code": "Postal code",
        "email": "E-mail",
    }.get(name, name.capitalize())


def add_patient(work: Work, given: Demographics, *, issuer: str, patient_id: str = "") -> sqlite3.Row:
    """A new patient; without a Patient ID the next number is used."""
    if not patient_id:
        patient_id = str(work.next_number("patient"))
    if work.one("SELECT 1 FROM patient WHERE patient_id = ? AND issuer = ?", patient_id, issuer) is not None:
        raise Refused("duplicate", "This Patient ID exists already under this issuer.", field="patient_id")
    row = work.one(
        "INSERT INTO patient (patient_id, issuer, family, given, middle, birth_date, sex, email, phone, street, city, "
        "state, postal_code, country, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        patient_id, issuer, given.family, given.given, given.middle, given.birth_date, given.sex, given.email,
        given.phone, given.street, given.city, given.state, given.postal_code, given.country,
        int(work.now.timestamp()),
    )  # fmt: skip
    assert row is not None  # noqa: S101 - INSERT … RETURNING gives its row
    work.record("effect", "patient.created", patient_id, {"issuer": issuer})
    work.notice("patient", patient_id=patient_id)
    work.changed("patient", PatientChange(row["key"], is_new=True))
    return row


def change_patient(work: Work, key: int, given: Demographics) -> None:
    row = patient_by_key(work, key)
    work.run(
        "UPDATE patient SET family = ?, given = ?, middle = ?, birth_date = ?, sex = ?, email = ?, phone = ?, "
        "street = ?, city = ?, state = ?, postal_code = ?, country = ? WHERE key = ?",
        given.family, given.given, given.middle, given.birth_date, given.sex, given.email, given.phone, given.street,
        given.city, given.state, given.postal_code, given.country, key,
    )  # fmt: skip
    work.record("effect", "patient.updated", row["patient_id"], {"issuer": row["issuer"]})
    work.notice("patient", patient_id=row["patient_id"])
    work.changed("patient", PatientChange(key, is_new=False))


def merge_patients(work: Work, key: int, ended_id: str, issuer: str) -> None:
    """The record of `ended_id` ends in that of `key`, with all of its orders."""
    kept, ended = patient_by_key(work, key), patient_by_id(work, ended_id, issuer)
    if ended["key"] == key:
        raise Refused("invalid", "Choose another record than this one.", field="patient_id")
    work.run('UPDATE "order" SET patient = ? WHERE patient = ?', key, ended["key"])
    work.run("DELETE FROM patient WHERE key = ?", ended["key"])
    work.record("effect", "patient.merged", kept["patient_id"], {"issuer": kept["issuer"], "ended": ended_id})
    work.notice("patient", patient_id=kept["patient_id"])
    work.changed("patient", PatientChange(key, is_new=False, ended=(ended_id, issuer)))


def patient_by_key(work: Work, key: int) -> sqlite3.Row:
    row = work.one("SELECT * FROM patient WHERE key = ?", key)
    if row is None:
        raise Refused("unknown", "There is no such patient.", field="patient")
    return row


def patient_by_id(work: Work, patient_id: str, issuer: str) -> sqlite3.Row:
    row = work.one("SELECT * FROM patient WHERE patient_id = ? AND issuer = ?", patient_id, issuer)
    if row is None:
        raise Refused("unknown", "There is no patient with this Patient ID and issuer.", field="patient")
    return row


def search_patients(work: Work, text: str, limit: int = 50) -> list[sqlite3.Row]:
    """Metasearch: each word must begin a name, or be in the Patient ID, the e-mail, the phone or the birth date."""
    conditions: list[str] = []
    parameters: list[str] = []
    for word in text.replace(",", " ").split():
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        conditions.append(
            "(family LIKE ? ESCAPE '\\' OR given LIKE ? ESCAPE '\\' OR patient_id LIKE ? ESCAPE '\\' "
            "OR email LIKE ? ESCAPE '\\' OR phone LIKE ? ESCAPE '\\' OR birth_date LIKE ? ESCAPE '\\')"
        )
        inside = f"%{escaped}%"
        parameters += [f"{escaped}%", f"{escaped}%", inside, inside, inside, f"{escaped}%"]
    where = " AND ".join(conditions) or "1"
    return work.all(
        f"SELECT * FROM patient WHERE {where} ORDER BY family COLLATE NOCASE, given COLLATE NOCASE, key LIMIT ?",  # noqa: S608 - only the fixed condition is repeated, values are bound
        *parameters,
        limit,
    )
