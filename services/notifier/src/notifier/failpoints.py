"""The notifier's own places to die: around the hand-over of a mail, which nothing can make one step with its note."""

from typing import Final

from chassis.failpoints import declare

SMTP_AFTER_COUNT_BEFORE_HAND_OVER: Final = declare("smtp.after-count-before-hand-over")
SMTP_AFTER_HAND_OVER_BEFORE_RECEIPT: Final = declare("smtp.after-hand-over-before-receipt")
SMTP_AFTER_REFUSAL_BEFORE_NOTE: Final = declare("smtp.after-refusal-before-note")
