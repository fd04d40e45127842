"""The use cases.

Each takes a message and a unit of work, decides through the domain, and leaves its effects in the work: aggregates,
history, events and deliveries. The transaction around it commits them together or not at all. All are idempotent: a
link's own versions and times tell a repeat, an echo or a stale message from news.
"""
