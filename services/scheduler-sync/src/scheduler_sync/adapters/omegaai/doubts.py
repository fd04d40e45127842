"""Whether OmegaAI's Patient with our number is the patient that we would write.

A number may have been typed for another person there. A birth date or a sex that somebody else wrote is therefore not
overwritten: a person decides on the review list. What the suite wrote itself may change with PowerServer's word.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal, Protocol
from uuid import UUID

from chassis.errors import Withheld
from omegaai.client import Found
from omegaai.elements import Json, code, items
from scheduler_sync.snapshots import PatientSnapshot

BIRTH_DATE: Final = "birth date"
SEX: Final = "sex"
Decision = Literal["open", "same", "different"]
AGAIN_SECONDS: Final = 60.0
_LONGEST_SHOWN: Final = 200
_MOST_NUMBERS: Final = 20
_SEXES: Final[Mapping[str, str]] = {"female": "F", "male": "M", "other": "O"}
"""OmegaAI's ``unknown`` says nothing that could differ."""


@dataclass(frozen=True, slots=True)
class PatientThere:
    """OmegaAI's Patient as it was read; for the review list. ``birth_date`` as it stands: a year may stand alone."""

    fhir_id: str
    version: str
    numbers: tuple[str, ...]
    family: str
    given: str
    birth_date: str
    sex: str
    email: str
    phone: str

    def as_json(self) -> Json:
        return asdict(self)


class Doubts(Protocol):
    """The review list, for the sender. Its methods raise ``StoreUnavailable``."""

    async def newest_told(self, patient_id: UUID) -> PatientSnapshot | None:
        """What OmegaAI took from us last about the patient, while the delivery is kept."""
        ...

    async def other_in_omegaai(
        self, patient_id: UUID, there: PatientThere, differing: tuple[str, ...]
    ) -> tuple[int, Decision]:
        """Puts the pair on the review list. Returns its number there, and what a person decided about these values."""
        ...


def there(found: Found) -> PatientThere:
    """The Patient as the review list shows it."""
    body = found.resource
    name = next(iter(items(body, "name")), {})
    given = name.get("given")
    numbers = [f"{_shown(one, 'value') or '–'}^{_shown(one, 'system') or '–'}" for one in items(body, "identifier")]
    contacts = {code(one, "system"): _shown(one, "value") for one in reversed(items(body, "telecom"))}
    return PatientThere(
        fhir_id=found.id,
        version=found.version,
        numbers=tuple(numbers[:_MOST_NUMBERS]),
        family=_shown(name, "family"),
        given=" ".join(_shown({"": one}, "") for one in given) if isinstance(given, list) else "",
        birth_date=_shown(body, "birthDate"),
        sex=_SEXES.get(code(body, "gender") or "", ""),
        email=contacts.get("email", ""),
        phone=contacts.get("phone", ""),
    )


def _shown(parent: Json, name: str) -> str:
    """A text of the Patient as the store can keep it; empty where there is none."""
    found = parent.get(name)
    if not isinstance(found, str):
        return ""
    return found.strip()[:_LONGEST_SHOWN].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def differing(snapshot: PatientSnapshot, seen: PatientThere) -> tuple[str, ...]:
    """The facts of the person that both sides say, and say differently."""
    found = []
    born = snapshot.birth_date.isoformat() if snapshot.birth_date else ""
    if born and seen.birth_date and not born.startswith(seen.birth_date[:10]):
        found.append(BIRTH_DATE)
    if snapshot.sex in set(_SEXES.values()) and seen.sex and snapshot.sex != seen.sex:
        found.append(SEX)
    return tuple(found)


async def check(snapshot: PatientSnapshot, found: Found, written_version: str | None, doubts: Doubts) -> None:
    """Raises ``Withheld`` while a person has not decided that OmegaAI's Patient is this patient.

    ``written_version``: the version that our last write made; None when the suite has never written the Patient.
    """
    if found.version == written_version:
        return
    seen = there(found)
    facts = differing(snapshot, seen)
    if not facts:
        return
    told = await doubts.newest_told(snapshot.patient_id)
    if told is not None and not differing(told, seen):
        return  # the values there are ours: PowerServer has corrected them
    number, decision = await doubts.other_in_omegaai(snapshot.patient_id, seen, facts)
    if decision == "same":
        return
    words = f"Patient: OmegaAI has another {' and '.join(facts)} under this number; "
    asked = f"review {number} on the review list waits for a person"
    corrected = f"by review {number} it is another person: correct the number in OmegaAI"
    raise Withheld(words + (asked if decision == "open" else corrected), retry_after_seconds=AGAIN_SECONDS)
