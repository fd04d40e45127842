"""The scheduling API as an OpenAPI document, for callers and for the test that tries everything it allows."""

from typing import Any, Final

_ID: Final = {"type": "string", "format": "uuid"}
_INSTANT: Final = {"type": "string", "format": "date-time", "example": "2026-12-01T14:30:00-05:00"}
_OUTCOME: Final = {"$ref": "#/components/schemas/OperationOutcome"}
_FHIR: Final = "application/fhir+json"


def _answers(schema: str, *refusals: int) -> dict[str, Any]:
    found = {"200": _content(f"#/components/schemas/{schema}", "It was done, or was done before under this key.")}
    for status in (400, 503, *refusals):
        found[str(status)] = _content("#/components/schemas/OperationOutcome", "Each reason, and what is free instead.")
    for refused in ("401", "429"):
        found[refused] = {"description": "The caller's token is missing or wrong."}
    return found


def _content(schema: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {_FHIR: {"schema": {"$ref": schema}}}}


def _value(name: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", kind],
        "properties": {"name": {"const": name}, kind: schema},
        "additionalProperties": False,
    }


def _reference(kind: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["reference"],
        "properties": {"reference": {"type": "string", "pattern": f"^{kind}/[A-Za-z0-9.-]{{1,64}}$"}},
    }


def _call(
    summary: str, parameters: list[dict[str, Any]], answer: str, *refusals: int, key: bool = False
) -> dict[str, Any]:
    header = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
        "description": "The same call with the same key has one effect.",
    }
    taken = {"parameter": {"type": "array", "maxItems": 12, "items": {"oneOf": parameters}}} if parameters else {}
    schema = {
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"const": "Parameters"}, **taken},
    }
    return {
        "summary": summary,
        "parameters": [header] if key else [],
        "requestBody": {"required": True, "content": {_FHIR: {"schema": schema}}},
        "responses": _answers(answer, *refusals),
    }


_PATIENT: Final = [
    _value("patient", "valueReference", _reference("Patient")),
    _value(
        "patient",
        "valueIdentifier",
        {
            "type": "object",
            "required": ["system", "value"],
            "properties": {"system": {"type": "string"}, "value": {"type": "string"}},
        },
    ),
]
_IGNORE: Final = _value("ignore-appointment", "valueReference", _reference("Appointment"))
_SLOT: Final = _value("appt-resource", "resource", {"$ref": "#/components/schemas/Appointment"})
_IN_PATH: Final = {"name": "id", "in": "path", "required": True, "schema": _ID}

DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "scheduler-sync: scheduling", "version": "1"},
    "security": [{"token": []}],
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "Appointment": {
                "type": "object",
                "required": ["resourceType"],
                "properties": {
                    "resourceType": {"const": "Appointment"},
                    "start": _INSTANT,
                    "end": _INSTANT,
                    "minutesDuration": {"type": "integer", "minimum": 1, "maximum": 1440},
                    "serviceType": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "coding": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "properties": {"code": {"type": "string"}, "display": {"type": "string"}},
                                    },
                                }
                            },
                        },
                    },
                    "participant": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "actor": {"type": "object", "properties": {"reference": {"type": "string"}}}
                            },
                        },
                    },
                },
            },
            "Bundle": {
                "type": "object",
                "required": ["resourceType", "type", "total", "entry"],
                "properties": {"resourceType": {"const": "Bundle"}, "total": {"type": "integer"}},
            },
            "OperationOutcome": {
                "type": "object",
                "required": ["resourceType", "issue"],
                "properties": {
                    "resourceType": {"const": "OperationOutcome"},
                    "issue": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "object", "required": ["severity", "code"]},
                    },
                },
            },
        },
    },
    "paths": {
        "/fhir/Appointment/$find": {
            "post": _call(
                "Free slots between two instants, of one service or of all that patients may book.",
                [
                    _value("start", "valueDateTime", _INSTANT),
                    _value("end", "valueDateTime", _INSTANT),
                    _value("service", "valueString", {"type": "string"}),
                    _value("facility", "valueString", {"type": "string"}),
                    _value("modality", "valueCode", {"type": "string"}),
                    _value("study", "valueString", {"type": "string"}),
                    _value("minutes", "valueInteger", {"type": "integer", "minimum": 1, "maximum": 1440}),
                    _value("_count", "valueInteger", {"type": "integer", "minimum": 0, "maximum": 1000}),
                    _value("latitude", "valueDecimal", {"type": "number", "minimum": -90, "maximum": 90}),
                    _value("longitude", "valueDecimal", {"type": "number", "minimum": -180, "maximum": 180}),
                    _IGNORE,
                ],
                "Bundle",
                404,
                422,
            )
        },
        "/fhir/Appointment/$hold": {
            "post": _call(
                "Hold a slot for some minutes.", [_SLOT, _IGNORE, *_PATIENT], "Bundle", 404, 409, 422, key=True
            )
        },
        "/fhir/Appointment/$book": {
            "post": _call(
                "Book what a hold has, or a slot at once. Staff confirm, or the site's rules.",
                [_value("appt-reference", "valueReference", _reference("Appointment")), _SLOT, *_PATIENT],
                "Appointment",
                404,
                409,
                422,
                key=True,
            )
        },
        "/fhir/Appointment/{id}/$reschedule": {
            "parameters": [_IN_PATH],
            "post": _call(
                "Ask for another time. The booked time stays until staff decide.",
                [
                    _value("hold", "valueReference", _reference("Appointment")),
                    _value("start", "valueDateTime", _INSTANT),
                ],
                "Appointment",
                404,
                409,
                422,
            ),
        },
        "/fhir/Appointment/{id}/$cancel": {
            "parameters": [_IN_PATH],
            "post": _call(
                "Cancel for the patient.",
                [_value("reason", "valueString", {"type": "string"})],
                "Appointment",
                404,
                409,
                422,
            ),
        },
        "/fhir/Appointment/{id}/$release": {
            "parameters": [_IN_PATH],
            "post": _call("Give a hold back before it ends.", [], "Appointment", 404, 409),
        },
        "/fhir/Appointment/{id}": {
            "parameters": [_IN_PATH],
            "get": {"summary": "One appointment or hold.", "responses": _answers("Appointment", 404)},
        },
        "/fhir/Appointment": {
            "get": {
                "summary": "A patient's appointments.",
                "parameters": [
                    {
                        "name": "patient",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "string", "pattern": "^Patient/[0-9a-f-]{36}$"},
                    },
                    {
                        "name": "date",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
                    },
                    {"name": "status", "in": "query", "schema": {"type": "string"}},
                ],
                "responses": _answers("Bundle", 404),
            }
        },
    },
}
