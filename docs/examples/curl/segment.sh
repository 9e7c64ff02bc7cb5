#!/bin/sh
# The HTTP API of Segment, which RudderStack's clients speak too.
#   sh segment.sh                                       # a server on this machine
#   DOSSIER_SERVER=https://… DOSSIER_WRITE_KEY=… DOSSIER_READ_KEY=… sh segment.sh
set -eu
server=${DOSSIER_SERVER:-http://127.0.0.1:8360}

post() {
  curl -sS --fail-with-body -u "${DOSSIER_WRITE_KEY:-any}:" -H 'Content-Type: application/json' -d "$2" "$server$1"
}

echo "One call, one event:"
post /v1/identify '{"messageId":"segment-1","userId":"ben-1","timestamp":"2026-01-15T09:00:00Z",
  "traits":{"name":"Ben Segment","email":"ben@segment.example"}}'

# A visit from an advertisement, an order, and an event of your own, in one call.
# messageId is what a repeat is known by.
echo "Many:"
answer=$(post /v1/batch '{"batch":[
  {"type":"page","messageId":"segment-2","userId":"ben-1","timestamp":"2026-01-15T09:01:00Z","name":"Kettles",
   "properties":{"url":"https://shop.example/kettles"},
   "context":{"campaign":{"source":"newsletter","medium":"email","name":"january"}}},
  {"type":"track","messageId":"segment-3","userId":"ben-1","timestamp":"2026-01-15T09:10:00Z","event":"Order Completed",
   "properties":{"order_id":"S-1","revenue":"64.95","currency":"EUR",
                 "products":[{"product_id":"p-1","name":"Kettle","price":64.95,"quantity":1}]}},
  {"type":"track","messageId":"segment-4","userId":"ben-1","timestamp":"2026-01-15T09:11:00Z","event":"Quiz Done",
   "properties":{"score":3}}
]}')
echo "$answer"
receipt=$(printf '%s' "$answer" | sed -n 's/.*"receipt":"\([^"]*\)".*/\1/p')

echo "The customer:"
curl -sS --fail-with-body -H "Authorization: Bearer ${DOSSIER_READ_KEY:-any}" -H 'Content-Type: application/json' \
  -d '{"customer":"user_id:ben-1","receipt":"'"$receipt"'"}' \
  "$server/dossier.query.v1.QueryService/GetProfile"
echo
