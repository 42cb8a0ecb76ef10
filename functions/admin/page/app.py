"""GET /: the page to talk, draw and operate with.

GET /docs: leads to the reference of the API.
GET /playground/{file}: what the page consists of.
"""

from typing import Annotated

from robotchat.aws.api import Endpoint, Header, Response
from robotchat.aws.page import asset, here, moved

handler = Endpoint(public=True)

IfNoneMatch = Annotated[str | None, Header()]


@handler.get("/", include_in_schema=False)
def page(if_none_match: IfNoneMatch = None) -> Response[str]:
    path = here(handler)
    return asset("index.html", if_none_match) if path.endswith("/") else moved(f"{path}/")


@handler.get("/docs", include_in_schema=False)
def docs() -> Response[str]:
    return moved(f"{here(handler).rstrip('/').removesuffix('/docs')}/playground/reference.html")


@handler.get("/playground/<file>", include_in_schema=False)
def file(file: str, if_none_match: IfNoneMatch = None) -> Response[str]:
    return asset(file, if_none_match)
