"""The OpenAI Agents SDK: a tool, a session, a second turn, a chain, a stream."""

import asyncio
import os

from agents import Agent, Runner, SQLiteSession, function_tool, set_tracing_disabled


@function_tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} is a fruit"


async def main() -> None:
    set_tracing_disabled(True)
    agent = Agent(name="Guide", instructions="Use the tool.", model="stand-in", tools=[lookup])
    session = SQLiteSession("agents-sdk")
    first = await Runner.run(agent, f"{os.environ['MARK']}-0 what is a quince?", session=session)
    assert first.final_output == "A quince is a fruit.", first.final_output

    second = await Runner.run(agent, "and again?", session=session)
    assert second.final_output == "You said: and again?", second.final_output

    chained = await Runner.run(agent, "more?", previous_response_id=second.last_response_id)
    assert chained.final_output == "You said: more?", chained.final_output

    streamed = Runner.run_streamed(agent, "one two three")
    pieces = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(pieces) == "You said: one two three", pieces


asyncio.run(main())
