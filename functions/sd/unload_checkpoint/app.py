"""POST /sdapi/v1/unload-checkpoint: accepted, without effect.

Clients free a host's memory with it. The hosts are shared: a checkpoint that one caller has done
with may be the next one's, so they keep what they have loaded.
"""

from robotchat.aws.api import Endpoint

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/unload-checkpoint")
def unload_checkpoint() -> dict[str, str]:
    return {}
