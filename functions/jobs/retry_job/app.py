"""POST /v1/jobs/{job_id}/retry: run a failed or expired job again, under the same id."""

from robotchat.aws.answers import accepted
from robotchat.aws.api import Endpoint, Response
from robotchat.aws.wiring import robot
from robotchat.views import JobView

handler = Endpoint(scope="images")


@handler.post("/v1/jobs/<job_id>/retry", status_code=202)
def retry_job(job_id: str) -> Response[JobView]:
    return accepted(robot().retry(job_id, tenant=handler.tenant))
