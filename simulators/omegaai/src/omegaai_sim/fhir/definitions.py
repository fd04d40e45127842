"""The elements of the R4 types that OmegaAI serves, as tables (http://hl7.org/fhir/R4/, release 4.0.1).

A line is ``name:Type``; after the name ``!`` means exactly one, ``*`` any number, ``+`` at least one. A code with a
required binding lists its value set in brackets, a Reference its targets. ``value[x]`` is any of ``_OPEN_TYPES``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_OPEN_TYPES: Final = [
    "boolean",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
    "canonical",
    "oid",
    "Address",
    "Annotation",
    "Attachment",
    "CodeableConcept",
    "Coding",
    "ContactPoint",
    "HumanName",
    "Identifier",
    "Period",
    "Quantity",
    "Reference",
]

_DOMAIN_RESOURCE: Final = """id:id meta:Meta implicitRules:uri language:code text:Narrative contained*:Resource
    extension*:Extension modifierExtension*:Extension"""

_TABLES: Final[Mapping[str, str]] = {
    "Meta": "versionId:id lastUpdated:instant source:uri profile*:canonical security*:Coding tag*:Coding",
    "Narrative": "status!:code(generated|extensions|additional|empty) div!:xhtml",
    "Extension": "url!:uri value[x]",
    "Identifier": """use:code(usual|official|temp|secondary|old) type:CodeableConcept system:uri value:string
        period:Period assigner:Reference(Organization)""",
    "CodeableConcept": "coding*:Coding text:string",
    "Coding": "system:uri version:string code:code display:string userSelected:boolean",
    "Reference": "reference:string type:uri identifier:Identifier display:string",
    "Period": "start:dateTime end:dateTime",
    "Quantity": "value:decimal comparator:code(<|<=|>=|>) unit:string system:uri code:code",
    "HumanName": """use:code(usual|official|temp|nickname|anonymous|old|maiden) text:string family:string given*:string
        prefix*:string suffix*:string period:Period""",
    "ContactPoint": """system:code(phone|fax|email|pager|url|sms|other) value:string use:code(home|work|temp|old|mobile)
        rank:positiveInt period:Period""",
    "Address": """use:code(home|work|temp|old|billing) type:code(postal|physical|both) text:string line*:string
        city:string district:string state:string postalCode:string country:string period:Period""",
    "Annotation": "authorReference:Reference authorString:string time:dateTime text!:markdown",
    "Attachment": """contentType:code language:code data:base64Binary url:url size:unsignedInt hash:base64Binary
        title:string creation:dateTime""",
    "Patient": """identifier*:Identifier active:boolean name*:HumanName telecom*:ContactPoint
        gender:code(male|female|other|unknown) birthDate:date deceasedBoolean:boolean deceasedDateTime:dateTime
        address*:Address maritalStatus:CodeableConcept multipleBirthBoolean:boolean multipleBirthInteger:integer
        photo*:Attachment contact*:Patient.contact communication*:Patient.communication
        generalPractitioner*:Reference(Organization|Practitioner|PractitionerRole)
        managingOrganization:Reference(Organization) link*:Patient.link""",
    "Patient.contact": """relationship*:CodeableConcept name:HumanName telecom*:ContactPoint address:Address
        gender:code(male|female|other|unknown) organization:Reference(Organization) period:Period""",
    "Patient.communication": "language!:CodeableConcept preferred:boolean",
    "Patient.link": """other!:Reference(Patient|RelatedPerson)
        type!:code(replaced-by|replaces|refer|seealso)""",
    "Appointment": """identifier*:Identifier
        status!:code(proposed|pending|booked|arrived|fulfilled|cancelled|noshow|entered-in-error|checked-in|waitlist)
        cancelationReason:CodeableConcept serviceCategory*:CodeableConcept serviceType*:CodeableConcept
        specialty*:CodeableConcept appointmentType:CodeableConcept reasonCode*:CodeableConcept
        reasonReference*:Reference(Condition|Procedure|Observation|ImmunizationRecommendation) priority:unsignedInt
        description:string supportingInformation*:Reference start:instant end:instant minutesDuration:positiveInt
        slot*:Reference(Slot) created:dateTime comment:string patientInstruction:string
        basedOn*:Reference(ServiceRequest) participant+:Appointment.participant requestedPeriod*:Period""",
    "Appointment.participant": """type*:CodeableConcept
        actor:Reference(Patient|Practitioner|PractitionerRole|RelatedPerson|Device|HealthcareService|Location)
        required:code(required|optional|information-only) status!:code(accepted|declined|tentative|needs-action)
        period:Period""",
    "Practitioner": """identifier*:Identifier active:boolean name*:HumanName telecom*:ContactPoint address*:Address
        gender:code(male|female|other|unknown) birthDate:date photo*:Attachment
        qualification*:Practitioner.qualification communication*:CodeableConcept""",
    "Practitioner.qualification": """identifier*:Identifier code!:CodeableConcept period:Period
        issuer:Reference(Organization)""",
    "HealthcareService": """identifier*:Identifier active:boolean providedBy:Reference(Organization)
        category*:CodeableConcept type*:CodeableConcept specialty*:CodeableConcept location*:Reference(Location)
        name:string comment:string extraDetails:markdown photo:Attachment telecom*:ContactPoint
        coverageArea*:Reference(Location)
        serviceProvisionCode*:CodeableConcept eligibility*:HealthcareService.eligibility program*:CodeableConcept
        characteristic*:CodeableConcept communication*:CodeableConcept referralMethod*:CodeableConcept
        appointmentRequired:boolean availableTime*:HealthcareService.availableTime
        notAvailable*:HealthcareService.notAvailable availabilityExceptions:string endpoint*:Reference(Endpoint)""",
    "HealthcareService.eligibility": "code:CodeableConcept comment:markdown",
    "HealthcareService.availableTime": """daysOfWeek*:code(mon|tue|wed|thu|fri|sat|sun) allDay:boolean
        availableStartTime:time availableEndTime:time""",
    "HealthcareService.notAvailable": "description!:string during:Period",
    "Organization": """identifier*:Identifier active:boolean type*:CodeableConcept name:string alias*:string
        telecom*:ContactPoint address*:Address partOf:Reference(Organization) contact*:Organization.contact
        endpoint*:Reference(Endpoint)""",
    "Organization.contact": "purpose:CodeableConcept name:HumanName telecom*:ContactPoint address:Address",
    "Task": """identifier*:Identifier instantiatesCanonical:canonical instantiatesUri:uri basedOn*:Reference
        groupIdentifier:Identifier partOf*:Reference(Task)
        status!:code(draft|requested|received|accepted|rejected|ready|cancelled|in-progress|on-hold|failed|completed|entered-in-error)
        statusReason:CodeableConcept businessStatus:CodeableConcept
        intent!:code(unknown|proposal|plan|order|original-order|reflex-order|filler-order|instance-order|option)
        priority:code(routine|urgent|asap|stat) code:CodeableConcept description:string focus:Reference for:Reference
        encounter:Reference(Encounter) executionPeriod:Period authoredOn:dateTime lastModified:dateTime
        requester:Reference(Device|Organization|Patient|Practitioner|PractitionerRole|RelatedPerson)
        performerType*:CodeableConcept
        owner:Reference(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService|Patient|Device|RelatedPerson)
        location:Reference(Location) reasonCode:CodeableConcept reasonReference:Reference
        insurance*:Reference(Coverage|ClaimResponse) note*:Annotation relevantHistory*:Reference(Provenance)
        restriction:Task.restriction input*:Task.parameter output*:Task.parameter""",
    "AssigningAuthority": """name!:string system!:uri active:boolean managingOrganization:Reference(Organization)
        isExternalIssuer:boolean""",
    "StudyType": """code!:code description:string modality:code bodyPart:string laterality:string duration:positiveInt
        procedureCode*:Reference(ProcedureCode) active:boolean""",
    "ProcedureCode": "code!:code display:string billable:boolean priorAuthorization:boolean active:boolean",
    "Task.restriction": "repetitions:positiveInt period:Period recipient*:Reference",
    "Task.parameter": "type!:CodeableConcept value[x]",
}

CUSTOM_TYPES: Final = ("AssigningAuthority", "StudyType", "ProcedureCode")
"""OmegaAI's own types beside R4's, under the same base."""
RESOURCE_TYPES: Final = (
    "Patient", "Appointment", "Practitioner", "HealthcareService", "Organization", "Task", *CUSTOM_TYPES,
)  # fmt: skip
_BACKBONE: Final = frozenset(name for name in _TABLES if "." in name)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type. ``allowed`` is a code's value set or a Reference's targets; empty allows any."""

    name: str
    type: str
    is_list: bool
    is_required: bool
    allowed: frozenset[str]


def _element(line: str) -> list[Element]:
    name, _, declared = line.partition(":")
    if name == "value[x]":
        return [Element(f"value{t[0].upper()}{t[1:]}", t, is_list=False, is_required=False, allowed=frozenset())
                for t in _OPEN_TYPES]  # fmt: skip
    bare = name.rstrip("!*+")
    declared_type, _, allowed = declared.rstrip(")").partition("(")
    return [
        Element(
            bare,
            declared_type,
            is_list=name.endswith(("*", "+")),
            is_required=name.endswith(("!", "+")),
            allowed=frozenset(allowed.split("|")) if allowed else frozenset(),
        )
    ]


def _elements(name: str, table: str) -> dict[str, Element]:
    if name in RESOURCE_TYPES:
        table = f"{_DOMAIN_RESOURCE} {table}"
    else:
        table = f"id:string extension*:Extension {table}"
        if name in _BACKBONE:
            table += " modifierExtension*:Extension"
    return {element.name: element for line in table.split() for element in _element(line)}


DEFINITIONS: Final[Mapping[str, Mapping[str, Element]]] = {
    name: _elements(name, table) for name, table in _TABLES.items()
}
