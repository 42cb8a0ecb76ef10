"""POST /sdapi/v1/reload-checkpoint: accepted, without effect.

It undoes `unload-checkpoint`, which unloads nothing; each request loads what it is drawn with.
"""

from robotchat.aws.api import Endpoint

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/reload-checkpoint")
def reload_checkpoint() -> dict[str, str]:
    return {}
