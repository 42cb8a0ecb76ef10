"""Receives what robotchat tells of jobs: python3 receiver.py PORT, with WEBHOOK_SECRET (whsec_...).

The secret is what GET /v1/webhook-secret says. Signatures are those of Standard Webhooks.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

TOLERANCE = 300  # seconds; older messages may be somebody's who has recorded one


def verify(secret: str, message_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Whether the body was signed with this secret, lately."""
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    # While a secret is being rotated there are several signatures.
    given = [part.removeprefix("v1,") for part in signatures.split() if part.startswith("v1,")]
    return any(hmac.compare_digest(expected, one) for one in given)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        message_id = self.headers.get("webhook-id", "")
        timestamp = self.headers.get("webhook-timestamp", "")
        signatures = self.headers.get("webhook-signature", "")
        good = verify(os.environ["WEBHOOK_SECRET"], message_id, timestamp, signatures, body)
        self.send_response(204 if good else 400)
        self.end_headers()
        if good:
            event = json.loads(body)
            # The same event may come twice: message_id is the same then. Remember it in earnest.
            print(event["type"], event["data"]["id"], flush=True)

    def log_message(self, *_: object) -> None:
        """Nothing: what counts is printed."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
