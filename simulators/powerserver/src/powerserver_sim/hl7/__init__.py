"""HL7 v2 over MLLP in both directions, the message log, and the interface's settings."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.hl7 import announce
from powerserver_sim.hl7.pages import ROUTES
from powerserver_sim.hl7.sending import prepare_sending
from simulator_kit import misbehaviour
from simulator_kit.feature import Feature
from simulator_kit.misbehaviour import Mode, Target

__all__ = ["FEATURE", "TARGETS", "prepare_sending"]

TARGETS: Final = (
    Target(
        "mllp-in",
        "A message that comes in.",
        [
            misbehaviour.status("AE", ("AE", "AR", "CE", "CR")),
            misbehaviour.slow(1.0),
            misbehaviour.CUT,
            misbehaviour.ACCEPT_THEN_CUT,
            Mode("late-ack", "Does the work, and answers `seconds` later.", seconds=1.0),
            Mode("wrong-ack", "Does the work, and answers with another message's control id."),
            Mode("no-ack", "Does the work, and never answers; the connection stays."),
        ],
    ),
    Target(
        "mllp-out",
        "A message that goes out.",
        [
            misbehaviour.DROP,
            misbehaviour.DUPLICATE,
            Mode("reorder", "Sends it after the next one; two messages have to wait."),
            Mode("cut", "Sends the whole message and cuts the connection before the answer; it is sent again."),
        ],
    ),
)
FEATURE: Final = Feature[Services](
    Path(__file__).parent,
    routes=lambda _: ROUTES,
    hooks={
        "order": announce.order_changed,
        "patient": announce.patient_changed,
        "resource": announce.resource_changed,
        "reservation": announce.reservation_changed,
    },
)
