"""Reads what a request that began in Blume needs beside its Appointment: whose it is, and who provides the service."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from omegaai import elements
from omegaai.client import FhirClient, NotFoundError
from omegaai.elements import Json
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.commands import Asked, ReceiveOmegaAIAppointment
from scheduler_sync.domain.patient import PatientIdentifier


class Askers:
    """Completes commands. ``issuers``: the site's issuer of each of OmegaAI's identifier systems."""

    def __init__(self, client: FhirClient, issuers: Callable[[], Mapping[str, str]]) -> None:
        self._client = client
        self._issuers = issuers

    async def complete(self, command: ReceiveOmegaAIAppointment) -> ReceiveOmegaAIAppointment:
        """The command with its Patient's numbers and its service's organisation. Transient, Permanent.

        Any other command stays as it is, without a request to OmegaAI.
        """
        if not command.may_begin_in_blume:
            return command
        patient = await self._read("Patient", command.patient_fhir_id)
        service = await self._read("HealthcareService", command.service_id)
        issuers = self._issuers()
        numbers = tuple(
            PatientIdentifier(issuers[system], value)
            for system, value in reader.patient_numbers(patient)
            if system in issuers
        )
        owner = elements.reference(elements.child(service, "providedBy"))
        return replace(command, about=Asked(numbers, None if owner is None else owner[1]))

    async def _read(self, kind: str, identifier: str | None) -> Json:
        if identifier is None:
            return {}
        try:
            return (await self._client.read(kind, identifier)).resource
        except NotFoundError:
            return {}
