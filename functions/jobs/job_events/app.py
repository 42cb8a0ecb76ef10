"""GET /v1/jobs/{job_id}/events: follow a job to its end, as server-sent events."""

from robotchat.aws.api import Endpoint, EventStream
from robotchat.aws.events import job_events as follow
from robotchat.aws.wiring import robot

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs/<job_id>/events")
def job_events(job_id: str) -> EventStream:
    job = robot().jobs.get(job_id, handler.tenant)
    return EventStream(follow(job, handler.lambda_context), heartbeat=10)
