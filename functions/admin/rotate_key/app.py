"""POST /v1/tenants/{tenant}/keys/{key_id}/rotate: make a key like another, which then runs out."""

from robotchat.aws.administration import NewKey, RotationRequest, replace_key
from robotchat.aws.api import Endpoint, Tenant

handler = Endpoint(scope="admin")


@handler.post("/v1/tenants/<tenant>/keys/<key_id>/rotate", status_code=201)
def rotate_key(tenant: Tenant, key_id: str, request: RotationRequest) -> NewKey:
    return replace_key(tenant, key_id, request)
