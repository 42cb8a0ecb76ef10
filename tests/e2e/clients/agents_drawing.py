"""The OpenAI Agents SDK's hosted tool ImageGenerationTool: a picture, then a change of it."""

import asyncio
import base64
import os

from agents import Agent, ImageGenerationTool, Runner, set_tracing_disabled

MARK = os.environ["MARK"]


def image(result) -> str:
    (call,) = [
        item.raw_item
        for item in result.new_items
        if item.type == "tool_call_item" and item.raw_item.type == "image_generation_call"
    ]
    assert call.status == "completed", call
    assert base64.b64decode(call.result).startswith(b"\x89PNG")
    return call.revised_prompt


async def main() -> None:
    set_tracing_disabled(True)
    tool = ImageGenerationTool(
        tool_config={"type": "image_generation", "size": "64x64", "quality": "low"}
    )
    agent = Agent(name="Painter", instructions="Draw.", model="stand-in", tools=[tool])
    first = await Runner.run(agent, f"{MARK}-0 draw a cat")
    assert image(first) == "a cat"
    assert first.final_output == "Here it is.", first.final_output

    again = [*first.to_input_list(), {"role": "user", "content": f"{MARK}-1 make it blue"}]
    second = await Runner.run(agent, again)
    assert image(second) == "a blue cat"

    streamed = Runner.run_streamed(agent, f"{MARK}-2 draw a dog")
    kinds = [
        event.data.type
        async for event in streamed.stream_events()
        if event.type == "raw_response_event"
    ]
    assert "response.image_generation_call.completed" in kinds, kinds
    assert streamed.final_output == "Here it is.", streamed.final_output


asyncio.run(main())
