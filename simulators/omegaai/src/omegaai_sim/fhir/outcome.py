"""Refusals in FHIR's form: an OperationOutcome with the path of each wrong element (FHIR R4 §2.29)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault. ``code`` is of FHIR's issue types; ``expression`` is the FHIRPath of the element."""

    code: str
    diagnostics: str
    expression: str | None = None

    def to_json(self) -> dict[str, Any]:
        issue: dict[str, Any] = {"severity": "error", "code": self.code, "diagnostics": self.diagnostics}
        if self.expression:
            issue["expression"] = [self.expression]
        return issue


class Refused(Exception):  # noqa: N818 (it is an answer, not an error of the program)
    """A refused request; ``status`` is HTTP's. No text holds a value of a patient."""

    def __init__(
        self, status: int, code: str, diagnostics: str, expression: str | None = None, *, issues: Sequence[Issue] = ()
    ) -> None:
        super().__init__(diagnostics)
        self.status = status
        self.diagnostics = diagnostics
        self.issues = list(issues) or [Issue(code, diagnostics, expression)]

    def outcome(self) -> dict[str, Any]:
        return {"resourceType": "OperationOutcome", "issue": [issue.to_json() for issue in self.issues]}


def invalid(expression: str, problem: str) -> Refused:
    return Refused(422, "invariant", f"{expression}: {problem}", expression)
