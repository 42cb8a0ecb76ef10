"""GET /sdapi/v1/progress: how far the caller's own drawing has got.

The job named by `job_id`, with our fields beside the web UI's; without it, the one that has been
drawing the longest, in the web UI's fields alone, and idle when there is none. A preview is made
from the second look on.
"""

from robotchat.art.answers import Progress
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.hosts.webui_api import OwnProgress

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/progress")
def progress(skip_current_image: bool = False, job_id: str | None = None) -> OwnProgress | Progress:
    return robot().webui_api.progress(handler.tenant, job_id=job_id, preview=not skip_current_image)
