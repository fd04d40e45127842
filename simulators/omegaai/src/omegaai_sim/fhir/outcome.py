"""Refusals as FHIR says them: an OperationOutcome with the path of the element (FHIR R4 §2.29)."""

from typing import Any


class Refused(Exception):
    """A request that is not done. ``status`` is HTTP's; ``expression`` the FHIRPath of what is wrong."""

    def __init__(self, status: int, code: str, diagnostics: str, expression: str | None = None) -> None:
        super().__init__(diagnostics)
        self.status = status
        self.code = code
        self.diagnostics = diagnostics
        self.expression = expression

    def outcome(self) -> dict[str, Any]:
        issue: dict[str, Any] = {"severity": "error", "code": self.code, "diagnostics": self.diagnostics}
        if self.expression:
            issue["expression"] = [self.expression]
        return {"resourceType": "OperationOutcome", "issue": [issue]}


def invalid(expression: str, problem: str) -> Refused:
    return Refused(422, "invariant", f"{expression}: {problem}", expression)
