"""POST /sdapi/v1/refresh-embeddings: have every SD host look for new embeddings.

Each does when it is done with its present picture; the answer comes when all have.
"""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/refresh-embeddings")
def refresh_embeddings() -> None:
    handler.occupy()
    robot().catalog.refresh_embeddings()
