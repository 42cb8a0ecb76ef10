"""POST /sdapi/v1/refresh-vae: have every SD host look for new VAEs.

Each does when it is done with its present picture; the answer comes when all have.
"""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/refresh-vae")
def refresh_vaes() -> None:
    handler.occupy()
    robot().catalog.refresh_vaes()
