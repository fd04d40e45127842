"""The SMTP listener and its faults."""

from pathlib import Path
from typing import Final

from mailsink.context import Services
from simulator_kit import misbehaviour
from simulator_kit.feature import Feature
from simulator_kit.misbehaviour import Target

FEATURE: Final = Feature[Services](Path(__file__).parent)
TARGET: Final = Target(
    "smtp",
    "A mail that comes in. Every mode applies after DATA.",
    [
        misbehaviour.status(
            451, (421, 451, 530, 550), "Answers with `status`. Nothing is kept; after 421 the connection is closed."
        ),
        misbehaviour.ACCEPT_THEN_CUT,
        misbehaviour.slow(1.0),
    ],
)
