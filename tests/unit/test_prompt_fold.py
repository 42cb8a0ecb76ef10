"""The deterministic fold: messages in English and Chinese, with no language model."""

# ruff: noqa: E501, SIM905 (lists of messages read best in wide lines)

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
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
    images: list[PromptState] = []
    for message in messages:
        answer = fold(state, message, editing=editing, earlier=images.copy)
        state = PromptState(prompt=answer.prompt, negative_prompt=answer.negative_prompt)
        if answer.mode != "reply":
            images.append(state)
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


def test_quoted_text_is_kept_in_whatever_language() -> None:
    assert "“魑魅”" in talk("画一个写着“魑魅”的招牌").prompt


CAT = "a red cat on a sofa"


@pytest.mark.parametrize(
    ("message", "prompt"),
    [
        ("the same but at night", "a red cat on a sofa at night"),
        ("same scene, but make it blue", "a blue cat on a sofa"),
        ("keep everything the same but change the cat to a dog", "a red dog on a sofa"),
        ("everything else stays the same, just make it night", "a red cat on a sofa at night"),
        ("don't change anything else, only the colour to green", "a green cat on a sofa"),
        ("it looks terrible, make it blue", "a blue cat on a sofa"),
        ("that is really good, except the sofa should be green", "a red cat on a green sofa"),
        ("dog instead of cat", "a red dog on a sofa"),
        ("instead of a sofa, a chair", "a red cat on a chair"),
        ("instead of red make it blue", "a blue cat on a sofa"),
        ("I prefer dogs", "red dogs on a sofa"),
        ("more contrast", "a red cat on a sofa, high contrast"),
        ("a bit less saturated", "a red cat on a sofa, muted colours"),
        ("go back to daytime", "a red cat on a sofa in the daytime"),
        ("其他不变,加一只狗", "a red cat on a sofa, a dog"),
        ("同样的但是晚上", "a red cat on a sofa at night"),
        ("同样的场景但下雨", "a red cat on a sofa in the rain"),
        ("跟刚才一样,不过是晚上", "a red cat on a sofa at night"),
        ("感觉怪怪的,改成狗", "a red dog on a sofa"),
        ("狗而不是猫", "a red dog on a sofa"),
        ("回到白天", "a red cat on a sofa in the daytime"),
        ("这只猫可以变成黑色吗?", "a black cat on a sofa"),
        # how many
        ("two cats", "two red cats on a sofa"),
        ("3 cats", "3 red cats on a sofa"),
        ("two black cats", "two black cats on a sofa"),
        ("three of them", "three red cats on a sofa"),
        ("make it three", "three red cats on a sofa"),
        ("two more cats", "a red cat on a sofa, two more cats"),
        ("another cat", "a red cat on a sofa, another cat"),
        ("两只猫", "two red cats on a sofa"),
        ("要三只", "three red cats on a sofa"),
        ("我要两只黑猫", "two black cats on a sofa"),
        ("再来两只猫", "a red cat on a sofa, two cats"),
    ],
)
def test_words_about_the_image_are_followed_and_not_drawn(message: str, prompt: str) -> None:
    answer = talk(CAT, message)
    assert (answer.mode, answer.prompt) == ("generate", prompt)


@pytest.mark.parametrize("message", ["just one dog", "only one", "只要一只", "一只就够了"])
def test_fewer_of_a_thing_is_said_with_a_number(message: str) -> None:
    assert talk("three dogs in a park", message).prompt == "one dog in a park"


@pytest.mark.parametrize(
    "message",
    """more|more please|some more|another|give me another|show me another version|more like this|same again
    |next|try again|love it, one more|not good, another one|再来一张|多来几张|更多|再来一张类似的|换一张看看
    |不满意,重新画""".split("|"),
)
def test_another_image_is_the_same_words_drawn_again(message: str) -> None:
    answer = talk(CAT, message.strip())
    assert (answer.mode, answer.prompt, answer.negative_prompt) == ("generate", CAT, "")


@pytest.mark.parametrize(
    "message",
    """I don't like it|that's ugly|that doesn't look like a cat|not what I wanted|could be better|you got it wrong
    |hmm, not quite right|make it pop|the colours are wrong|不好看|太丑了|这张不行|画得不像|不是我想要的|跟我想的不一样
    |I liked the first one|less|whatever you think|surprise me|something with more pizzazz|的确如此呢
    |it should feel like my childhood|the cat has five legs|I like dogs more than cats|少一点|多一点|随便你发挥
    |画一只魑魅|把猫换成魑魅|请按照大家都会喜欢的那种感觉来|让它看起来更有故事感""".split("|"),
)
def test_what_is_not_understood_is_told_and_changes_nothing(message: str) -> None:
    answer = talk(CAT, message.strip())
    assert (answer.mode, answer.prompt, answer.negative_prompt) == ("reply", CAT, "")
    assert answer.reply


def test_a_reply_names_what_was_not_understood() -> None:
    assert "“whatever you think”" in str(talk(CAT, "whatever you think").reply)
    assert "“画一只魑魅”" in str(talk("一只猫", "画一只魑魅").reply)


@pytest.mark.parametrize(
    ("messages", "prompt", "unknown"),
    [
        (["画一只胖墩墩的猫"], "a chubby cat", "墩墩"),
        (["画一只猫", "加一只胖墩墩的狗"], "a cat, a chubby dog", "墩墩"),
        (["画一只猫,旁边有一只魑魅"], "a cat", "魑魅"),
    ],
)
def test_words_that_the_lexicon_lacks_are_left_out_and_named(
    messages: list[str], prompt: str, unknown: str
) -> None:
    answer = talk(*messages)
    assert (answer.mode, answer.prompt) == ("generate", prompt)
    assert unknown in str(answer.reply)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            "我你他猫狗把换成去掉再加在上里的红色一只两张不要是有让更第回到魑魅吗,。 画"
        ),
        max_size=20,
    )
)
def test_no_chinese_is_ever_drawn(characters: list[str]) -> None:
    for start in (None, PromptState(prompt="a cat")):
        answer = fold(start, "".join(characters), editing=False)
        assert answer.prompt.isascii(), answer
        assert answer.negative_prompt.isascii(), answer


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ("bigger picture", (960, 640)),
        ("make the picture bigger", (960, 640)),
        ("larger image please", (960, 640)),
        ("higher resolution", (960, 640)),
        ("can you enlarge it?", (960, 640)),
        ("twice as big", (1280, 848)),
        ("a smaller picture", (424, 280)),
        ("图片大一点", (960, 640)),
        ("放大", (960, 640)),
        ("提高分辨率", (960, 640)),
        ("make it square", (624, 624)),
        ("could the picture be square?", (624, 624)),
        ("正方形", (624, 624)),
        ("改成方的", (624, 624)),
        ("要正方形的图", (624, 624)),
        ("bigger please, 1024x1024", (1024, 1024)),
    ],
)
def test_a_size_in_words_is_one_of_the_image(message: str, size: tuple[int, int]) -> None:
    state = PromptState(prompt=CAT, width=640, height=424)
    answer = fold(state, message, editing=False)
    assert (answer.mode, answer.prompt) == ("generate", CAT)
    assert (answer.width, answer.height) == size


@pytest.mark.parametrize(
    ("message", "prompt"),
    [
        ("make the cat bigger", "a big red cat on a sofa"),
        ("猫大一点", "a big red cat on a sofa"),
        ("add a square table", "a red cat on a sofa, a square table"),
    ],
)
def test_a_size_of_a_thing_is_drawn(message: str, prompt: str) -> None:
    answer = talk(CAT, message)
    assert (answer.prompt, answer.width) == (prompt, None)


# --- going back -----------------------------------------------------------------------------------

STEPS = ["a cat on a sofa", "make it blue", "add a dog", "at night"]


@pytest.mark.parametrize(
    ("message", "turn", "prompt"),
    [
        ("go back to the first one", 0, "a cat on a sofa"),
        ("I liked the second one better", 1, "a blue cat on a sofa"),
        ("the original was nicer", 0, "a cat on a sofa"),
        ("can we have picture 2 again please?", 1, "a blue cat on a sofa"),
        ("undo that", 2, "a blue cat on a sofa, a dog"),
        ("go back two steps", 1, "a blue cat on a sofa"),
        ("the previous one was better", 2, "a blue cat on a sofa, a dog"),
        ("back to the version before the dog", 1, "a blue cat on a sofa"),
        ("the first one, but in winter", 0, "a cat on a sofa in winter"),
        ("take the second picture and add a hat", 1, "a blue cat on a sofa, a hat"),
        ("回到第一张", 0, "a cat on a sofa"),
        ("还是第二张好看", 1, "a blue cat on a sofa"),
        ("撤销", 2, "a blue cat on a sofa, a dog"),
        ("退回两步", 1, "a blue cat on a sofa"),
        ("恢复原样", 0, "a cat on a sofa"),
        ("还是刚才那张好", 2, "a blue cat on a sofa, a dog"),
        ("有狗的那张更好看", None, None),
        ("第一张更好,改成冬天", 0, "a cat on a sofa in winter"),
        ("在第一张的基础上加一顶帽子", 0, "a cat on a sofa, a hat"),
    ],
)
def test_a_message_can_go_back_to_an_earlier_image(
    message: str, turn: int | None, prompt: str | None
) -> None:
    answer = talk(*STEPS, message)
    if turn is None:  # that is the present one
        assert answer.mode == "reply"
    else:
        assert (answer.mode, answer.turn, answer.prompt) == ("generate", turn, prompt)


def test_undoing_again_goes_further_back() -> None:
    assert talk(*STEPS, "undo", "undo").prompt == "a blue cat on a sofa"
    assert talk(*STEPS, "undo", "undo", "undo").prompt == "a cat on a sofa"
    assert talk(*STEPS, *["undo"] * 4).mode == "reply"


@pytest.mark.parametrize(
    "message",
    ["go back to the ninth one", "undo the last seven changes", "回到第九张"],
)
def test_going_back_to_no_image_is_told(message: str) -> None:
    answer = talk(*STEPS[:2], message)
    assert (answer.mode, answer.prompt) == ("reply", "a blue cat on a sofa")


@pytest.mark.parametrize(
    "message",
    [
        "first, add a hat",
        "add the first snow",
        "a woman looking back to the sea",
        "不喜欢第一张",
        "前面有一条河",
    ],
)
def test_what_sounds_like_going_back_need_not_be(message: str) -> None:
    assert talk(*STEPS, message).turn is None


def test_the_images_before_are_asked_for_only_when_a_message_goes_back() -> None:
    def never() -> list[PromptState]:
        raise AssertionError

    assert fold(PromptState(prompt="a cat"), "make it blue", editing=False, earlier=never)


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


def test_bolder_edits_move_further_from_the_image() -> None:
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
    assert answer.mode != "reply" or answer.reply
    assert answer.mode in ("reply", "edit" if editing else "generate")
    Fold.model_validate(answer.model_dump())


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1, max_size=3), st.integers(1, 20000))
@example(" ", 20000)  # took minutes when spaces in a row were not drawn together
@example("\n", 20000)
@example("\n ", 20000)
@example("a ", 20000)
@example("，", 20000)
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
    assert sum(not o.failures for o in development) >= 0.95 * len(development)
    assert sum(not o.failures for o in held_out) >= 0.85 * len(held_out)


def test_every_concept_that_a_case_names_is_defined() -> None:
    evaluation = Evaluation()
    named = {
        concept
        for case in evaluation.cases
        for concept in (*case.required, *case.forbidden, *case.negative, *case.not_negative)
    }
    assert named <= set(evaluation.concepts)
    held_out = [case for case in evaluation.cases if case.held_out]
    assert len(evaluation.cases) >= 120
    assert len(held_out) >= len(evaluation.cases) / 3
