"""PowerServer over HL7 v2: received messages become commands, statuses are sent as messages."""
