"""Events of a patient's record. One revision counter per patient."""

import datetime as dt
from typing import Annotated, Literal

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


class PatientData(Payload):
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


class PatientRegistered(Message):
    """A patient became known to the suite."""

    type: Literal["patient.registered"]
    version: Literal[1]
    data: PatientData = Field(description="The patient.")


class PatientUpdated(Message):
    """A patient's record changed."""

    type: Literal["patient.updated"]
    version: Literal[1]
    data: PatientData = Field(description="The patient after the change.")
