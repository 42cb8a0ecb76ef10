"""Words and pictures in one conversation: order, what the model is told, items, deletion."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from openai.types.conversations import Conversation, ConversationItem
from pydantic import TypeAdapter

from robotchat.drivers.fake import FakeArt, FakeChat
from robotchat.errors import InvalidRequest, JobNotFinal, NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.engine import Responses
from robotchat.jobs.job import Job
from robotchat.robot import Robot
from robotchat.views import Viewer
from tests.cases.clock import FakeClock

ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)


class HeldQueue:
    """A queue that runs nothing by itself."""

    def send(self, job: Job, *, delay: float = 0.0) -> None: ...

    def backlog(self) -> int:
        return 0


class World:
    """A robot and a language model that share conversations."""

    def __init__(self, *scripts: Any, held: bool = False) -> None:
        self.clock = FakeClock()
        self.chat = FakeChat(scripts)
        self.art = FakeArt()
        self.robot = Robot(art=self.art, clock=self.clock, queue=HeldQueue() if held else None)
        self.queue: list[str] = []
        self.responses = Responses(
            self.chat,
            store=self.robot.response_store,
            clock=self.clock,
            enqueue=lambda response_id, tenant: self.queue.append(response_id),
        )

    def ask(self, text: str, conversation: str | None, **more: Any) -> Body:
        return self.responses.create({"input": text, "conversation": conversation, **more})

    def draw(self, message: str, conversation: str | None = None) -> Job:
        return self.robot.chat_text2image(message, conversation, width=64, height=64)

    def told(self) -> list[str]:
        """What the model was told last."""
        return [message["content"] for message in self.chat.requests[-1]["messages"]]

    def left(self) -> list[str]:
        """What is still stored of responses: records and files."""
        records: Any = self.robot.records
        images: Any = self.robot.images
        said = [r.pk for r in records.all() if r.pk.startswith("response#") and r.sk != "key"]
        return [*said, *(key for key in images._files if not key.startswith("tenants/"))]


def test_an_image_is_drawn_talked_about_and_drawn_again() -> None:
    world = World("A beach.")
    first = world.draw("a beach")
    conversation = first.conversation_id or ""
    answer = world.ask("What did you draw?", conversation)
    assert world.told() == ["a beach", f"[I drew a picture: {first.prompt}]", "What did you draw?"]
    assert answer["conversation"] == {"id": conversation}
    second = world.draw("at sunset", conversation)
    assert "beach" in (second.prompt or "")
    assert "sunset" in (second.prompt or "")
    assert (first.turn, second.turn) == (1, 3)
    items = world.responses.conversations.items(conversation)
    for item in items:
        ITEM.validate_python(item)
    assert [item.get("role", item["type"]) for item in items] == [
        "user",
        "image_generation_call",
        "user",
        "assistant",
        "user",
        "image_generation_call",
    ]
    world.ask("And now?", conversation)
    assert world.told()[:4] == [
        "a beach",
        f"[I drew a picture: {first.prompt}]",
        "What did you draw?",
        "A beach.",
    ]


def test_an_image_that_is_being_drawn_is_said_to_be() -> None:
    world = World("Soon.", held=True)
    drawing = world.draw("a beach")
    world.ask("Is it done?", drawing.conversation_id)
    assert world.told() == ["a beach", "[I am drawing a picture.]", "Is it done?"]
    world.robot.cancel(drawing.id)
    world.ask("And now?", drawing.conversation_id)
    assert world.told()[:2] == ["a beach", "[The picture was not drawn.]"]


def test_the_last_image_is_known_before_the_index_knows_it() -> None:
    world = World("ok")
    first = world.draw("a beach")
    conversation = first.conversation_id or ""
    records: Any = world.robot.records
    query = records.query
    late = query("group", f"conversation#{conversation}")
    second = world.draw("at sunset", conversation)
    records.query = lambda *a, **k: late
    assert list(world.robot.conversations.turns(conversation)) == [first, second]
    records.query = query
    assert list(world.robot.conversations.turns(conversation)) == [first, second]


def test_items_are_listed_page_by_page_with_their_images() -> None:
    world = World("Nice.")
    job = world.draw("a beach")
    conversation = job.conversation_id or ""
    world.ask("Nice?", conversation)
    viewer = Viewer(world.robot.images, link_ttl=60)
    seen: list[Body] = []
    after = None
    while True:
        page = world.responses.conversations.list_items(
            conversation, limit=1, order="asc", after=after, show=viewer.item
        )
        seen += page["data"]
        after = page["last_id"]
        if not page["has_more"]:
            break
    newest = world.responses.conversations.list_items(conversation, show=viewer.item)["data"]
    assert [item["id"] for item in seen] == [item["id"] for item in reversed(newest)]
    image = seen[1]
    assert (image["job_id"], image["status"]) == (job.id, "completed")
    assert image["revised_prompt"] == job.prompt
    assert image["images"][0]["sha256"] == job.images[0].sha256
    assert "key" not in image["images"][0]
    assert "images" not in seen[0]
    found = world.responses.conversations.item(conversation, image["id"], show=viewer.item)
    assert found["images"][0]["width"] == 64
    with pytest.raises(NotFound):
        world.responses.conversations.item(conversation, "msg_other")


def test_what_a_caller_calls_an_item_opens_nothing() -> None:
    """Neither ids nor pictures of added items are believed."""
    world = World()
    theirs = world.robot.chat_text2image("a beach", width=64, height=64)
    conversation = world.responses.conversations.create().id
    forged = {
        "type": "image_generation_call",
        "id": "ig_" + theirs.id.removeprefix("job_"),
        "job_id": theirs.id,
        "result": None,
        "images": [{"key": theirs.images[0].key}],
    }
    added = world.responses.conversations.add_items(conversation, [forged, forged])["data"]
    assert len({item["id"] for item in [*added, forged]}) == 3
    viewer = Viewer(world.robot.images, link_ttl=60)
    shown = world.responses.conversations.list_items(conversation, show=viewer.item)["data"]
    assert all("url" not in item["images"][0] for item in shown)
    assert world.responses.conversations.delete_item(conversation, added[0]["id"]) is None
    assert world.robot.jobs.get(theirs.id, "local").images


def test_a_conversation_begins_with_items_and_has_metadata() -> None:
    world = World("Bob.")
    said = [{"role": "user", "content": "My name is Bob."}]
    begun = world.responses.conversations.create(metadata={"user": "42"}, items=said)
    assert begun.title == "My name is Bob."
    world.ask("Who am I?", begun.id)
    assert world.told() == ["My name is Bob.", "Who am I?"]
    changed = world.responses.conversations.update(begun.id, metadata={"user": "43"})
    assert changed.metadata == {"user": "43"}
    view = Viewer(world.robot.images, link_ttl=60).conversation(changed)
    Conversation.model_validate(view.model_dump())
    for wrong in ([{"role": "robot", "content": "x"}], said * 21, "x" * 5 and [7]):
        with pytest.raises(InvalidRequest):
            world.responses.conversations.create(items=wrong)
    with pytest.raises(InvalidRequest):
        world.responses.conversations.update(begun.id, metadata={"k": 7})
    with pytest.raises(NotFound):
        world.responses.conversations.update(begun.id, "theirs", metadata={})


def test_an_item_of_an_image_turn_leads_to_its_job_and_goes_with_it() -> None:
    world = World("a1", held=True)
    job = world.draw("a beach")
    conversation = job.conversation_id or ""
    for item in world.responses.conversations.items(conversation):
        found = world.responses.conversations.delete_item(conversation, item["id"])
        assert found is not None
        assert found.id == job.id
    with pytest.raises(JobNotFinal):
        world.robot.delete_job(job.id)
    world.robot.cancel(job.id)
    world.robot.delete_job(job.id)
    assert world.responses.conversations.items(conversation) == []
    world.ask("Hi", conversation)
    assert world.told() == ["Hi"]


def test_a_deleted_item_of_a_large_turn_is_gone_from_the_files_too() -> None:
    world = World("a1")
    conversation = world.responses.conversations.create().id
    response = world.ask("secret " * 40_000, conversation)
    asked = world.responses.conversations.items(conversation)[0]
    world.responses.conversations.delete_item(conversation, asked["id"])
    files: Any = world.robot.images
    assert not any("secret" in str(file) for file in files._files.values())
    assert world.responses.get(response["id"])["status"] == "completed"


def test_deleting_a_conversation_forgets_words_and_images() -> None:
    world = World("a1", "a2", "a3")
    job = world.draw("a beach")
    conversation = job.conversation_id or ""
    small = world.ask("Nice?", conversation)
    world.ask("long " * 60_000, conversation)
    branch = world.responses.create({"input": "aside", "previous_response_id": small["id"]})
    background = world.ask("later", conversation, background=True)
    assert len(world.left()) > 3
    world.robot.delete_conversation(conversation)
    for response in (small, background):
        with pytest.raises(NotFound):
            world.responses.get(response["id"])
    with pytest.raises(NotFound):
        world.responses.conversations.items(conversation)
    with pytest.raises(NotFound):
        world.ask("x", conversation)
    assert world.left() == [f"response#{branch['id']}"]
    world.responses.background.run(background["id"])
    assert world.left() == [f"response#{branch['id']}"]
    world.responses.create({"input": "on", "previous_response_id": branch["id"]})
    assert world.told()[-3:] == ["aside", "a3", "on"]


def test_what_is_being_said_while_its_conversation_is_deleted_is_not_stored() -> None:
    for read in (0, 6):
        world = World(["One ", "two ", "three"])
        conversation = world.responses.conversations.create().id
        stream = world.responses.stream({"input": "Count", "conversation": conversation})
        for _ in range(read):
            next(stream)
        world.robot.delete_conversation(conversation)
        assert list(stream)[-1]["type"] == "response.completed"
        assert world.left() == []


def test_a_conversation_is_deleted_in_spite_of_many_who_write_to_it() -> None:
    world = World()
    conversation = world.responses.conversations.create().id
    start = threading.Barrier(3)

    def write(number: int) -> None:
        start.wait()
        for turn in range(20):
            try:
                world.ask(f"{number} {turn}", conversation)
            except NotFound:
                return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    start.wait()
    world.robot.delete_conversation(conversation)
    for thread in threads:
        thread.join(30)
    assert world.left() == []
