"""GET /sdapi/v1/embeddings: the learnt words that a prompt may use."""

from robotchat.art.answers import Embeddings
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/embeddings")
def get_embeddings() -> Embeddings:
    return robot().catalog.get_embeddings()
