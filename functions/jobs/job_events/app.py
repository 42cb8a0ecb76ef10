"""GET /v1/jobs/{job_id}/events: follow a job to its end, as server-sent events.

`snapshot` comes first, with the whole job; then `status`, `progress` and `preview` as they change;
at the end `done`, again with the whole job. Who was cut off connects again. While somebody follows
a job, its host makes previews. A browser reads this with `fetch`: its `EventSource` cannot send a
key in a header, and a key does not belong in a URL.
"""

from robotchat.aws.api import Endpoint, EventStream
from robotchat.aws.events import job_events as follow
from robotchat.aws.wiring import robot

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs/<job_id>/events")
def job_events(job_id: str) -> EventStream:
    job = robot().jobs.get(job_id, handler.tenant)
    return EventStream(follow(job, handler.lambda_context), heartbeat=10)
