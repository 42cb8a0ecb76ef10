"""POST /sdapi/v1/refresh-checkpoints: have every SD host look for new checkpoints.

Each does when it is done with its present picture; the answer comes when all have.
"""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/refresh-checkpoints")
def refresh_checkpoints() -> None:
    handler.occupy()
    robot().catalog.refresh_models()
