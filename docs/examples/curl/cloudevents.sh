#!/bin/sh
# CloudEvents 1.0 in its three modes.
#   sh cloudevents.sh                                   # a server on this machine
#   DOSSIER_SERVER=https://… DOSSIER_WRITE_KEY=… DOSSIER_READ_KEY=… sh cloudevents.sh
set -eu
server=${DOSSIER_SERVER:-http://127.0.0.1:8360}

post() { # Content-Type, body, more headers…
  type=$1 body=$2
  shift 2
  curl -sS --fail-with-body -H "Authorization: Bearer ${DOSSIER_WRITE_KEY:-any}" -H "Content-Type: $type" "$@" \
    -d "$body" "$server/v1/cloudevents"
}

# The subject is the customer: <identifier type>:<value>, or a plain user id.
# The type is any name in docs/EVENTS.md, or one of your own. An event is known
# by its source and id, so that what is sent twice counts once.

echo "Binary: attributes are headers (percent-encoded), the body is the data."
post application/json '{"orderId":"C-1","revenue":"64.95","currency":"EUR"}' \
  -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /shop/orders' -H 'ce-type: order.placed' \
  -H 'ce-subject: user_id:cleo-1' -H 'ce-time: 2026-01-15T10:00:00Z'

echo "Structured: one event in JSON."
post application/cloudevents+json '{"specversion":"1.0","id":"2","source":"/crm","type":"traits.set",
  "subject":"cleo-1","time":"2026-01-15T10:01:00Z",
  "data":{"name":"Cleo Cloud","email":"cleo@cloudevents.example"}}'

# The second of these has the id of an event above, but another source: it is
# another event.
echo "Batch: many."
answer=$(post application/cloudevents-batch+json '[
  {"specversion":"1.0","id":"3","source":"/shop/orders","type":"Order Completed",
   "time":"2026-01-16T10:00:00Z","data":{"userId":"cleo-1","order_id":"C-2","revenue":10,"currency":"EUR"}},
  {"specversion":"1.0","id":"1","source":"/quiz","type":"Quiz Done",
   "subject":"email:cleo@cloudevents.example","time":"2026-01-16T11:00:00Z","data":{"score":3}}
]')
echo "$answer"
receipt=$(printf '%s' "$answer" | sed -n 's/.*"receipt":"\([^"]*\)".*/\1/p')

echo "The customer:"
curl -sS --fail-with-body -H "Authorization: Bearer ${DOSSIER_READ_KEY:-any}" -H 'Content-Type: application/json' \
  -d '{"customer":"user_id:cleo-1","receipt":"'"$receipt"'"}' \
  "$server/dossier.query.v1.QueryService/GetProfile"
echo
