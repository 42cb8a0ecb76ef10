"""GET /health: whether pictures can be drawn now, and how much work is waiting."""

from robotchat.aws.api import Endpoint
from robotchat.aws.health import Health, health

handler = Endpoint(public=True)


@handler.get("/health")
def get_health() -> Health:
    return health()
