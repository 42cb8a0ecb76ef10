"""The deterministic fold: messages in English and Chinese, with no language model."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotchat.prompt.models import MAX_PROMPT, Fold, PromptState
from robotchat.prompt.rules import fold
from tests.evaluation.score import Evaluation, fallback

ANY_TEXT = st.text(max_size=300)
WORDS = st.lists(
    st.sampled_from(
        re.findall(
            r"\S+",
            "no not a the cat dog and with without add remove make it blue at sunset , . ? put"
            " back in style of instead (x:1.2) <lora:a:1> 16:9 把 猫 换成 狗 去掉 再加 在 夕阳 下"
            " 的 红色 一只 谢谢 不是",
        )
    ),
    max_size=25,
).map(" ".join)


def talk(*messages: str, editing: bool = False) -> Fold:
    """The fold after the last of several messages."""
    state: PromptState | None = None
    answer: Fold | None = None
    for message in messages:
        answer = fold(state, message, editing=editing)
        state = PromptState(prompt=answer.prompt, negative_prompt=answer.negative_prompt)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        (["I want to see a photo of a beach", "at sunset"], "a photo of a beach at sunset"),
        (["我想看一张海滩的照片", "在夕阳下"], "a photo of a beach at sunset"),
        (["我想看一張海灘的照片", "在夕陽下"], "a photo of a beach at sunset"),
        (["一只橙色的猫在绿色的草地上玩耍"], "an orange cat playing on green grass"),
        (["a dog in a park", "no, a fox, not a dog"], "a fox in a park"),
        (["a dog in a park", "I meant a fox"], "a fox in a park"),
        (["a dog in a park", "change the dog to a fox"], "a fox in a park"),
        (["公园里的一只狗", "不对,是狐狸,不是狗"], "a fox in a park"),
        (["公园里的一只狗", "把狗换成狐狸"], "a fox in a park"),
        (["a cat", "make it blue"], "a blue cat"),
        (["a blue cat", "make the cat green"], "a green cat"),
        (["a lake at night", "in the morning"], "a lake in the morning"),
        (["a lake in summer", "actually make it winter"], "a lake in winter"),
        (["a winter forest", "make it spring"], "a forest in spring"),
        (["two cats", "I meant dogs"], "two dogs"),
        (["a photo of a rabbit", "as a watercolour"], "a watercolour of a rabbit"),
        (["a rabbit", "in the style of Van Gogh"], "a rabbit, in the style of Van Gogh"),
        (["一匹马", "油画风格"], "an oil painting of a horse"),
        (["a cup of tea", "something else: a castle"], "a castle"),
        (["a cup of tea", "forget that, draw a horse"], "a horse"),
        (["一杯咖啡", "换一个:城堡"], "a castle"),
        (["a quiet lake", "Nice! now add a boat"], "a quiet lake, a boat"),
        (["a quiet lake", "another one"], "a quiet lake"),
        (["a red car and a house", "remove the house"], "a red car"),
        (["a cat on a sofa", "put it in a forest"], "a cat in a forest"),
        (["a girl", "give her a straw hat"], "a girl with a straw hat"),
    ],
)
def test_a_conversation_folds_into_one_prompt(messages: list[str], prompt: str) -> None:
    assert talk(*messages).prompt == prompt


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a girl with an umbrella", "remove the umbrella"),
        ("a girl with an umbrella", "without the umbrella"),
        ("打着雨伞的女孩", "去掉雨伞"),
        ("打着雨伞的女孩", "不要雨伞"),
    ],
)
def test_what_is_removed_leaves_the_prompt_and_is_excluded(first: str, second: str) -> None:
    answer = talk(first, second)
    assert answer.prompt == "a girl"
    assert answer.negative_prompt == "umbrella"


def test_what_is_wanted_back_is_drawn_and_no_longer_excluded() -> None:
    answer = talk("a girl with an umbrella", "remove the umbrella", "put the umbrella back")
    assert answer.prompt == "a girl, an umbrella"
    assert answer.negative_prompt == ""


def test_people_are_excluded_from_the_first_message_on() -> None:
    answer = talk("a beach without people")
    assert (answer.prompt, answer.negative_prompt) == ("a beach", "people")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("thanks, that's great!", "Tell me"),
        ("hello", "Tell me"),
        ("how are you?", "Tell me"),
        ("谢谢,真好看", "告诉我"),
        ("你好", "告诉我"),
        ("undo that", "put back"),
        ("???", "Tell me"),
        ("", "Tell me"),
    ],
)
def test_chit_chat_is_answered_in_the_users_language_and_changes_nothing(
    message: str, words: str
) -> None:
    current = PromptState(prompt="a boat", negative_prompt="people")
    answer = fold(current, message, editing=False)
    assert answer.mode == "reply"
    assert (answer.prompt, answer.negative_prompt) == ("a boat", "people")
    assert words in str(answer.reply)


def test_starting_over_without_a_subject_asks_for_one() -> None:
    answer = talk("a boat", "start over")
    assert (answer.mode, answer.prompt) == ("reply", "")


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ("portrait format", (512, 768)),
        ("landscape format please", (768, 512)),
        ("square format", (624, 624)),
        ("1024x768", (1024, 768)),
        ("竖版", (512, 768)),
        ("横屏", (768, 512)),
        ("改成1024x768", (1024, 768)),
    ],
)
def test_a_size_alone_redraws_the_same_prompt(message: str, size: tuple[int, int]) -> None:
    answer = fold(PromptState(prompt="a boat"), message, editing=False)
    assert (answer.mode, answer.prompt) == ("generate", "a boat")
    assert (answer.width, answer.height) == size


@pytest.mark.parametrize(
    "message", ["a mountain landscape", "a portrait of a woman", "a town square"]
)
def test_a_subject_that_sounds_like_a_shape_is_a_subject(message: str) -> None:
    answer = talk(message)
    assert (answer.prompt, answer.width) == (message, None)


def test_an_enormous_size_is_brought_into_bounds() -> None:
    answer = talk("a boat, 20000x10000")
    assert answer.width is not None
    assert answer.height is not None
    assert answer.width * answer.height <= 2048 * 1024
    assert answer.width % 8 == answer.height % 8 == 0


def test_lora_tags_and_weights_survive_verbatim() -> None:
    answer = talk("1girl, (blue eyes:1.2), <lora:foo-v1:0.8>, white dress", "make the dress red")
    assert answer.prompt == "1girl, (blue eyes:1.2), <lora:foo-v1:0.8>, red dress"


def test_words_that_the_lexicon_lacks_are_kept() -> None:
    assert "魑魅" in talk("画一只魑魅").prompt


@pytest.mark.parametrize(
    ("message", "prompt"),
    [
        ("make it blue", "blue"),
        ("can you make this cat blue?", "a blue cat"),
        ("能把这只猫变成蓝色吗?", "a blue cat"),
        ("turn it into a watercolour", "a watercolour"),
        ("把背景换成雪山", "with snow-capped mountains in the background"),
    ],
)
def test_an_edit_of_an_upload_needs_no_earlier_prompt(message: str, prompt: str) -> None:
    answer = fold(None, message, editing=True)
    assert (answer.mode, answer.prompt) == ("edit", prompt)
    assert answer.denoising_strength is not None
    assert 0.5 <= answer.denoising_strength <= 0.8


def test_bolder_edits_move_further_from_the_picture() -> None:
    def strength(message: str) -> float:
        return fold(None, message, editing=True).denoising_strength or 0

    assert strength("add a hat") < strength("make it blue") < strength("make it an oil painting")
    assert strength("make it slightly blue") < strength("make it completely blue")


def test_drawing_anew_has_no_denoising_strength() -> None:
    assert talk("a cat", "make it blue").denoising_strength is None


def test_an_edit_may_only_exclude() -> None:
    answer = fold(None, "remove the people", editing=True)
    assert (answer.mode, answer.prompt, answer.negative_prompt) == ("edit", "", "people")


@settings(max_examples=200, deadline=None)
@given(
    st.none() | st.builds(PromptState, prompt=ANY_TEXT | WORDS, negative_prompt=ANY_TEXT),
    ANY_TEXT | WORDS,
    st.booleans(),
)
def test_any_text_folds_the_same_way_each_time_and_within_bounds(
    current: PromptState | None, message: str, editing: bool
) -> None:
    answer = fold(current, message, editing=editing)
    assert answer == fold(current, message, editing=editing)
    assert len(answer.prompt) <= MAX_PROMPT
    assert len(answer.negative_prompt) <= MAX_PROMPT
    assert (answer.mode == "reply") is (answer.reply is not None)
    assert answer.mode in ("reply", "edit" if editing else "generate")
    Fold.model_validate(answer.model_dump())


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1, max_size=3), st.integers(1, 20000))
def test_a_flood_of_text_is_bounded(unit: str, times: int) -> None:
    answer = fold(PromptState(prompt=unit * times), unit * times, editing=False)
    assert len(answer.prompt) <= MAX_PROMPT


def test_the_rules_are_not_loaded_by_importing_the_package() -> None:
    code = (
        "import sys, robotchat.prompt\n"
        "print([m for m in sys.modules if m.startswith('robotchat.prompt.')])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "folding" not in loaded.stdout
    assert "lexicon" not in loaded.stdout


def test_the_fold_passes_the_evaluation_conversations() -> None:
    evaluation = Evaluation()
    outcomes = [evaluation.run(case, fallback) for case in evaluation.cases]
    development = [o for o in outcomes if not o.case.held_out]
    held_out = [o for o in outcomes if o.case.held_out]
    assert sum(not o.failures for o in development) >= 59
    assert sum(not o.failures for o in held_out) >= 19


def test_every_concept_that_a_case_names_is_defined() -> None:
    evaluation = Evaluation()
    named = {
        concept
        for case in evaluation.cases
        for concept in (*case.required, *case.forbidden, *case.negative, *case.not_negative)
    }
    assert named <= set(evaluation.concepts)
    assert len(evaluation.cases) >= 48
