"""The prompt writer: what it asks of the language model, and what it does with any answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotchat.errors import RobotchatError, UpstreamGarbage, UpstreamTimeout, UpstreamUnavailable
from robotchat.prompt.models import PromptState
from robotchat.prompt.rules import fold
from robotchat.prompt.writer import PromptWriter, schema

BEACH = PromptState(prompt="a beach", negative_prompt="people")


class ScriptedChat:
    """Answers chat completions with what it was given, and keeps what it was asked."""

    def __init__(self, answer: dict[str, Any] | RobotchatError) -> None:
        self.answer = answer
        self.bodies: list[Mapping[str, Any]] = []
        self.timeouts: list[float | None] = []

    def chat_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        self.bodies.append(body)
        self.timeouts.append(timeout)
        if isinstance(self.answer, RobotchatError):
            raise self.answer
        return self.answer


def says(content: Any, **message: Any) -> dict[str, Any]:
    """A chat completion with this content."""
    return {"choices": [{"message": {"role": "assistant", "content": content, **message}}]}


def folds(**fields: Any) -> dict[str, Any]:
    """A chat completion whose content is a fold with these fields."""
    whole = {
        "mode": "generate",
        "prompt": "a beach at sunset",
        "negative_prompt": "people",
        "denoising_strength": None,
        "width": None,
        "height": None,
        "reply": None,
    }
    return says(json.dumps(whole | fields, ensure_ascii=False))


def write(
    answer: dict[str, Any] | RobotchatError, message: str = "at sunset", *, editing: bool = False
) -> tuple[Any, str]:
    return PromptWriter(ScriptedChat(answer), model="m").write(BEACH, message, editing=editing)


def test_the_language_models_prompt_is_used() -> None:
    answer, source = write(folds())
    assert source == "llm"
    assert (answer.mode, answer.prompt) == ("generate", "a beach at sunset")
    assert answer.negative_prompt == "people"


def test_one_structured_completion_is_asked_for_with_the_turn_last() -> None:
    chat = ScriptedChat(folds())
    PromptWriter(chat, model="some-model", timeout=7.0).write(BEACH, "在夕阳下", editing=True)
    [body] = chat.bodies
    assert chat.timeouts == [7.0]
    assert body["model"] == "some-model"
    assert body["response_format"]["json_schema"]["strict"] is True
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", *["user", "assistant"] * 8, "user"]
    assert json.loads(body["messages"][-1]["content"]) == {
        "current_prompt": "a beach",
        "current_negative_prompt": "people",
        "editing": True,
        "message": "在夕阳下",
    }


def test_the_schema_is_strict() -> None:
    plain = schema()
    assert plain["additionalProperties"] is False
    assert set(plain["required"]) == set(plain["properties"])
    text = json.dumps(plain)
    assert not any(word in text for word in ('"default"', '"minimum"', '"maxLength"', "multipleOf"))


def test_the_examples_that_the_language_model_sees_are_valid_answers() -> None:
    chat = ScriptedChat(folds())
    PromptWriter(chat, model="m").write(None, "a cat", editing=False)
    for message in chat.bodies[0]["messages"]:
        if message["role"] == "assistant":
            answer, source = write(says(message["content"]))
            assert source == "llm", answer


def test_json_within_fences_is_read() -> None:
    content = folds()["choices"][0]["message"]["content"]
    answer, source = write(says(f"Here you are:\n```json\n{content}\n```"))
    assert (answer.prompt, source) == ("a beach at sunset", "llm")


def test_a_reply_leaves_the_prompt_as_it_was() -> None:
    answer, source = write(
        folds(mode="reply", prompt="nonsense", reply="You're welcome!"), "thanks"
    )
    assert source == "llm"
    assert (answer.prompt, answer.negative_prompt) == ("a beach", "people")
    assert answer.reply == "You're welcome!"


@pytest.mark.parametrize("editing", [True, False])
def test_whether_it_is_an_edit_is_not_the_language_models_choice(editing: bool) -> None:
    wrong = "generate" if editing else "edit"
    answer, _ = write(folds(mode=wrong, denoising_strength=0.6), editing=editing)
    assert answer.mode == ("edit" if editing else "generate")
    assert answer.denoising_strength == (0.6 if editing else None)


def test_sizes_become_multiples_of_eight_and_one_side_alone_counts_as_none() -> None:
    answer, _ = write(folds(width=1021, height=770))
    assert (answer.width, answer.height) == (1024, 768)
    answer, _ = write(folds(width=1024))
    assert (answer.width, answer.height) == (None, None)


def test_without_a_language_model_the_rules_write() -> None:
    answer, source = PromptWriter(None, model="m").write(BEACH, "at sunset", editing=False)
    assert source == "fallback"
    assert answer == fold(BEACH, "at sunset", editing=False)


@pytest.mark.parametrize(
    "answer",
    [
        UpstreamUnavailable("down"),
        UpstreamTimeout("slow"),
        UpstreamGarbage("what"),
        {},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": None},
        says(None),
        says(""),
        says(None, refusal="I can't help with that."),
        says("Sure! A beach at sunset."),
        says("[1, 2]"),
        says("{"),
        says("```json\n{broken}\n```"),
        folds(mode="paint"),
        folds(prompt=None),
        folds(prompt=" "),
        folds(prompt="夕阳下的海滩"),
        folds(negative_prompt="人"),
        folds(prompt="word " * 2000),
        folds(denoising_strength=7),
        folds(width=100000, height=100000),
    ],
    ids=repr,
)
def test_any_trouble_with_the_language_model_falls_back_on_the_rules(
    answer: dict[str, Any] | RobotchatError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="robotchat.prompt"):
        written, source = write(answer)
    assert source == "fallback"
    assert written.prompt == "a beach at sunset"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_the_user_said_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        write(folds(mode="paint", prompt="zebra secret"), "a zebra secret")
    assert "zebra" not in caplog.text
    assert caplog.records


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_no_answer_of_the_language_model_raises(content: Any) -> None:
    logging.getLogger("robotchat.prompt").setLevel(logging.ERROR)
    for answer in (says(content), says(json.dumps(content)), {"choices": content}):
        _, source = write(answer)
        assert source == "fallback"
