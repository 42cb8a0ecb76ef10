"""DELETE /v1/tenants/{tenant}/keys/{key_id}: make a key useless, within half a minute."""

from robotchat.aws.administration import KeyView, withdraw_key
from robotchat.aws.api import Endpoint, Tenant

handler = Endpoint(scope="admin")


@handler.delete("/v1/tenants/<tenant>/keys/<key_id>")
def revoke_key(tenant: Tenant, key_id: str) -> KeyView:
    return withdraw_key(tenant, key_id)
