"""What the document says is said so that generators of clients understand it."""

from __future__ import annotations

from typing import Any

from dev.checks.clients import FOLDER, configurations
from dev.checks.schemas import for_clients

JOB = {
    "type": "object",
    "properties": {"object": {"type": "string", "const": "job"}, "id": {"type": "string"}},
}
QUOTE = {"type": "object", "properties": {"object": {"type": "string", "const": "quote"}}}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def document(answer: dict[str, Any], **schemas: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": answer}}
    operation = {"operationId": "draw", "responses": {"200": {"content": content}}}
    return {"paths": {"/x": {"post": operation}}, "components": {"schemas": schemas}}


def answer_of(tidied: dict[str, Any]) -> dict[str, Any]:
    content = tidied["paths"]["/x"]["post"]["responses"]["200"]["content"]
    media: dict[str, Any] = content["application/json"]
    return media


def test_a_union_gets_the_name_of_its_field_and_stays_nullable() -> None:
    field = {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}, {"type": "null"}]}
    asked = {"type": "object", "properties": {"some_input": field | {"title": "Some Input"}}}
    schemas = for_clients(document({}, Ask=asked))["components"]["schemas"]
    assert schemas["Ask"]["properties"] == {
        "some_input": {"anyOf": [ref("AskSomeInput"), {"type": "null"}]}
    }
    assert schemas["AskSomeInput"]["oneOf"] == [{"type": "string"}, {"type": "array", "items": {}}]


def test_objects_are_told_apart_by_the_field_that_is_constant_in_each() -> None:
    tidied = for_clients(document({"anyOf": [ref("Job"), ref("Quote")]}, Job=JOB, Quote=QUOTE))
    assert answer_of(tidied)["schema"] == ref("DrawAnswer")
    union = tidied["components"]["schemas"]["DrawAnswer"]
    assert union["discriminator"]["mapping"] == {
        "job": ref("Job")["$ref"],
        "quote": ref("Quote")["$ref"],
    }
    assert tidied["components"]["schemas"]["Job"]["required"] == ["object"]


def test_numbers_of_two_kinds_may_be_both_at_once() -> None:
    tidied = for_clients(document({"anyOf": [{"type": "integer"}, {"type": "number"}]}))
    assert "anyOf" in tidied["components"]["schemas"]["DrawAnswer"]


def test_an_object_of_any_fields_is_every_other_object_too() -> None:
    free = {"type": "object", "additionalProperties": True}
    tidied = for_clients(document({"anyOf": [free, ref("Job")]}, Job=JOB))
    assert answer_of(tidied)["schema"] == free


def test_an_answer_that_is_always_null_has_no_schema() -> None:
    assert answer_of(for_clients(document({"type": "null"}))) == {}


def test_a_default_that_is_an_object_is_left_out_and_the_given_document_stays_as_it_is() -> None:
    state = {"type": "object", "properties": {"state": {**ref("Job"), "default": {"a": 1}}}}
    given = document({}, Job=JOB, State=state)
    assert for_clients(given)["components"]["schemas"]["State"]["properties"] == {
        "state": ref("Job")
    }
    assert state["properties"] == {"state": {**ref("Job"), "default": {"a": 1}}}


def test_unions_that_a_language_has_no_type_for_are_any_value_there() -> None:
    listed = {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]}
    files = configurations(for_clients(document(listed)))
    assert "  DrawAnswer: Object\n" in files[FOLDER / "java.yaml"]
    assert "  DrawAnswer: mixed\n" in files[FOLDER / "php.yaml"]
    assert "DrawAnswer" not in files[FOLDER / "go.yaml"]


def test_integers_that_need_more_than_32_bits_say_so() -> None:
    fields = {"seed": {"type": "integer"}, "n": {"type": "integer", "maximum": 10}}
    asked = {"type": "object", "properties": fields}
    tidied = for_clients(document({}, Ask=asked))["components"]["schemas"]["Ask"]["properties"]
    assert tidied == {
        "seed": {"type": "integer", "format": "int64"},
        "n": {"type": "integer", "maximum": 10},
    }
