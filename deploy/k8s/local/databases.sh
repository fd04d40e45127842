#!/bin/sh
# A role and a database per service; no role may connect to another's database. Each file in ROLES holds a role's password.
set -eu
until pg_isready -q -h "$PGHOST" -t 5; do
  waited=$((${waited:-0} + 1))
  [ "$waited" -lt 24 ] || { echo "databases: Postgres at $PGHOST does not answer" >&2; exit 1; }
done
PGPASSWORD=$(cat "$ADMIN_PASSWORD_FILE")
# This session's statements hold passwords, so they are not logged.
PGOPTIONS="-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic"
export PGPASSWORD PGOPTIONS
for file in "$ROLES"/*; do
  role=$(basename "$file")
  psql -q -v ON_ERROR_STOP=1 -U postgres -d postgres -v role="$role" -v password="$(cat "$file")" <<'SQL'
SELECT format('%s ROLE %I LOGIN PASSWORD %L', CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = :'role')
  THEN 'ALTER' ELSE 'CREATE' END, :'role', :'password') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'role', :'role')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'role') \gexec
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', :'role') \gexec
SQL
  echo "databases: $role is there, for its own role alone"
done
