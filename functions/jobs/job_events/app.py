"""GET /v1/jobs/{job_id}/events: follow a job to its end, as server-sent events.

`snapshot` comes first, with the whole job; then `status`, `progress` and `preview` as they change;
at the end `done`, again with the whole job. While it goes on, a connection ends after two and a
half minutes with `timeout`. Who was cut off connects again; with the last event's id in
`Last-Event-ID` it is told what has changed since, instead of a snapshot, and 204 once it has seen
`done`. While somebody follows a job, its host makes previews. A browser reads this with `fetch`:
its `EventSource` cannot send a key in a header, and a key does not belong in a URL.
"""

from typing import Annotated

from robotchat.aws.api import Endpoint, EventStream, Header
from robotchat.aws.job_events import has_seen_the_end
from robotchat.aws.job_events import job_events as follow
from robotchat.aws.wiring import robot, settings

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs/<job_id>/events")
def job_events(job_id: str, last_event_id: Annotated[str | None, Header()] = None) -> EventStream:
    job = robot().jobs.get(job_id, handler.tenant)
    if has_seen_the_end(job, last_event_id):
        return EventStream((), status_code=204)
    handler.occupy()
    seconds = settings().follow_time
    return EventStream(follow(job, seconds=seconds, last_event_id=last_event_id), heartbeat=10)
