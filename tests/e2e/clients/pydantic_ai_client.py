"""pydantic-ai, both kinds of model: a tool, a second turn, a stream, a typed output."""

import asyncio
import os

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

MARK = os.environ["MARK"]


class Fruit(BaseModel):
    name: str
    seeds: int


async def main() -> None:
    for number, kind in enumerate((OpenAIChatModel, OpenAIResponsesModel)):
        agent = Agent(kind("stand-in"), instructions="Use the tool.")

        @agent.tool_plain
        def lookup(word: str) -> str:
            """Look a word up."""
            return f"{word} is a fruit"

        first = await agent.run(f"{MARK}-{number} what is a quince?")
        assert first.output == "A quince is a fruit.", first.output
        second = await agent.run("and again?", message_history=first.all_messages())
        assert second.output == "You said: and again?", second.output
        async with agent.run_stream("one two") as streamed:
            pieces = [piece async for piece in streamed.stream_text(delta=True)]
        assert "".join(pieces) == "You said: one two", pieces

        typed = Agent(kind("stand-in"), output_type=NativeOutput(Fruit))
        assert (await typed.run("a fruit")).output == Fruit(name="text", seeds=1)


asyncio.run(main())
