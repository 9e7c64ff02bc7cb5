#!/bin/sh
# The capture API of PostHog.
#   sh posthog.sh                                       # a server on this machine
#   DOSSIER_SERVER=https://… DOSSIER_WRITE_KEY=… DOSSIER_READ_KEY=… sh posthog.sh
set -eu
server=${DOSSIER_SERVER:-http://127.0.0.1:8360}
key=${DOSSIER_WRITE_KEY:-any}

post() {
  curl -sS --fail-with-body -H 'Content-Type: application/json' -d "$2" "$server$1"
}

# A visitor, who then says who he is: what he did before is his.
echo "One event:"
post /i/v0/e/ '{"api_key":"'"$key"'","event":"$pageview","distinct_id":"0190c0de-0000-7000-8000-000000000001",
  "uuid":"0190c0de-0000-7000-8000-0000000000a1","timestamp":"2026-01-15T09:00:00Z",
  "properties":{"$current_url":"https://shop.example/kettles","$device_id":"0190c0de-0000-7000-8000-000000000001","$is_identified":false}}'

echo "Many:"
answer=$(post /batch/ '{"api_key":"'"$key"'","batch":[
  {"event":"$identify","distinct_id":"dora-1","uuid":"0190c0de-0000-7000-8000-0000000000a2","timestamp":"2026-01-15T09:05:00Z",
   "properties":{"$anon_distinct_id":"0190c0de-0000-7000-8000-000000000001"},
   "$set":{"name":"Dora PostHog","email":"dora@posthog.example"}},
  {"event":"order completed","distinct_id":"dora-1","uuid":"0190c0de-0000-7000-8000-0000000000a3","timestamp":"2026-01-15T09:10:00Z",
   "properties":{"order_id":"P-1","revenue":64.95,"currency":"EUR"}}
]}')
echo "$answer"
receipt=$(printf '%s' "$answer" | sed -n 's/.*"receipt":"\([^"]*\)".*/\1/p')

echo "The customer:"
curl -sS --fail-with-body -H "Authorization: Bearer ${DOSSIER_READ_KEY:-any}" -H 'Content-Type: application/json' \
  -d '{"customer":"user_id:dora-1","receipt":"'"$receipt"'"}' \
  "$server/dossier.query.v1.QueryService/GetProfile"
echo
