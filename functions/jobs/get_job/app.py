"""GET /v1/jobs/{job_id}: a job as it is now, with fresh links to its pictures.

The answer has an `ETag`; with `If-None-Match` it is 304 and empty as long as nothing has changed.
"""

from typing import Annotated

from robotchat.aws.answers import unless_known
from robotchat.aws.api import Endpoint, Header, Response
from robotchat.aws.wiring import robot, viewer
from robotchat.views import JobView

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs/<job_id>")
def get_job(
    job_id: str, if_none_match: Annotated[str | None, Header()] = None
) -> Response[JobView]:
    job = robot().jobs.get(job_id, handler.tenant)
    estimate = robot().estimate(job)
    tag = viewer().tag([job], beside=estimate)
    return unless_known(viewer().job(job, estimate), tag, if_none_match)
