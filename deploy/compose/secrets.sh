#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, once; what exists is kept.
#
#   sh deploy/compose/secrets.sh [DIRECTORY]      default: secrets
#
# The directory is closed to other users of the host. The files in it are
# readable, since each container reads its own as its own unprivileged user.
set -eu
directory=${1:-secrets}
mkdir -p "$directory"
chmod 0700 "$directory"

keep() { # name, content
    [ -s "$directory/$1" ] || printf '%s' "$2" >"$directory/$1"
    chmod 0444 "$directory/$1"
}
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep postgres_password "$(random)"
keep grafana_admin_password "$(random)"
for role in migrator writer reader; do
    keep ${role}_password "$(random)"
done
for role in migrator writer; do
    keep ${role}_dsn "postgresql://dict_rate_limit_$role:$(cat "$directory/${role}_password")@postgres:5432/dict_rate_limit"
done
# Until you have a Slack, the log stands where it stands. PagerDuty refuses the zeros, and
# Alertmanager logs that: put your own addresses here.
keep slack_api_url "http://alert-log:9880/slack"
keep pagerduty_routing_key "00000000000000000000000000000000"
