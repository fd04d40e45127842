"""What an answer of OmegaAI's FHIR interface means for the message that asked.

An error of the message alone is Permanent: a person has to look at this message. An error of our access or of OmegaAI's
state would meet every message: it is Transient, or AccessRefused where a person has to correct something, and the
message waits. The table is in docs/architecture/messaging.md. Error texts hold the OperationOutcome's places and codes
and no other words of the server, which may quote a patient.
"""

from typing import Any, Final

from chassis.errors import AccessRefused, Permanent, Transient, UnusableAnswer
from chassis.http import DEEPEST_JSON, Answer, is_deep
from chassis.observe import masking

Resource = dict[str, Any]

_NOT_NOW: Final = frozenset({408, 425, 429})
_ADDRESS: Final = "omegaai.base_url, or the proxy in front of OmegaAI"
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
"""Statuses that do not depend on the message, and the place to look for the cause."""
_ABOUT_ACCESS: Final = frozenset({"login", "unknown", "expired", "forbidden", "suppressed", "security"})
_ABOUT_STATE: Final = frozenset(
    {"transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"}
)
"""Codes of http://hl7.org/fhir/issue-type whose cause does not depend on the message."""
_ABOUT_MESSAGE_IN_CONFLICT: Final = frozenset({"duplicate", "business-rule", "multiple-matches"})
_MOST_ISSUES: Final = 5
_LEVELS_OF_PAGE: Final = 4
"""Bundle, its entries, an entry, the resource."""


class VersionMovedError(Exception):
    """The resource's version is not the one that the write was based on (412): read it again."""


class NotFoundError(Exception):
    """The resource does not exist (404) or no longer exists (410)."""


async def resource_of(answer: Answer, what: str, *, of_type: str, names_one: bool, is_read: bool) -> Resource:
    """The resource in an answer. ``names_one``: the request named one resource, not only a type.

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
    """Raises for statuses that decide alone, whatever the body says, and for pages of a proxy on the way."""
    if answer.status in _REFUSALS:
        raise AccessRefused(what, setting=_REFUSALS[answer.status])
    if answer.status >= 500 or answer.status in _NOT_NOW:
        raise Transient(what, retry_after_seconds=answer.retry_after_seconds)
    if answer.status == 412:
        raise VersionMovedError(what)
    if answer.is_page:
        raise AccessRefused(f"{what} with a web page", setting=_ADDRESS)


def same_type(found: object, wanted: str) -> bool:
    """Whether both name one resource type, whichever case RamSoft writes it in."""
    return isinstance(found, str) and found.lower() == wanted.lower()


def dicts(value: object) -> list[Resource]:
    """The objects of a list; an empty list when ``value`` is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


async def _body(answer: Answer, what: str) -> Resource:
    """The answer's object; empty for an empty body. A body that is no JSON does not come from the FHIR interface."""
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
    """Replaces, empty, an element of a page's resource that nests too deeply to be read."""


def _without_what_is_deep(page: Any) -> Any:
    """A Bundle with TooDeep for such elements, so that its other resources can be read; any other value unchanged."""
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
    """``element`` with TooDeep for each value that nests too deeply; ``levels_above`` levels of the page contain it."""
    deepest = DEEPEST_JSON - levels_above
    return {name: TooDeep() if is_deep(value, deepest) else value for name, value in element.items()}


def _refuse(status: int, what: str, outcome: Resource) -> None:
    """Raises the error of a refusal: the OperationOutcome says more than the status."""
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
    """The places and codes of an OperationOutcome; parts that may quote a value are masked."""
    found = []
    for issue in issues[:_MOST_ISSUES]:
        places = issue.get("expression") or issue.get("location") or []
        named = [one for one in places if isinstance(one, str)][:_MOST_ISSUES] if isinstance(places, list) else []
        code = issue.get("code")
        kind = f"({masking.shown(code)})" if isinstance(code, str) else ""
        found.append(" ".join(part for part in (", ".join(map(masking.place, named)), kind) if part))
    return f": {'; '.join(filter(None, found))}" if any(found) else ""
