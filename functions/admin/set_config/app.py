"""PUT /v1/config: replace the configuration of the service.

All functions follow within half a minute. With `If-Match`, only the version that it names (the
`ETag` of the last answer) is replaced, and any other is answered with 412. Keys and passwords are
write-only: what is left out stays as it is for its URL, and an empty text forgets it.
"""

from typing import Annotated

from robotchat.aws.answers import configured, version_in
from robotchat.aws.api import Endpoint, Header, Response
from robotchat.aws.wiring import deployment
from robotchat.aws.workflows import check_workflows
from robotchat.config import ConfigView, ServiceConfig

handler = Endpoint(scope="admin")


@handler.put("/v1/config")
def set_config(
    config: ServiceConfig, if_match: Annotated[str | None, Header()] = None
) -> Response[ConfigView]:
    here = deployment()
    check_workflows(here, config)
    return configured(here.configuration.write(config, if_version=version_in(if_match)))
