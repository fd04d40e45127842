"""The SQL of sessions, which every page runs."""

from typing import Final

from chassis.store.names import CHASSIS

logins = CHASSIS.WebSessions

BEGIN: Final = f"""
INSERT INTO {logins} ({logins.token_hash}, {logins.subject}, {logins.name}, {logins.role}, {logins.ends_at})
VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 second')
"""

CLEAN: Final = f"""
DELETE FROM {logins}
WHERE {logins.token_hash} = $1 OR {logins.ends_at} < clock_timestamp() OR {logins.seen_at} < clock_timestamp() - $2
    * interval '1 second'
"""

FIND: Final = f"""
SELECT {logins.subject}, {logins.name}, {logins.role},
    {logins.seen_at} < clock_timestamp() - $3 * interval '1 second' AS is_long_ago FROM {logins}
WHERE {logins.token_hash} = $1 AND {logins.ends_at} > clock_timestamp()
    AND {logins.seen_at} > clock_timestamp() - $2 * interval '1 second'
"""

SEEN: Final = f"UPDATE {logins} SET {logins.seen_at} = clock_timestamp() WHERE {logins.token_hash} = $1"

END: Final = f"""
DELETE FROM {logins} WHERE {logins.token_hash} = $1 RETURNING {logins.subject}, {logins.name}, {logins.role}
"""
