"""GET /v1/dead-letters: messages that no worker could read or finish, and why."""

from robotchat.aws.administration import DeadLetterList, dead_letters
from robotchat.aws.api import Endpoint

handler = Endpoint(scope="admin")


@handler.get("/v1/dead-letters")
def list_dead_letters() -> DeadLetterList:
    return dead_letters()
