"""The launch of PowerReader by an address, from another system: it opens a study or a patient after the login."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.patients import people
from powerserver_sim.rules import Refused
from powerserver_sim.users.session import for_user, form_of, texts_of
from powerserver_sim.worklist import orders
from simulator_kit.store import Work

ADDRESS: Final = "/powerreader/login.aspx"
_KEYS: Final = ("patientid", "issuer", "accessionnumber", "studyuid")


async def launch(request: Request) -> Response:
    """`?username=&app=powerreader&patientid=&issuer=&accessionnumber=&studyuid=`, by GET or POST; names in any case.

    `username` fills the login page in. A password is refused: it would stand in logs and histories.
    """
    given = {name.lower(): value for name, value in request.query_params.items()}
    if request.method == "POST":
        given |= {name.lower(): value for name, value in texts_of(await form_of(request)).items()}
    if any("password" in name or name == "pwd" for name in given):
        raise Refused("invalid", "A launch takes no password. Leave it out: the login page asks for it.")
    if given.get("app", "powerreader").lower() != "powerreader":
        raise Refused("unknown", "There is no such app; PowerReader can be launched.", field="app")
    wanted = urlencode({name: given[name] for name in _KEYS if given.get(name)})
    address = f"{ADDRESS}?{wanted}" if wanted else ADDRESS
    if services(request).sessions.subject(request) is None:
        name = given.get("username", "")
        return RedirectResponse(f"/login?next={quote(address)}&name={quote(name)}", status_code=303)
    if request.method == "POST":
        return RedirectResponse(address, status_code=303)
    return await _open(request)


@for_user
async def _open(request: Request, user: User) -> Response:
    given = {name.lower(): value.strip() for name, value in request.query_params.items()}
    target = await services(request).store.read(lambda work: place_of(work, user, given))
    return RedirectResponse(target, status_code=303)


def place_of(work: Work, user: User, given: Mapping[str, str]) -> str:
    """The page of the study, else of the patient, else the home page. All that is given must fit together."""
    numbers = set()
    if accession := given.get("accessionnumber"):
        row = work.one('SELECT "order" FROM study WHERE accession = ?', accession)
        if row is None:
            raise Refused("unknown", "There is no study with this accession number.", field="accessionnumber")
        numbers.add(int(row["order"]))
    if uid := given.get("studyuid"):
        numbers.add(orders.number_of_uid(work, uid))
    patients = _patients(work, given)
    if not numbers:
        if len(patients) > 1:
            return f"/patients?q={quote(given['patientid'])}"
        return f"/patients/{patients[0]}" if patients else "/"
    order = orders.load(work, min(numbers))
    user.require(order["facility"])
    if len(numbers) > 1 or (patients and order["patient"] not in patients):
        raise Refused("invalid", "The address names different studies, or a study of another patient.")
    return f"/appointments/{orders.placer_of(work, order['number'])}"


def _patients(work: Work, given: Mapping[str, str]) -> list[int]:
    """The keys of the patients with the given Patient ID: several issuers may use the same."""
    patient_id, issuer = given.get("patientid"), given.get("issuer")
    if not patient_id:
        return []
    if issuer:
        return [people.patient_by_id(work, patient_id, issuer)["key"]]
    rows = work.all("SELECT key FROM patient WHERE patient_id = ?", patient_id)
    if not rows:
        raise Refused("unknown", "There is no patient with this Patient ID.", field="patientid")
    return [row["key"] for row in rows]


ROUTES = [Route(ADDRESS, launch, methods=["GET", "POST"])]
