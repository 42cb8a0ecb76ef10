"""LangChain over chat completions and Responses: tools, a stream, typed output, embeddings."""

import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MARK = os.environ["MARK"]


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} is a fruit"


class Fruit(BaseModel):
    name: str
    seeds: int


KINDS = ({}, {"use_responses_api": True}, {"output_version": "responses/v1"})
for number, options in enumerate(KINDS):
    model = ChatOpenAI(model="stand-in", **options)
    assert model.invoke("hello").text == "You said: hello"
    assert "".join(chunk.text for chunk in model.stream("one two")) == "You said: one two"

    messages = [HumanMessage(f"{MARK}-{number} what is a quince?")]
    called = model.bind_tools([lookup]).invoke(messages)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("lookup", {"word": "quince"}), called
    messages += [called, ToolMessage(lookup.invoke(call["args"]), tool_call_id=call["id"])]
    assert model.bind_tools([lookup]).invoke(messages).text == "A quince is a fruit."

    fruit = model.with_structured_output(Fruit).invoke("a fruit")
    assert fruit == Fruit(name="text", seeds=1), fruit

embeddings = OpenAIEmbeddings(model="stand-in", check_embedding_ctx_length=False)
assert embeddings.embed_documents(["a", "bbb"]) == [[1.0, 1.0], [3.0, 1.0]]
