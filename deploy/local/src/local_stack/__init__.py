"""The suite's local stack: Postgres, Kafka, services and simulators as processes of this machine.

Everything comes from Python packages and Maven artifacts (ADR 0006), so a machine with Python and make is enough.
"""
