"""POST /v1/jobs/{job_id}/cancel: stop a job; 202 while that is not certain yet."""

from robotchat.aws.answers import asked_to_stop
from robotchat.aws.api import Endpoint, Response
from robotchat.aws.wiring import robot
from robotchat.views import JobView

handler = Endpoint(scope="images")


@handler.post("/v1/jobs/<job_id>/cancel", status_code=202)
def cancel_job(job_id: str) -> Response[JobView]:
    return asked_to_stop(robot().cancel(job_id, tenant=handler.tenant))
