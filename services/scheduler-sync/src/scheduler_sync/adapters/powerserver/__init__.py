"""PowerServer over HL7 v2: messages in become commands, statuses go out as messages."""
