"""POST /v1/tenants/{tenant}/keys: make a key for a tenant; its secret is told only now.

The first key of a name makes the tenant.
"""

from robotchat.aws.administration import KeyRequest, NewKey, make_key
from robotchat.aws.api import Endpoint, Tenant

handler = Endpoint(scope="admin")


@handler.post("/v1/tenants/<tenant>/keys", status_code=201)
def create_key(tenant: Tenant, request: KeyRequest) -> NewKey:
    return make_key(tenant, request)
