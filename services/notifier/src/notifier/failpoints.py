"""The notifier's fail points: around the hand-over of a mail, which cannot be atomic with its record."""

from typing import Final

from chassis.failpoints import declare

SMTP_AFTER_COUNT_BEFORE_HAND_OVER: Final = declare("smtp.after-count-before-hand-over")
SMTP_AFTER_HAND_OVER_BEFORE_RECEIPT: Final = declare("smtp.after-hand-over-before-receipt")
SMTP_AFTER_REFUSAL_BEFORE_NOTE: Final = declare("smtp.after-refusal-before-note")
