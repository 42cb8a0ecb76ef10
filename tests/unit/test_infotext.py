"""Reading what the web UI writes into pictures."""

from __future__ import annotations

import pytest

from robotchat.art.infotext import parse


def test_an_infotext_is_taken_apart() -> None:
    text = (
        "a beach,\nat sunset\nNegative prompt: people\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, "
        'Size: 512x768, Model hash: 6ce0161689, Lora hashes: "a: 1, b: 2", Version: v1.10.1'
    )
    assert parse(text) == {
        "Prompt": "a beach,\nat sunset",
        "Negative prompt": "people",
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7",
        "Seed": "42",
        "Size-1": "512",
        "Size-2": "768",
        "Model hash": "6ce0161689",
        "Lora hashes": "a: 1, b: 2",
        "Version": "v1.10.1",
    }


def test_a_text_without_settings_is_all_prompt() -> None:
    assert parse("a note: by me") == {"Prompt": "a note: by me", "Negative prompt": ""}
    assert parse("") == {"Prompt": "", "Negative prompt": ""}


def test_a_quote_that_never_ends_does_no_harm() -> None:
    assert parse('a\nSteps: 1, Seed: 2, Sampler: Euler, Note: "open')["Seed"] == "2"


@pytest.mark.parametrize("piece", ["0", " ", "a ", "a(", ":", 'a:"', 'a:"\\",', "a: ", '\\"', "-"])
def test_a_long_line_of_anything_is_read_once(piece: str) -> None:
    parse("a cat\n" + piece * 300_000)  # in its square, this would take minutes
