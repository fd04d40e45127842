"""What an answer of OmegaAI's FHIR interface means for the message it answers.

What is about the message alone is Permanent: a person has to look at that one. What is about our access or OmegaAI's
state would meet every message: it is Transient, or AccessRefused where a person has to put something right, and waits.
The table stands in docs/architecture/messaging.md. Texts have the OperationOutcome's places and codes and nothing else
of a server's words: those may quote a patient.
"""

from typing import Any, Final

from chassis.errors import AccessRefused, Permanent, Transient, UnusableAnswer
from chassis.http import DEEPEST_JSON, Answer, is_deep
from chassis.observe import masking

Resource = dict[str, Any]

_NOT_NOW: Final = frozenset({408, 425, 429})
_ADDRESS: Final = "omegaai.base_url, or what stands before OmegaAI"
_RIGHTS: Final = "the rights of omegaai.client_id in OmegaAI, omegaai.scope"
_REFUSALS: Final = {
    401: _RIGHTS,
    402: "the contract with OmegaAI",
    403: _RIGHTS,
    405: _ADDRESS,
    406: _ADDRESS,
    407: "the proxy between here and OmegaAI",
    415: _ADDRESS,
    421: _ADDRESS,
    426: _ADDRESS,
    431: "omegaai.scope: the token makes the request's header too large",
    501: _ADDRESS,
    505: _ADDRESS,
    511: "the network between here and OmegaAI, which wants a login",
}
"""Statuses that every message would meet, and where to look."""
_ABOUT_ACCESS: Final = frozenset({"login", "unknown", "expired", "forbidden", "suppressed", "security"})
_ABOUT_STATE: Final = frozenset(
    {"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"}
)
"""Codes of http://hl7.org/fhir/issue-type: of what is wrong whatever the message holds."""
_ABOUT_MESSAGE_IN_CONFLICT: Final = frozenset({"duplicate", "business-rule", "multiple-matches"})
_MOST_ISSUES: Final = 5
_LEVELS_OF_PAGE: Final = 4
"""Bundle, its entries, an entry, the resource."""


class VersionMovedError(Exception):
    """The resource has another version than the write was based on (412): read it again."""


class NotFoundError(Exception):
    """There is no such resource (404), or no longer (410)."""


async def resource_of(answer: Answer, what: str, *, of_type: str, names_one: bool, is_read: bool) -> Resource:
    """The resource that was answered. ``names_one``: the request named a resource and not a type alone.

    Raises NotFoundError, VersionMovedError, Permanent, and Transient with its kinds.
    """
    status, what = answer.status, f"OmegaAI: {what} answered {answer.status}"
    _check_access(answer, what)
    body = await _body(answer, what)
    if status in (404, 410):
        if names_one:
            raise NotFoundError(what)
        raise AccessRefused(f"{what}: the interface is not there", setting=_ADDRESS)
    if status >= 400:
        _refuse(status, what, body)
    if status not in (200, 201) or not body:
        raise UnusableAnswer(f"{what} without a resource")
    found = body.get("resourceType")
    if not same_type(found, of_type) and (is_read or found is not None):
        raise UnusableAnswer(f"{what} with what is no {of_type}")
    return body


def _check_access(answer: Answer, what: str) -> None:
    """Raises for what stands in the status alone, whatever the body says, and for the pages of what stands between."""
    if answer.status in _REFUSALS:
        raise AccessRefused(what, setting=_REFUSALS[answer.status])
    if answer.status >= 500 or answer.status in _NOT_NOW:
        raise Transient(what, retry_after_seconds=answer.retry_after_seconds)
    if answer.status == 412:
        raise VersionMovedError(what)
    if answer.is_page:
        raise AccessRefused(f"{what} with a web page", setting=_ADDRESS)


def same_type(found: object, wanted: str) -> bool:
    """Whether both name one resource type: RamSoft writes them in either case."""
    return isinstance(found, str) and found.lower() == wanted.lower()


def dicts(value: object) -> list[Resource]:
    """The objects of a list; of anything else none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


async def _body(answer: Answer, what: str) -> Resource:
    """The answer's object; an empty one for an empty body. What is no JSON does not come from the FHIR interface."""
    if not answer.body.strip():
        return {}
    try:
        value = await answer.json(if_deep=_without_what_is_deep)
    except UnusableAnswer as error:
        raise UnusableAnswer(f"{what}: {error.reason}") from None
    except ValueError:
        if answer.status < 400:
            raise UnusableAnswer(f"{what} with what is no JSON") from None
        raise AccessRefused(f"{what} with what is no JSON", setting=_ADDRESS) from None
    return value if isinstance(value, dict) else {}


class TooDeep(dict[str, Any]):
    """Stands, empty, in place of an element of a page's resource that nests too deeply to be looked at."""


def _without_what_is_deep(page: Any) -> Any:
    """A Bundle in which such elements are TooDeep, so that the other resources are read; anything else as it is."""
    if not isinstance(page, dict) or not same_type(page.get("resourceType"), "Bundle"):
        return page
    found = _shallow({name: value for name, value in page.items() if name != "entry"}, 1)
    entries = page.get("entry")
    if isinstance(entries, list):
        found["entry"] = [_shallow_entry(entry) for entry in entries]
    return found


def _shallow_entry(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return TooDeep() if is_deep(entry, DEEPEST_JSON - 2) else entry
    resource = entry.get("resource")
    if not isinstance(resource, dict):
        return _shallow(entry, 3)
    others = _shallow({name: value for name, value in entry.items() if name != "resource"}, 3)
    return {**others, "resource": _shallow(resource, _LEVELS_OF_PAGE)}


def _shallow(element: dict[str, Any], levels_above: int) -> dict[str, Any]:
    """``element`` with TooDeep for each value that nests too deeply, ``levels_above`` of the page standing above it."""
    deepest = DEEPEST_JSON - levels_above
    return {name: TooDeep() if is_deep(value, deepest) else value for name, value in element.items()}


def _refuse(status: int, what: str, outcome: Resource) -> None:
    """Raises what a refusal means: the status says little where the OperationOutcome says more."""
    issues = dicts(outcome.get("issue"))
    codes = {issue.get("code") for issue in issues if isinstance(issue.get("code"), str)}
    said = f"{what}{_expressions(issues)}"
    if codes and codes <= _ABOUT_ACCESS:
        raise AccessRefused(said, setting=_RIGHTS)
    if codes and codes <= _ABOUT_STATE:
        raise Transient(said)
    if status in (409, 423) and not codes & _ABOUT_MESSAGE_IN_CONFLICT:
        raise Transient(said)
    raise Permanent(said)


def _expressions(issues: list[Resource]) -> str:
    """Where an OperationOutcome points, and its codes; what may quote a value is masked."""
    found = []
    for issue in issues[:_MOST_ISSUES]:
        places = issue.get("expression") or issue.get("location") or []
        named = [one for one in places if isinstance(one, str)][:_MOST_ISSUES] if isinstance(places, list) else []
        code = issue.get("code")
        kind = f"({masking.shown(code)})" if isinstance(code, str) else ""
        found.append(" ".join(part for part in (", ".join(map(masking.place, named)), kind) if part))
    return f": {'; '.join(filter(None, found))}" if any(found) else ""
