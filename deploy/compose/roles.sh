#!/bin/sh
# Makes the three roles, and lets them log in with the passwords of the secrets.
# Doing it twice changes nothing but the passwords. PGHOST, PGUSER and PGDATABASE say where.
set -eu
secrets=${SECRETS_DIRECTORY:-/run/secrets}
here=$(dirname "$0")
PGPASSWORD=$(cat "$secrets/postgres_password")
export PGPASSWORD

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --file="${ROLES_SQL:-$here/roles.sql}"
for role in migrator writer reader; do
    # From standard input, so that no password is seen in a list of processes.
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<SQL
\\set password \`cat $secrets/${role}_password\`
ALTER ROLE dict_rate_limit_$role LOGIN PASSWORD :'password';
SQL
done
