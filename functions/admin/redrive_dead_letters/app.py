"""POST /v1/dead-letters/redrive: put dead letters back on the queue of requests, up to 100.

A job runs once, however often its message comes: what is done already is not done again.
"""

from robotchat.aws.administration import Redriven, redrive
from robotchat.aws.api import Endpoint

handler = Endpoint(scope="admin")


@handler.post("/v1/dead-letters/redrive")
def redrive_dead_letters() -> Redriven:
    return redrive()
