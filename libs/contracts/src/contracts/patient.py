"""Events of a patient's record. One revision counter per patient."""

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.envelope import Message, Payload


class PatientIdentifier(Payload):
    """An identifier of the patient and its issuer (HL7 PID-3, FHIR Patient.identifier)."""

    issuer: str = Field(min_length=1, description="Assigning authority, as the sending site names it.")
    value: str = Field(min_length=1, description="The identifier within that authority.")


class PersonName(Payload):
    """A person's name in parts."""

    family: str = Field(description="Family name.")
    given: str = Field(description="Given name.")
    middle: str | None = Field(default=None, description="Middle name or initial.")


class PostalAddress(Payload):
    """A postal address in parts; a part that the source lacks is null."""

    line: str | None = Field(default=None, description="Street and number.")
    city: str | None = Field(default=None, description="City.")
    state: str | None = Field(default=None, description="State or province.")
    postal_code: str | None = Field(default=None, description="Postal code.")
    country: str | None = Field(default=None, description="Country, as the source writes it.")


class Guardian(Payload):
    """The person who answers for the patient (HL7 NK1 or GT1), for example a parent."""

    name: PersonName = Field(description="Name of the guardian.")
    relationship: str | None = Field(
        default=None, description="Relationship to the patient (code of HL7 table 0063, for example GRD, MTH, FTH)."
    )
    email: str | None = Field(default=None, description="E-mail address of the guardian.")
    phone: str | None = Field(default=None, description="Phone number of the guardian, as the source writes it.")


class PatientDataV1(Payload):
    """The whole patient, not the difference from the state before."""

    identifiers: Annotated[tuple[PatientIdentifier, ...], Field(strict=False)] = Field(
        description="All identifiers of the patient, the site's own first."
    )
    name: PersonName = Field(description="Current legal name.")
    birth_date: dt.date | None = Field(default=None, description="Date of birth.")
    sex: Literal["F", "M", "O", "U"] = Field(
        description="Administrative sex (HL7 table 0001): F, M, O other, U unknown."
    )
    email: str | None = Field(default=None, description="Primary e-mail address.")
    phone: str | None = Field(default=None, description="Primary phone number, as the source writes it.")
    language: str = Field(default="en", min_length=1, description="Preferred language (BCP 47).")
    address: PostalAddress | None = Field(default=None, description="Home address.")


class PatientRegisteredV1(Message):
    """A patient became known to the suite."""

    type: Literal["patient.registered"]
    version: Literal[1]
    data: PatientDataV1 = Field(description="The patient.")


class PatientUpdatedV1(Message):
    """A patient's record changed."""

    type: Literal["patient.updated"]
    version: Literal[1]
    data: PatientDataV1 = Field(description="The patient after the change.")


class PatientData(Payload):
    """The whole patient, not the difference from the state before. Null: the suite does not know the fact."""

    identifiers: Annotated[tuple[PatientIdentifier, ...], Field(strict=False)] = Field(
        description="All identifiers of the patient, the site's own first."
    )
    name: PersonName = Field(description="Current legal name.")
    birth_date: dt.date | None = Field(default=None, description="Date of birth.")
    sex: Literal["F", "M", "O", "U"] = Field(
        description="Administrative sex (HL7 table 0001): F, M, O other, U unknown."
    )
    email: str | None = Field(default=None, description="Primary e-mail address.")
    phone: str | None = Field(default=None, description="Primary phone number, as the source writes it.")
    address: PostalAddress | None = Field(default=None, description="Home address.")
    language: str | None = Field(
        default=None,
        min_length=1,
        description="Preferred language (BCP 47); a message of version 1 says en by default.",
    )
    time_zone: str | None = Field(
        default=None,
        min_length=1,
        description="IANA time zone in which the patient lives, for example America/Toronto.",
    )
    guardian: Guardian | None = Field(
        default=None,
        description="Who answers for the patient. The source may name a parent of an adult too.",
    )
    sms_consent: bool | None = Field(
        default=None, description="Whether the patient agrees to text messages; null is no consent and no refusal."
    )
    organization: str | None = Field(
        default=None, min_length=1, description="Managing organisation of the patient in OmegaAI, by its id there."
    )


class MergedPatientData(PatientData):
    """The patient who remains, and the one whose record ended."""

    merged_patient_id: UUID = Field(
        description="aggregate_id of the patient whose record ended; its appointments are this patient's now."
    )


class PatientRegistered(Message):
    """A patient became known to the suite."""

    type: Literal["patient.registered"]
    version: Literal[2]
    data: PatientData = Field(description="The patient.")


class PatientUpdated(Message):
    """A patient's record changed."""

    type: Literal["patient.updated"]
    version: Literal[2]
    data: PatientData = Field(description="The patient after the change.")


class PatientMerged(Message):
    """Two records turned out to be one person. The aggregate is the patient who remains."""

    type: Literal["patient.merged"]
    version: Literal[1]
    data: MergedPatientData = Field(description="The patient who remains, and which record ended.")


def to_patient_registered_2(old: PatientRegisteredV1) -> PatientRegistered:
    """Version 1 knows nothing of what version 2 adds."""
    return PatientRegistered.upcast_from(old, _data_2(old.data))


def to_patient_updated_2(old: PatientUpdatedV1) -> PatientUpdated:
    """Version 1 knows nothing of what version 2 adds."""
    return PatientUpdated.upcast_from(old, _data_2(old.data))


def _data_2(old: PatientDataV1) -> PatientData:
    return PatientData(**{name: getattr(old, name) for name in PatientDataV1.model_fields})
