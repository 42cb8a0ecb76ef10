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


def test_the_examples_that_the_language_model_sees_are_answers_that_are_believed() -> None:
    chat = ScriptedChat(folds())
    PromptWriter(chat, model="m").write(None, "a cat", editing=False)
    said = [message["content"] for message in chat.bodies[0]["messages"][1:-1]]
    for asked, answered in zip(said[::2], said[1::2], strict=True):
        turn = json.loads(asked)
        state = PromptState(
            prompt=turn["current_prompt"], negative_prompt=turn["current_negative_prompt"]
        )
        example = ScriptedChat(says(answered))
        writer = PromptWriter(example, model="m")
        answer, source = writer.write(state, turn["message"], editing=turn["editing"])
        assert (source, len(example.bodies)) == ("llm", 1), answer
        assert answer.prompt == json.loads(answered)["prompt"]


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
    answer, _ = write(folds(width=1021, height=770), "at sunset, wide screen size")
    assert (answer.width, answer.height) == (768, 512), "the rules found a size themselves"
    answer, _ = write(folds(width=1021, height=770), "at sunset, I need it as wide as a banner")
    assert (answer.width, answer.height) == (1024, 768)
    answer, _ = write(folds(width=1024), "at sunset, I need it as wide as a banner")
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


# --- what is believed -----------------------------------------------------------------------------


class ScriptedTurns(ScriptedChat):
    """Answers one chat completion after another."""

    def __init__(self, *answers: dict[str, Any] | RobotchatError) -> None:
        super().__init__(answers[0])
        self.answers = list(answers)

    def chat_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        self.answer = self.answers.pop(0)
        return super().chat_completion(body, timeout=timeout)


GIRL = PromptState(
    prompt="a girl on a sofa with a red umbrella, oil painting", negative_prompt="dog"
)


@pytest.mark.parametrize(
    ("message", "wrong", "told"),
    [
        ("at night", {"prompt": "a sofa at night, oil painting"}, '"girl"'),
        ("at night", {"prompt": "a girl on a sofa with a red umbrella, oil painting"}, "night"),
        ("remove the umbrella", {"prompt": GIRL.prompt}, '"umbrella" must be gone'),
        ("make it square", {"mode": "reply", "prompt": "", "reply": "ok"}, "not reply"),
        ("add a lamp", {"prompt": GIRL.prompt}, '"a lamp" is missing'),
        ("make the sofa blue", {"prompt": GIRL.prompt}, "sofa"),
        ("as a watercolour", {"prompt": "a girl on a sofa with a red umbrella"}, "watercolour"),
        ("two girls", {"prompt": GIRL.prompt}, "two"),
        ("at night", {"prompt": "夜晚"}, "English"),
        ("thanks, great!", {"prompt": "a thankful girl"}, "no change"),
        ("去掉雨伞", {"prompt": "a girl, remove umbrella, oil painting"}, "umbrella"),
        ("do as you think best", {"prompt": "a castle"}, '"girl"'),
    ],
)  # fmt: skip
def test_a_fold_that_does_not_follow_is_asked_for_again_then_the_rules_write(
    message: str, wrong: dict[str, Any], told: str
) -> None:
    bad = folds(**{"negative_prompt": "dog", **wrong})
    by_rules = fold(GIRL, message, editing=False)
    chat = ScriptedTurns(bad, bad)
    answer, source = PromptWriter(chat, model="m").write(GIRL, message, editing=False)
    assert (answer, source) == (by_rules, "fallback")
    first, second = chat.bodies
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert [message["role"] for message in second["messages"][-2:]] == ["assistant", "user"]
    assert told in second["messages"][-1]["content"].replace('\\"', '"')


def test_a_second_answer_that_follows_is_believed() -> None:
    good = "a girl on a sofa with a red umbrella at night, oil painting"
    chat = ScriptedTurns(folds(prompt="at night"), folds(prompt=good))
    answer, source = PromptWriter(chat, model="m").write(GIRL, "at night", editing=False)
    assert (answer.prompt, source) == (good, "llm")


def test_both_answers_together_take_no_longer_than_the_timeout() -> None:
    chat = ScriptedTurns(folds(prompt="at night"), folds(prompt="at night"))
    PromptWriter(chat, model="m", timeout=30.0).write(GIRL, "at night", editing=False)
    assert chat.timeouts[0] == 30.0
    assert chat.timeouts[1] is not None
    assert chat.timeouts[1] < 30.0
    hasty = ScriptedTurns(folds(prompt="at night"))
    PromptWriter(hasty, model="m", timeout=0.9).write(GIRL, "at night", editing=False)
    assert len(hasty.bodies) == 1


@pytest.mark.parametrize(
    ("message", "prompt"),
    [
        ("at night", "oil painting of a girl sitting on a sofa with a red umbrella, night"),
        ("make her a witch", "a witch on a sofa with a red umbrella, oil painting"),
        ("swap the parasol for a lantern", "a girl on a sofa with a lantern, oil painting"),
        ("有点忧郁的感觉", "a melancholic girl on a sofa with a red umbrella, oil painting"),
    ],
)
def test_a_fold_in_the_models_own_words_is_believed(message: str, prompt: str) -> None:
    chat = ScriptedTurns(folds(prompt=prompt, negative_prompt="dog"))
    answer, source = PromptWriter(chat, model="m").write(GIRL, message, editing=False)
    assert (answer.prompt, source) == (prompt, "llm")


def test_what_need_not_be_asked_again_is_put_right() -> None:
    chat = ScriptedTurns(
        folds(prompt="a girl on a sofa, oil painting", negative_prompt="", width=2048, height=64)
    )
    answer, source = PromptWriter(chat, model="m").write(GIRL, "remove the umbrella", editing=True)
    assert source == "llm"
    assert answer.negative_prompt == "dog, umbrella"
    assert (answer.width, answer.height) == (None, None)
    assert answer.denoising_strength == 0.6


def test_going_back_is_found_by_the_rules_and_the_rest_folded_by_the_model() -> None:
    images = [PromptState(prompt="a cat"), GIRL]
    chat = ScriptedTurns(folds(prompt="a cat at night", negative_prompt=""))
    writer = PromptWriter(chat, model="m")
    answer, source = writer.write(
        GIRL, "the first one, but at night", editing=False, earlier=lambda: images
    )
    assert (answer.prompt, answer.turn, source) == ("a cat at night", 0, "llm")
    assert json.loads(chat.bodies[0]["messages"][-1]["content"])["current_prompt"] == "a cat"
    alone, source = writer.write(GIRL, "回到第一张", editing=False, earlier=lambda: images)
    assert (alone.prompt, alone.turn, source) == ("a cat", 0, "fallback")
