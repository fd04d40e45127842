"""The outside: templates into mails, mails to a mail server, and the worker that does both."""
