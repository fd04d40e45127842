"""Where a process may die in this service, beside the places of the libraries: around a merge, and a correction."""

from typing import Final

from chassis.failpoints import declare

MERGE_BEFORE_CALL: Final = declare("merge.after-commit-before-call")
"""PowerServer's merge is committed, and OmegaAI does not know of it."""
MERGE_AFTER_CALL: Final = declare("merge.after-call-before-answer")
"""OmegaAI has merged its Patients, and nobody here knows."""
RECONCILE_BEFORE_CORRECTION: Final = declare("reconcile.after-look-before-correction")
"""The second look has confirmed the differences, and nothing is corrected."""
RECONCILE_AFTER_CORRECTION: Final = declare("reconcile.after-correction-before-next")
"""A lot of differences is corrected, and the run does not know that it may go on."""
