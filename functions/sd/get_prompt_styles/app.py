"""GET /sdapi/v1/prompt-styles: the texts that `styles` may name."""

from robotchat.art.answers import PromptStyle
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/prompt-styles")
def get_prompt_styles() -> list[PromptStyle]:
    return robot().catalog.get_prompt_styles()
