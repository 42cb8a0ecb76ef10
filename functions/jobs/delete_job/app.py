"""DELETE /v1/jobs/{job_id}: delete what a final job holds, its pictures first."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.views import Deleted

handler = Endpoint(scope="images")


@handler.delete("/v1/jobs/<job_id>")
def delete_job(job_id: str) -> Deleted:
    robot().delete_job(job_id, tenant=handler.tenant)
    return Deleted(id=job_id, object="job.deleted")
