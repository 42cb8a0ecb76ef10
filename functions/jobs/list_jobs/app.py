"""GET /v1/jobs: the caller's jobs, newest first.

The answer has an `ETag`; with `If-None-Match` it is 304 and empty as long as nothing has changed.
"""

from typing import Annotated

from robotchat.aws.answers import unless_known
from robotchat.aws.api import Endpoint, Header, PageLimit, Response
from robotchat.aws.wiring import robot, viewer
from robotchat.jobs.job import JobKind, JobStatus
from robotchat.records import PAGE_SIZE
from robotchat.views import JobList

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs")
def list_jobs(
    status: JobStatus | None = None,
    kind: JobKind | None = None,
    conversation_id: str | None = None,
    limit: PageLimit = PAGE_SIZE,
    cursor: str | None = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response[JobList]:
    found, following = robot().jobs.of_tenant(
        handler.tenant,
        status=status,
        kind=kind,
        conversation_id=conversation_id,
        limit=limit,
        cursor=cursor,
    )
    page = JobList(data=[viewer().job(job) for job in found], next_cursor=following)
    return unless_known(page, viewer().tag(found, beside=following), if_none_match)
