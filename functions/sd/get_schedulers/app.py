"""GET /sdapi/v1/schedulers: the noise schedules that a request may name."""

from robotchat.art.answers import Scheduler
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/schedulers")
def get_schedulers() -> list[Scheduler]:
    return robot().catalog.get_schedulers()
