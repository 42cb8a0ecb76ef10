"""GET /v1/queues: how much is in each queue, and since when the oldest job waits."""

from robotchat.aws.administration import QueueList, queues
from robotchat.aws.api import Endpoint

handler = Endpoint(scope="admin")


@handler.get("/v1/queues")
def get_queues() -> QueueList:
    return queues()
