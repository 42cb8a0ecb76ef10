"""The endpoints of conversations and their items, each with its event, over memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.conversations import Conversation, ConversationItemList
from openai.types.conversations.conversation_deleted_resource import ConversationDeletedResource

from robotchat.drivers.fake import FakeArt
from tests.cases.service import Answer, Service, path_of


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.over([FakeArt()]) as service:
        yield service


class Conversations:
    """The endpoints, for one conversation."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.id = ""

    def begin(self, **body: Any) -> dict[str, Any]:
        answer = self.service.call("chat/create_conversation", body)
        assert answer.status == 200, answer.body
        self.id = answer.body["id"]
        found: dict[str, Any] = answer.body
        return found

    def call(self, name: str, body: Any = ..., *, item_id: str = "", **more: Any) -> Answer:
        path = {"conversation_id": self.id} | ({"item_id": item_id} if item_id else {})
        return self.service.call(f"chat/{name}", body, path=path, **more)


@pytest.fixture
def talk(service: Service) -> Conversations:
    return Conversations(service)


SAID = [
    {"role": "user", "content": "My name is Bob."},
    {"role": "assistant", "content": "Hello Bob."},
]


def test_a_conversation_is_begun_read_changed_listed_and_deleted(talk: Conversations) -> None:
    begun = talk.begin(metadata={"user": "42"}, items=SAID)
    Conversation.model_validate(begun)
    assert (begun["title"], begun["turn_count"]) == ("My name is Bob.", 1)
    read = talk.call("get_conversation").body
    assert read == {**begun, "turns": []}
    changed = talk.call("update_conversation", {"metadata": {"user": "43"}})
    assert (changed.status, changed.body["metadata"]) == (200, {"user": "43"})
    assert talk.call("update_conversation", {"metadata": None}).body["metadata"] == {}
    first, second = talk.id, talk.begin()["id"]
    listed = talk.service.call("chat/list_conversations", query={"limit": "1"}).body
    assert [one["id"] for one in listed["data"]] == [listed["first_id"]] == [listed["last_id"]]
    assert listed["has_more"] is True
    rest = talk.service.call(
        "chat/list_conversations", query={"cursor": listed["next_cursor"]}
    ).body
    assert {listed["first_id"], rest["last_id"]} == {first, second}
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    deleted = talk.call("delete_conversation")
    ConversationDeletedResource.model_validate(deleted.body)
    assert talk.call("get_conversation").status == 404


def test_a_conversation_can_be_begun_with_an_empty_body(talk: Conversations) -> None:
    nothing: tuple[dict[str, str] | None, ...] = ({}, None)
    for body in nothing:
        answer = talk.service.call("chat/create_conversation", body)
        assert (answer.status, answer.body["metadata"]) == (200, {})


def test_items_are_added_listed_read_and_deleted(talk: Conversations) -> None:
    talk.begin()
    empty = talk.call("list_conversation_items", query={}).body
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    added = talk.call("create_conversation_items", {"items": SAID})
    assert added.status == 200
    ConversationItemList.model_validate(added.body)
    newest = talk.call("list_conversation_items", query={"limit": "1"}).body
    assert newest["data"] == added.body["data"][1:]
    assert newest["has_more"] is True
    after = {"after": newest["last_id"], "limit": "100"}
    assert talk.call("list_conversation_items", query=after).body["data"] == added.body["data"][:1]
    first = added.body["first_id"]
    assert talk.call("get_conversation_item", item_id=first).body == added.body["data"][0]
    deleted = talk.call("delete_conversation_item", item_id=first)
    assert (deleted.status, deleted.body["object"]) == (200, "conversation")
    assert talk.call("get_conversation_item", item_id=first).status == 404
    assert talk.call("delete_conversation_item", item_id=first).status == 404


def test_an_image_turn_is_items_with_links(service: Service, talk: Conversations) -> None:
    job = service.call(
        "chat/chat_text2image", {"message": "a beach", "settings": {"width": 64, "height": 64}}
    ).body
    talk.id = job["conversation_id"]
    waiting = talk.call("list_conversation_items", query={"order": "asc"}).body["data"]
    assert [item["type"] for item in waiting] == ["message", "image_generation_call"]
    assert waiting[1]["status"] == "in_progress"
    image = waiting[1]["id"]
    assert talk.call("delete_conversation_item", item_id=image).body["error"]["code"] == (
        "job_not_final"
    )
    service.robot.run(job["id"])
    drawn = talk.call("get_conversation_item", item_id=image).body
    assert (drawn["status"], drawn["job_id"]) == ("completed", job["id"])
    assert drawn["images"][0]["url"]
    assert "key" not in drawn["images"][0]
    assert talk.call("get_conversation").body["turns"][0]["job_id"] == job["id"]
    assert talk.call("delete_conversation_item", item_id=waiting[0]["id"]).status == 200
    assert talk.call("list_conversation_items", query={}).body["data"] == []
    assert service.call("jobs/get_job", path={"job_id": job["id"]}).body["images"] == []


@pytest.mark.parametrize(
    ("name", "body", "query", "param"),
    [
        ("create_conversation_items", {"items": []}, None, "items"),
        ("create_conversation_items", {"items": SAID * 11}, None, "items"),
        ("create_conversation_items", {"items": [{"type": "x"}]}, None, "items[0].type"),
        ("create_conversation_items", {}, None, "items"),
        ("update_conversation", {}, None, "metadata"),
        ("update_conversation", {"metadata": {"k": 1}}, None, "metadata.k"),
        ("list_conversation_items", ..., {"limit": "0"}, "limit"),
        ("list_conversation_items", ..., {"order": "up"}, "order"),
        ("list_conversation_items", ..., {"after": "msg_other"}, "after"),
    ],
)
def test_what_is_wrong_is_said_in_openais_shape(
    talk: Conversations, name: str, body: Any, query: Any, param: str
) -> None:
    talk.begin()
    answer = talk.call(name, body, query=query)
    assert answer.status == 400
    assert answer.body["error"]["type"] == "invalid_request_error"
    assert answer.body["error"]["param"] == param


ENDPOINTS = [
    "get_conversation",
    "update_conversation",
    "delete_conversation",
    "list_conversation_items",
    "create_conversation_items",
    "get_conversation_item",
    "delete_conversation_item",
]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_another_tenants_conversation_does_not_exist(talk: Conversations, name: str) -> None:
    begun = talk.begin(items=SAID)
    first = talk.call("list_conversation_items").body["last_id"]
    item = first if path_of(f"chat/{name}").endswith("{item_id}") else ""
    answer = talk.call(name, tenant="other", item_id=item)
    assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")
    assert talk.call("get_conversation").body["id"] == begun["id"]
    assert len(talk.call("list_conversation_items").body["data"]) == 2


@pytest.mark.parametrize("name", ["create_conversation", *ENDPOINTS])
def test_a_key_for_chat_is_enough_and_one_for_operators_is_not(
    talk: Conversations, name: str
) -> None:
    talk.begin(items=SAID)
    first = talk.call("list_conversation_items").body["last_id"]
    item = first if path_of(f"chat/{name}").endswith("{item_id}") else ""
    if name == "create_conversation":
        assert talk.service.call("chat/create_conversation", scopes="admin").status == 403
        assert talk.service.call("chat/create_conversation", scopes="chat").status == 200
        return
    refused = talk.call(name, scopes="admin", item_id=item)
    assert (refused.status, refused.body["error"]["code"]) == (403, "forbidden")
    assert talk.call(name, scopes="chat jobs:read", item_id=item).status == 200
