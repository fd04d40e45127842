"""A patient confirms an appointment."""

from omegaai_sim.blume import cards
from omegaai_sim.blume.onboarding.accounts import Account
from omegaai_sim.blume.scheduling import own
from omegaai_sim.fhir.outcome import Refused
from simulator_kit.store import Work


def confirm(work: Work, account: Account, identifier: str, seen_start: str) -> cards.Card:
    """Books the pending appointment. Raises ``Refused``: 404 another patient's, 409 not (or no longer) confirmable."""
    stored, card = own.own_card(work, account, identifier, seen_start)
    if card.is_open and card.status == "booked":
        return card
    if not card.can_be_confirmed:
        raise Refused(409, "conflict", "This appointment cannot be confirmed any more.")
    return own.save(work, stored, {"status": "booked"}, "accepted")
