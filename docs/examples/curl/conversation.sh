#!/bin/sh
# A conversation that draws, with curl and python3 as the JSON reader. Needs API_URL and API_KEY.
set -eu
field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
auth="Authorization: Bearer $API_KEY"

job=$(curl -sS --fail-with-body "$API_URL/v1/chat/text2image" -H "$auth" \
  -H "Content-Type: application/json" -d '{"message": "I want to see a photo of a beach"}')
conversation=$(echo "$job" | field "['conversation_id']")

job=$(curl -sS --fail-with-body "$API_URL/v1/chat/text2image" -H "$auth" \
  -H "Content-Type: application/json" -H "Idempotency-Key: $(date +%s%N)" \
  -d "{\"message\": \"at sunset\", \"conversation_id\": \"$conversation\"}")
id=$(echo "$job" | field "['id']")

# Follow the job to its end, event by event; then read it. A connection ends after a while by itself.
for _ in $(seq 100); do
  curl -sSN --fail "$API_URL/v1/jobs/$id/events" -H "$auth" |
    awk '/^event:/ {print; fflush()} /^event: done/ {done = 1} END {exit !done}' && break
done
job=$(curl -sS --fail-with-body "$API_URL/v1/jobs/$id" -H "$auth")
echo "$job" | field "['prompt']"
curl -sS -o "${OUT:-beach.png}" "$(echo "$job" | field "['images'][0]['url']")"
