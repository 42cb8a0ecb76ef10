"""LangChain's ChatOpenAI with OpenAI's tool image_generation: a picture, and a change of it."""

import base64
import os

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

MARK = os.environ["MARK"]
TOOL = {"type": "image_generation", "size": "64x64", "quality": "low"}


def image(message) -> str:
    (block,) = [block for block in message.content_blocks if block["type"] == "image"]
    assert base64.b64decode(block["base64"]).startswith(b"\x89PNG")
    return message.text


for number, options in enumerate(({"use_responses_api": True}, {"output_version": "responses/v1"})):
    model = ChatOpenAI(model="stand-in", **options).bind_tools([TOOL])
    messages = [HumanMessage(f"{MARK}-{2 * number} draw a cat")]
    drawn = model.invoke(messages)
    assert image(drawn) == "Here it is.", drawn
    messages += [drawn, HumanMessage(f"{MARK}-{2 * number + 1} make it blue")]
    assert image(model.invoke(messages)) == "Here it is."

model = ChatOpenAI(model="stand-in", use_responses_api=True)
forced = model.bind_tools([TOOL], tool_choice="image_generation")
assert image(forced.invoke("draw a red house")) == ""
