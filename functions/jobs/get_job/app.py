"""GET /v1/jobs/{job_id}: a job as it is now, with fresh links to its pictures."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot, viewer
from robotchat.views import JobView

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs/<job_id>")
def get_job(job_id: str) -> JobView:
    job = robot().jobs.get(job_id, handler.tenant)
    return viewer().job(job, robot().estimate(job))
