"""GET /v1/config: the configuration of the service, without its keys and passwords."""

from robotchat.aws.answers import configured
from robotchat.aws.api import Endpoint, Response
from robotchat.aws.wiring import deployment
from robotchat.config import ConfigView

handler = Endpoint(scope="admin")


@handler.get("/v1/config")
def get_config() -> Response[ConfigView]:
    return configured(deployment().configuration.view())
