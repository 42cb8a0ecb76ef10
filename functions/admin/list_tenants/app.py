"""GET /v1/tenants: the tenants by name, each with its limits and what it uses of them."""

from typing import Annotated

from robotchat.aws.administration import TenantList, tenants
from robotchat.aws.api import Endpoint, Query, TenantCursor

handler = Endpoint(scope="admin")


@handler.get("/v1/tenants")
def list_tenants(
    limit: Annotated[int, Query(ge=1, le=50)] = 20, cursor: TenantCursor = None
) -> TenantList:
    return tenants(limit=limit, cursor=cursor)
