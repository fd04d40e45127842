"""The patient that the tests of partners' answers share."""

from uuid import UUID

from chassis.deliveries import Delivery
from scheduler_sync.adapters.omegaai.doubts import Decision
from scheduler_sync.adapters.omegaai.sender import KnownIds
from scheduler_sync.snapshots import PatientSnapshot

KEY = UUID(int=1)
PATIENT = PatientSnapshot(
    patient_id=KEY, identifiers=(("http://northside.example/patient-id", "4711"),), family="Roe", given="Jane",
    middle=None, birth_date=None, sex="F", email=None, phone=None, language="en", address=None, organization="1",
)  # fmt: skip


class NoDoubts:
    """A review list that is asked nothing."""

    async def newest_told(self, _: UUID) -> None:
        return None

    async def other_in_omegaai(self, *_: object) -> tuple[int, Decision]:
        raise AssertionError


class Ids(NoDoubts):
    def __init__(self, patient: str | None) -> None:
        self._patient = patient

    async def of_patient(self, _: UUID) -> KnownIds:
        return KnownIds(self._patient)

    async def of_link(self, _: UUID, __: UUID) -> KnownIds:
        raise AssertionError

    async def later(self, _: Delivery) -> None:
        return None
