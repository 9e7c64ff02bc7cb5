#!/bin/sh
# Dossier's own wire: typed fields, many events in a call, a dry run before.
#   sh native.sh                                        # a server on this machine
#   DOSSIER_SERVER=https://… DOSSIER_WRITE_KEY=… DOSSIER_READ_KEY=… sh native.sh
set -eu
server=${DOSSIER_SERVER:-http://127.0.0.1:8360}

# An id of your own for every event: what is sent twice then counts once.
# Amounts are in millionths: 129900000 is 129.90.
events='{"source":"shop","events":[
  {"id":"native-1","type":"traits.set","time":"2026-01-15T09:00:00Z",
   "identifiers":[{"type":"user_id","value":"ann-1"},{"type":"email","value":"ann@native.example"}],
   "traits":{"set":{"name":"Ann Native","city":"Graz"}}},
  {"id":"native-2","type":"order.placed","time":"2026-01-15T10:00:00Z",
   "identifiers":[{"type":"user_id","value":"ann-1"}],
   "order":{"orderId":"N-1","currency":"EUR","revenueMicros":"129900000",
            "lines":[{"productId":"p-1","name":"Kettle","priceMicros":"64950000","quantityMicros":"2000000"}]}}
]}'

post() {
  curl -sS --fail-with-body -H "Authorization: Bearer ${DOSSIER_WRITE_KEY:-any}" \
    -H 'Content-Type: application/json' -d "$events" "$server/v1/events$1"
}

echo "What would become of them (nothing is recorded):"
post '?dryRun=true'

# The answer comes once the events are on disk. Its receipt makes a query wait
# until they count.
answer=$(post '')
echo "Told: $answer"
receipt=$(printf '%s' "$answer" | sed -n 's/.*"receipt":"\([^"]*\)".*/\1/p')

echo "The customer, by any of her identifiers:"
curl -sS --fail-with-body -H "Authorization: Bearer ${DOSSIER_READ_KEY:-any}" -H 'Content-Type: application/json' \
  -d '{"customer":"email:ann@native.example","receipt":"'"$receipt"'"}' \
  "$server/dossier.query.v1.QueryService/GetProfile"
echo
