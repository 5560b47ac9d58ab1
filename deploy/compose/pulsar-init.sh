#!/bin/sh
# Makes tenant, namespace and topic of the alert events, once; what exists is kept.
# Runs inside the Pulsar image; PULSAR_ADMIN_URL is the broker's web address.
#
# Deduplication drops what the relay sends twice. Retention keeps events that no
# consumer has read yet and, above all, keeps the topic: a default namespace
# deletes an idle one, and its deduplication state with it.
set -eu
admin() { bin/pulsar-admin --admin-url "${PULSAR_ADMIN_URL:-http://pulsar:8080}" "$@"; }

admin tenants get lb-conn >/dev/null 2>&1 || admin tenants create lb-conn --allowed-clusters standalone
admin namespaces policies lb-conn/dict >/dev/null 2>&1 || admin namespaces create lb-conn/dict
admin namespaces set-deduplication lb-conn/dict --enable
admin namespaces set-retention lb-conn/dict --time 30d --size -1
topic=persistent://lb-conn/dict/rate-limit-alerts
admin topics list lb-conn/dict | grep -q "$topic" || admin topics create "$topic"
# One subscription for each consumer, made before the first event: it misses nothing.
for subscription in ${SUBSCRIPTIONS:-incident-log}; do
    admin topics subscriptions "$topic" | grep -qxE "\"?$subscription\"?" ||
        admin topics create-subscription --subscription "$subscription" --messageId earliest "$topic"
done
