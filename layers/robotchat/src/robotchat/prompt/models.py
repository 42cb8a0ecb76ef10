"""What a conversation draws so far, and what one more message makes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_PROMPT = 2000
"""Characters that a folded prompt has at most."""

PROMPT_TIMEOUT = 20.0
"""Seconds that a language model gets to write a prompt, before the rules do it."""

MAX_MESSAGE = 4000
"""Characters of a message in a conversation that draws; more is refused, and is not read."""


class PromptState(BaseModel):
    """What the conversation draws so far, in the words of the picture model."""

    model_config = ConfigDict(frozen=True)

    prompt: str = Field(
        description="What the picture shows.", examples=["a photo of a beach at sunset"]
    )
    negative_prompt: str = Field("", description="What it must not show.", examples=["people"])
    width: int | None = Field(None, description="In pixels, as far as it is known.")
    height: int | None = Field(None, description="In pixels, as far as it is known.")
    seed: int | None = Field(None, description="What the picture was drawn from, if it was.")


Side = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]


class Fold(BaseModel):
    """What one more message makes of a conversation: a picture to draw, to edit, or a reply only.

    `prompt` and `negative_prompt` are the whole prompts after the message, also when `mode` is
    `reply` and nothing is drawn. Sizes are pixels; `None` leaves the choice to the caller.
    """

    model_config = ConfigDict(frozen=True)

    mode: Literal["generate", "edit", "reply"] = Field(
        description="generate: draw anew; edit: change the given picture; reply: draw nothing."
    )
    prompt: str = Field(description="The whole prompt after the message.", max_length=MAX_PROMPT)
    negative_prompt: str = Field("", description="What must not be seen.", max_length=MAX_PROMPT)
    denoising_strength: float | None = Field(
        None, ge=0, le=1, description="How far an edit may move from the given picture."
    )
    width: Side | None = Field(None, description="In pixels.")
    height: Side | None = Field(None, description="In pixels.")
    reply: str | None = Field(
        None,
        description="What to say to the user: in place of a picture, or what of the message was "
        "left out of it.",
    )
    turn: int | None = Field(
        None,
        description="The earlier picture that this one builds on, by its place among the pictures "
        "of the conversation, from 0; null for the last one.",
    )
