"""POST /sdapi/v1/interrogate: find words for a picture; the caller waits."""

from robotchat.aws.answers import time_left
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.hosts.webui_api import InterrogateRequest

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/interrogate")
def interrogate(request: InterrogateRequest) -> dict[str, str]:
    handler.occupy()
    words = robot().webui_api.interrogate(request, time_left=time_left(handler.lambda_context))
    return {"caption": words}
