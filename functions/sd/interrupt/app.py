"""POST /sdapi/v1/interrupt: end the caller's own drawing early and keep what there is.

The job named by `job_id`, or the one that has been drawing the longest. Whoever waits for it gets
the picture as far as it is. Nobody else's work is touched.
"""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/interrupt")
def interrupt(job_id: str | None = None) -> dict[str, str]:
    robot().webui_api.interrupt(handler.tenant, job_id=job_id)
    return {}
