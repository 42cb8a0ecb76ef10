"""GET /v1/usage: what the caller's tenant may use, and what it uses now and today.

Costs are in units: 1 is one picture of 512x512 pixels in 20 steps, and cost grows with pixels,
steps and pictures. A job's own cost is in the job.
"""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import deployment
from robotchat.jobs.limits import Usage

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/usage")
def get_usage() -> Usage:
    return deployment().present.ledger.usage(handler.tenant)
