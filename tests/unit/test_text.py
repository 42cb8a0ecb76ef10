"""What JSON may come in by any door."""

from __future__ import annotations

import json

import pytest

from robotchat.text import MAX_DEPTH, Unfit, check_json, read_json, readable, salvage_json
from tests.cases import hostile


@pytest.mark.parametrize("value", hostile.VALUES.values(), ids=hostile.VALUES)
def test_what_cannot_be_kept_is_refused_and_its_sender_still_found(value: str) -> None:
    text = hostile.with_value(value, tenant="acme", job_id="job_1")
    for source in (text, text.encode(), "\ufeff" + text):
        with pytest.raises(ValueError, match=r"."):
            read_json(source)
    found, fault = salvage_json(text)
    assert fault
    assert (found["tenant"], found["job_id"]) == ("acme", "job_1")


@pytest.mark.parametrize("value", hostile.GOOD_VALUES.values(), ids=hostile.GOOD_VALUES)
def test_what_is_only_odd_is_read_as_it_is(value: str) -> None:
    text = hostile.with_value(value, tenant="acme")
    assert read_json("\ufeff" + text) == read_json(text.encode()) == json.loads(text)
    assert salvage_json(text) == (json.loads(text), None)


@pytest.mark.parametrize("source", hostile.NOT_JSON.values(), ids=hostile.NOT_JSON)
def test_what_is_no_json_is_a_value_error(source: bytes) -> None:
    for read in (read_json, salvage_json):
        with pytest.raises(ValueError, match=r"."):
            read(source)


def test_nesting_is_counted_in_arrays_and_objects() -> None:
    assert read_json(hostile.nested(MAX_DEPTH, inner='"x"'))
    with pytest.raises(Unfit, match="deep"):
        read_json(hostile.nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, "\ud800", {1: 2}, {"a": {1, 2}}, b"x", object()]
)
def test_values_of_programs_are_held_to_the_same_rule(value: object) -> None:
    with pytest.raises(Unfit):
        check_json({"metadata": [value]})


def test_half_characters_are_marked_where_a_text_must_be_shown() -> None:
    assert readable("a\ud800b") == "a?b"
    assert readable("日本 🐱") == "日本 🐱"
