"""What the stand-in SD host reads in a prompt, and that it can draw all of it."""

from __future__ import annotations

import pytest

from dev.sd_host import imaging, infotext, models, words
from dev.sd_host.words import Thing, read


def test_a_colour_belongs_to_the_thing_after_it() -> None:
    wanted = read("a red fox and a cat in a green field")
    assert wanted.things == (Thing("fox", "red"), Thing("cat"))
    assert (wanted.places, wanted.ground, wanted.colours) == (("field",), "green", ())


def test_a_colour_alone_is_for_the_thing_without_one_or_for_all() -> None:
    assert read("a cat, blue").things == (Thing("cat", "blue"),)
    assert read("make it blue").colours == ("blue",)


def test_numbers_and_plurals_count() -> None:
    assert read("two cats").things == (Thing("cat", None, 2),)
    assert read("dogs").things == (Thing("dog", None, 3),)
    assert read("两只猫").things == (Thing("cat", None, 2),)


def test_what_is_unwanted_is_left_out() -> None:
    wanted = read("a beach with people at sunset", "people, sunset")
    assert (wanted.places, wanted.things, wanted.moods) == (("beach",), (), ())


def test_emphasis_and_extra_networks_are_no_words() -> None:
    assert read("(a cat:1.3) <lora:dog:0.8>").things == (Thing("cat"),)


def test_chinese_is_read() -> None:
    wanted = read("蓝色的狐狸，雪山，日落")
    assert wanted.things == (Thing("fox", "blue"),)
    assert (wanted.places, wanted.moods) == (("mountain",), ("snow", "sunset"))


@pytest.mark.parametrize(
    "word", [*words.PLACES, *words.THINGS, *words.MOODS, *words.STYLES, *words.COLOURS, "nothing"]
)
def test_every_word_can_be_drawn_and_applied(word: str) -> None:
    image = imaging.drawn(word, "", 1, 64, 48)
    assert image.size == (64, 48)
    assert imaging.repainted(image, word, "", 1, 0.8).size == (64, 48)


def test_an_infotext_is_read_as_it_was_written() -> None:
    text = infotext.write(
        "a, b\nc", "d", {"Steps": 3, "Size": "64x72", "Note": "x, y: z", "No": None}
    )
    assert infotext.parse(text) == {
        "Prompt": "a, b\nc",
        "Negative prompt": "d",
        "Steps": "3",
        "Size-1": "64",
        "Size-2": "72",
        "Note": "x, y: z",
    }
    assert infotext.parse("only words")["Prompt"] == "only words"


@pytest.mark.parametrize(
    ("convert", "value", "result"),
    [
        (models.to_int, "64", 64),
        (models.to_int, 64.7, 64),
        (models.to_int, True, 1),
        (models.to_float, "0.5", 0.5),
        (models.to_bool, "NO", False),
        (models.to_bool, 1, True),
        (models.to_str, 1.5, "1.5"),
        (models.to_dict, [["a", 1]], {"a": 1}),
    ],
)
def test_values_are_coerced_as_pydantic_v1_does(
    convert: models.Convert, value: object, result: object
) -> None:
    assert convert(value) == result


@pytest.mark.parametrize(
    ("convert", "value"),
    [
        (models.to_int, "64.5"),
        (models.to_int, float("inf")),
        (models.to_float, "x"),
        (models.to_bool, 2),
        (models.to_str, ["a"]),
        (models.to_list, {"a": 1}),
        (models.to_dict, "text"),
    ],
)
def test_other_values_are_refused(convert: models.Convert, value: object) -> None:
    with pytest.raises(models.Invalid):
        convert(value)
