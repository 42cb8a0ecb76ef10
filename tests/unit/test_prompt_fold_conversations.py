"""Longer conversations with the deterministic fold, turn by turn."""

# ruff: noqa: E501 (one turn a line)

from __future__ import annotations

import pytest

from robotchat.prompt.models import PromptState
from robotchat.prompt.rules import fold

Turn = tuple[str, str]

DRAWING: dict[str, list[Turn]] = {
    "a cottage gathers details": [
        ("please paint me a little cottage at the edge of the woods", "a little cottage at the edge of the woods"),
        ("could there be smoke coming out of the chimney?", "a little cottage at the edge of the woods, smoke coming out of the chimney"),
        ("ok the cottage is nice but the smoke has to go", "a little cottage at the edge of the woods"),
        ("I'd rather have it in the snow", "a little cottage at the edge of the woods in the snow"),
    ],
    "a rider changes mount": [
        ("an astronaut riding a horse", "an astronaut riding a horse"),
        ("On the moon!", "an astronaut riding a horse on the moon"),
        ("The horse should be white", "an astronaut riding a white horse on the moon"),
        ("Hmm, what if it was a unicorn?", "an astronaut riding a white unicorn on the moon"),
        ("Too bright. Could you tone it down?", "an astronaut riding a white unicorn on the moon, dark, muted colours"),
    ],
    "a fox moves about": [
        ("a cat", "a cat"),
        ("make it a fox", "a fox"),
        ("make it sleep", "a fox sleeping"),
        ("put it in a spaceship", "a fox sleeping in a spaceship"),
        ("change the background to a beach", "a fox sleeping in a spaceship with a beach in the background"),
        ("zoom out", "a fox sleeping in a spaceship with a beach in the background, wide shot"),
    ],
    "many and few": [
        ("a park", "a park"),
        ("more people", "a park, many people"),
        ("fewer people", "a park, a few people"),
        ("blur the background", "a park, a few people, blurry background"),
    ],
    "one animal after another": [
        ("draw a dog", "a dog"),
        ("change of plan: a cat", "a cat"),
        ("no wait, a hamster", "a hamster"),
        ("actually I prefer a rabbit", "a rabbit"),
        ("bunny should be white", "a white rabbit"),
        ("rabbit with long ears", "a white rabbit with long ears"),
    ],
    "looks": [
        ("a café in Paris", "a café in Paris"),
        ("in black and white", "a café in Paris, black and white"),
        ("back in colour please", "a café in Paris"),
        ("make it an oil painting", "an oil painting of a café in Paris"),
        ("in the style of Monet", "an oil painting of a café in Paris, in the style of Monet"),
        ("try pixel art instead", "a café in Paris, pixel art"),
        ("more dramatic", "a café in Paris, dramatic, pixel art"),
        ("less dramatic", "a café in Paris, pixel art"),
    ],
    "a car loses its mountains": [
        ("Show me a red sports car on a mountain road", "a red sports car on a mountain road"),
        ("I changed my mind, make it a motorcycle", "a red motorcycle on a mountain road"),
        ("black not red", "a black motorcycle on a mountain road"),
        ("and get rid of the mountains", "a black motorcycle on a road"),
        ("bring the mountains back", "a black motorcycle on a road, mountains"),
    ],
    "two things at once": [
        ("forest", "forest"),
        ("add a house and a lake", "forest, a house and a lake"),
        ("make the house bigger and the lake frozen", "forest, a big house and a frozen lake"),
    ],
    "a logo": [
        ("I need a logo of a coffee shop", "a logo of a coffee shop"),
        ("Use green and gold", "a logo of a coffee shop, green and gold"),
        ("simpler please", "a logo of a coffee shop, green and gold, simple"),
    ],
    "一个女孩": [
        ("一个女孩", "a girl"),
        ("给她加一顶帽子", "a girl with a hat"),
        ("帽子要红色的", "a girl with a red hat"),
        ("让她微笑", "a smiling girl with a red hat"),
        ("把她放到森林里", "a smiling girl with a red hat in a forest"),
        ("去掉帽子", "a smiling girl in a forest"),
        ("天太暗了", "a smiling girl in a forest, bright sky"),
        ("变成黑白", "a smiling girl in a forest, bright sky, black and white"),
    ],
    "赛博朋克": [
        ("赛博朋克风格的城市,夜晚,下雨", "a city at night in the rain, cyberpunk style"),
        ("把雨去掉", "a city at night, cyberpunk style"),
        ("来点雾", "a city at night in the fog, cyberpunk style"),
        ("霓虹灯多一些", "a city at night in the fog, many neon lights, cyberpunk style"),
    ],
    "向日葵": [
        ("画一幅梵高风格的向日葵", "sunflowers, in the style of Van Gogh"),
        ("改成莫奈风格", "sunflowers, in the style of Monet"),
        ("花瓶里的向日葵", "sunflowers in a vase, in the style of Monet"),
        ("画一只猫", "a cat"),
        ("这只猫可以变成黑色吗?", "a black cat"),
    ],
    "古堡": [
        ("月光下的古堡", "a castle under moonlight"),
        ("蝙蝠飞过", "a castle under moonlight, bats flying past"),
        ("蝙蝠太多了", "a castle under moonlight, a few bats flying past"),
        ("再来一张", "a castle under moonlight, a few bats flying past"),
        ("算了,不要蝙蝠了", "a castle under moonlight"),
        ("换成雪地里的城堡", "a castle in the snow under moonlight"),
    ],
    "苹果": [
        ("画个苹果", "an apple"),
        ("变成绿色", "a green apple"),
        ("放在木桌上", "a green apple on a wooden table"),
        ("桌上再放一杯牛奶", "a green apple on a wooden table, a cup of milk on a table"),
        ("素描风格", "a pencil sketch of a green apple on a wooden table, a cup of milk on a table"),
    ],
    "書店": [
        ("我要一張咖啡館的插畫", "an illustration of a café"),
        ("改成雨天", "an illustration of a café in the rain"),
        ("不是咖啡館,是書店", "an illustration of a bookshop in the rain"),
    ],
}  # fmt: skip

EDITING: dict[str, list[Turn]] = {
    "the sky": [
        ("turn the sky purple", "purple sky"),
        ("add a flying eagle", "purple sky, a flying eagle"),
    ],
    "a person": [
        ("can you make the person in this photo smile?", "a person smiling"),
        ("change her hair to blonde", "a person smiling, blonde hair"),
        ("and the shirt to dark green", "a person smiling, blonde hair, a dark green shirt"),
    ],
    "an old photo": [("colorize this old photo", "in full colour")],
    "a dog": [("add sunglasses to the dog", "a dog with sunglasses")],
    "a lion": [("turn my dog into a lion", "a lion")],
    "a sketch": [("make this look like a pencil sketch", "a pencil sketch")],
    "晚霞": [("让天空变成晚霞", "under a glowing sunset sky")],
    "狮子": [("把狗变成狮子", "a lion")],
    "上色": [("老照片上色", "in full colour")],
    "头发": [("把头发染成金色", "golden hair"), ("再给他戴副墨镜", "golden hair wearing sunglasses")],
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWING)
def test_an_image_is_drawn_turn_by_turn(name: str) -> None:
    follow(DRAWING[name], editing=False)


@pytest.mark.parametrize("name", EDITING)
def test_an_upload_is_edited_turn_by_turn(name: str) -> None:
    follow(EDITING[name], editing=True)


def follow(turns: list[Turn], *, editing: bool) -> None:
    state: PromptState | None = None
    for message, prompt in turns:
        answer = fold(state, message, editing=editing)
        assert (answer.mode, answer.prompt) == ("edit" if editing else "generate", prompt)
        state = PromptState(prompt=answer.prompt, negative_prompt=answer.negative_prompt)


@pytest.mark.parametrize(
    ("message", "negative"),
    [
        ("negative prompt: blurry, low quality", "blurry, low quality"),
        ("反向提示词:模糊,低质量", "blurry, low quality"),
        ("don't show any cars or bikes", "cars, bikes"),
        ("no cars, no bikes", "cars, bikes"),
        ("不要有车和人", "car, people"),
        ("too many people", "crowd"),
        ("there shouldn't be any text", "text"),
    ],
)
def test_what_must_not_be_seen_is_excluded(message: str, negative: str) -> None:
    answer = fold(PromptState(prompt="a street"), message, editing=False)
    assert answer.prompt.startswith("a street")
    assert answer.negative_prompt == negative


@pytest.mark.parametrize(
    "message",
    [
        "what time is it?",
        "I love the stars!",
        "haha nice one",
        "my grandmother used to live there",
        "can you help me?",
        "which model are you using?",
        "undo",
        "你会画什么?",
        "今天天气真好",
        "哈哈",
        "好的,谢谢",
        "你能画视频吗?",
        "我小时候去过那里",
    ],
)
def test_talk_is_not_drawn(message: str) -> None:
    answer = fold(PromptState(prompt="a street"), message, editing=False)
    assert (answer.mode, answer.prompt) == ("reply", "a street")
    assert answer.reply
