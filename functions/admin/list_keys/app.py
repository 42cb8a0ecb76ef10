"""GET /v1/tenants/{tenant}/keys: a tenant's keys, without their secrets."""

from robotchat.aws.administration import KeyList, keys_of
from robotchat.aws.api import Endpoint, Tenant

handler = Endpoint(scope="admin")


@handler.get("/v1/tenants/<tenant>/keys")
def list_keys(tenant: Tenant) -> KeyList:
    return keys_of(tenant)
