"""The GPT endpoints' requests, in the fields of the OpenAI API.

Only what is needed to answer, or good to know, is declared here; fields that are not listed are
kept and passed on, since upstreams know more of them than this package does.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

_MODEL = Field(
    default=None, description="Which model answers; the operator's default when left out."
)
_STREAM = Field(default=None, description="Send the answer as server-sent events while it is made.")


# What is checked where it is used, in OpenAI's words, is told in the document as well.

ITEM: JsonDict = {
    "type": "object",
    "anyOf": [{"required": ["type"]}, {"required": ["role"]}, {"required": ["id"]}],
}
"""What an item of the Responses API has: its type, or a role or an id that tells it."""

_INPUT: JsonDict = {"anyOf": [{"type": "string"}, {"type": "array", "items": ITEM, "minItems": 1}]}
_NAMED: JsonDict = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
        {"type": "null"},
    ]
}


def _needs_input(schema: dict[str, Any]) -> None:
    schema["required"] = ["input"]


class _Request(BaseModel):
    # Strict, as OpenAI's API is: a caller who writes 0 for false has made a mistake.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    def body(self) -> dict[str, Any]:
        """The request as it was sent: nothing added, nothing left out."""
        return self.model_dump(exclude_unset=True)


class CompletionRequest(_Request):
    """A prompt to continue. Every other field of OpenAI's API is passed on."""

    prompt: str | Annotated[list[Any], Field(min_length=1)] = Field(
        description="What to continue.", examples=["Once upon a time"]
    )
    model: str | None = _MODEL
    stream: bool | None = _STREAM
    max_tokens: Annotated[int | None, Field(ge=-(2**63), le=2**63 - 1)] = Field(
        default=None, description="Longest answer, in tokens."
    )


class ChatCompletionRequest(_Request):
    """Messages to answer. Every other field of OpenAI's API is passed on."""

    messages: list[dict[str, Any]] = Field(
        min_length=1,
        description="The dialogue so far: role and content, tool calls, pictures.",
        examples=[[{"role": "user", "content": "Say hello."}]],
    )
    model: str | None = _MODEL
    stream: bool | None = _STREAM


class EmbeddingRequest(_Request):
    """Texts to make vectors of. Every other field of OpenAI's API is passed on."""

    input: str | Annotated[list[Any], Field(min_length=1)] = Field(
        description="A text, or several; or tokens.", examples=["A beach at sunset."]
    )
    model: str | None = _MODEL


class ResponseRequest(_Request):
    """Something to respond to, with what was said before. Further fields are passed on."""

    model_config = ConfigDict(json_schema_extra=_needs_input)

    input: str | list[Any] | None = Field(
        default=None,
        description="A text, or items: messages, function calls and their outputs.",
        examples=["And in the evening?"],
        json_schema_extra=_INPUT,
    )
    model: str | None = _MODEL
    stream: bool | None = _STREAM
    instructions: str | None = Field(
        default=None, description="A system message; it is not carried over to the next response."
    )
    previous_response_id: str | None = Field(
        default=None, description="The response that this one continues. Any stored one will do."
    )
    conversation: str | dict[str, Any] | None = Field(
        default=None,
        description="The conversation that this is a turn of (its id). One turn at a time: a "
        "second request meanwhile is answered 409.",
        json_schema_extra=_NAMED,
    )
    tools: list[Any] | None = Field(
        default=None,
        description="What the model may call: tools that the client runs, and `image_generation`, "
        "which draws on the SD hosts (scope `images`).",
        examples=[[{"type": "image_generation", "size": "768x512", "quality": "low"}]],
    )
    tool_choice: str | dict[str, Any] | None = Field(
        default=None,
        description="`auto`, `none`, `required`, or the tool that must be called.",
    )
    store: bool | None = Field(
        default=None, description="Whether it can be read and continued later (default: true)."
    )
    background: bool | None = Field(
        default=None, description="Answer at once with a queued response, and make it later."
    )
    truncation: str | None = Field(
        default=None,
        description="`auto`: leave out the oldest turns when all of them are too long for the "
        "model. `disabled` (default): answer 400 then.",
        json_schema_extra={"anyOf": [{"enum": ["auto", "disabled"]}, {"type": "null"}]},
    )
    metadata: dict[str, Any] | None = Field(default=None, description="The caller's own data.")
