"""POST /sdapi/v1/skip: end the present batch of the caller's own drawing."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/skip")
def skip(job_id: str | None = None) -> None:
    robot().webui_api.skip(handler.tenant, job_id=job_id)
