"""Prompts taken apart and put together again, and Chinese put into English."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotchat.prompt.rules.lexicon import category, chinese, plural, singular
from robotchat.prompt.rules.structure import Scene, Shield, canonical, role
from robotchat.prompt.rules.translation import translate

PHRASES = st.lists(
    st.sampled_from(
        re.findall(
            r"\S+",
            "a an the cat dog house red blue big and , with on in under holding sitting of photo"
            " painting black white night style Van Gogh background front",
        )
    ),
    max_size=15,
).map(" ".join)


@given(PHRASES)
def test_rendering_what_was_parsed_gives_the_prompt_again(text: str) -> None:
    tidy = Scene.parse(text).render()
    assert Scene.parse(tidy).render() == tidy
    assert tidy.replace(",", " ").split() == text.replace(",", " ").split()


@given(st.text(max_size=100))
def test_what_is_hidden_comes_back_as_it_was(text: str) -> None:
    plain = "".join(char for char in text if not "\ue000" <= char <= "\uf8ff")
    shield = Shield()
    assert shield.show(shield.hide(plain)) == plain


@pytest.mark.parametrize(
    ("chinese_text", "english"),
    [
        ("一只坐在窗台上的小狗", "a puppy sitting on a window sill"),
        ("穿着红色裙子的女孩站在桥上", "a girl wearing a red dress standing on a bridge"),
        ("夕阳下的海滩", "a beach at sunset"),
        ("两只猫和一只狗", "two cats and a dog"),
        ("河上有一条小船", "a small boat on a river"),
        ("一杯热咖啡", "a cup of steaming coffee"),
        ("天上的星星", "stars in the sky"),
        ("a robot", "a robot"),
    ],
)
def test_chinese_phrases_become_english_ones(chinese_text: str, english: str) -> None:
    assert translate(chinese_text) == english


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at sunset", "time"),
        ("in the early morning", "time"),
        ("in winter", "season"),
        ("heavy rain", "weather"),
        ("an oil painting", "medium"),
        ("in the style of Van Gogh", "style"),
        ("black and white", "palette"),
        ("best quality", "quality"),
        ("a dog", None),
    ],
)
def test_phrases_are_known_by_their_role(text: str, expected: str | None) -> None:
    assert role(text) == expected


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("night", "at night"),
        ("snowing", "in the snow"),
        ("autumn", "in autumn"),
        ("a dog", "a dog"),
    ],
)
def test_times_and_weather_become_phrases(text: str, phrase: str) -> None:
    assert canonical(text) == phrase


@pytest.mark.parametrize("noun", ["fox", "city", "wolf", "child", "boat", "person", "dish"])
def test_plurals_turn_back_into_singulars(noun: str) -> None:
    assert singular(plural(noun)) == noun


def test_a_phrase_belongs_to_the_category_of_its_noun() -> None:
    assert category("three small foxes") == "animal"
    assert category("a wooden cabin") == "building"
    assert category("something odd") is None


def test_the_lexicon_has_no_empty_entries() -> None:
    assert len(chinese()) > 1500
    assert all(word and english for word, (english, _) in chinese().items())
