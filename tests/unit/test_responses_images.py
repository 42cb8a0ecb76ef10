"""The tool ``image_generation`` of responses, over a robot that draws."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openai.types.responses import Response
from PIL import Image

from robotchat.drivers.fake import FakeArt, FakeChat
from robotchat.errors import (
    InvalidRequest,
    Misconfigured,
    NotFound,
    UnknownCheckpoint,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.background import MOST_ATTEMPTS
from robotchat.gpt.responses.engine import Responses
from robotchat.gpt.responses.image_tool import MAX_IMAGES
from robotchat.gpt.responses.inference import Options
from robotchat.gpt.responses.painting import Order
from robotchat.hosts.openai_images import usage
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.limits import Limits
from robotchat.robot import Robot
from robotchat.settings import Settings
from tests.cases.clock import FakeClock
from tests.cases.responses import WEATHER, checked, deltas, kinds, text

DRAW: Body = {"type": "image_generation", "size": "64x64"}
FORCED: Body = {"tools": [DRAW], "tool_choice": {"type": "image_generation"}}


def call(number: int = 0, name: str = "image_generation", **arguments: Any) -> Body:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": number, "id": f"call_{number}", "type": "function", "function": function}


def calls(*wanted: Body, text: str | None = None) -> Body:
    """A completion that calls, and the chunk of a stream that does."""
    said: Body = {"role": "assistant", "content": text, "tool_calls": list(wanted)}
    return {
        "choices": [{"index": 0, "message": said, "delta": said, "finish_reason": "tool_calls"}]
    }


class HeldQueue:
    def send(self, job: Job, *, delay: float = 0.0) -> None: ...

    def backlog(self) -> int:
        return 0


class World:
    """A robot and a language model that draw in the same conversations."""

    def __init__(
        self, *scripts: Any, held: bool = False, limits: Limits | None = None, **art: Any
    ) -> None:
        self.clock = FakeClock()
        self.chat = FakeChat(scripts)
        self.art = FakeArt(**art)
        self.robot = Robot(
            art=self.art,
            clock=self.clock,
            settings=Settings(limits=limits or Limits(), max_attempts=1),
            queue=HeldQueue() if held else None,
        )
        self.queue: list[str] = []
        self.store = self.robot.response_store
        self.responses = Responses(
            self.chat,
            model="fake",
            store=self.store,
            draws=self.robot.draws,
            clock=self.clock,
            enqueue=lambda response_id, tenant: self.queue.append(response_id),
        )

    def ask(self, said: Any, **more: Any) -> Body:
        body = {"input": said, "tools": [DRAW], **more}
        response = self.responses.create(body)
        Response.model_validate(response)
        return response

    def told(self, response_id: str) -> list[Body]:
        """The events of a response so far."""
        events = self.store.told(response_id).events
        return [self.store.shown.event_to_show(event, "local") for event in events]

    def stored(self) -> str:
        """All that is in the document store."""
        records: Any = self.robot.records
        return json.dumps([record.data for record in records.all()], default=str)


def images(response: Body) -> list[Body]:
    return [item for item in response["output"] if item["type"] == "image_generation_call"]


def opened(result: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(result)))


def types(response: Body) -> list[str]:
    return [item["type"] for item in response["output"]]


def test_the_model_draws_and_speaks() -> None:
    world = World(
        calls(call(prompt="a beach, photo", action="generate"), text="At once. "), "Here."
    )
    response = world.ask("please draw a beach")
    assert types(response) == ["message", "image_generation_call", "message"]
    (item,) = images(response)
    assert opened(item["result"]).size == (64, 64)
    assert (item["status"], item["revised_prompt"]) == ("completed", "a beach, photo")
    assert (item["action"], item["size"], item["output_format"]) == ("generate", "64x64", "png")
    assert world.art.requests[0]["prompt"] == "a beach, photo"
    asked, again = world.chat.requests
    (function,) = asked["tools"]
    assert function["function"]["name"] == "image_generation"
    said = again["messages"][1:]
    assert [message["role"] for message in said] == ["assistant", "tool"]
    assert said[0]["content"] == "At once. "
    assert json.loads(said[0]["tool_calls"][0]["function"]["arguments"]) == {
        "prompt": "a beach, photo",
        "action": "generate",
    }
    assert said[1]["tool_call_id"] == said[0]["tool_calls"][0]["id"]
    assert "drawn" in said[1]["content"]
    assert response["tools"][0] | DRAW == response["tools"][0]
    assert response["tools"][0]["n"] == 1


def test_the_official_events_of_two_images_words_and_a_function() -> None:
    both = calls(
        call(0, prompt="a cat", action="generate"),
        call(1, prompt="a dog", action="generate"),
        call(2, name="weather", city="Rome"),
    )
    world = World(["One moment. ", both])
    stream = world.responses.stream(
        {"input": "a cat and a dog", "tools": [DRAW, WEATHER], "stream": True}
    )
    events = checked(stream)
    assert kinds(events)[:2] == ["created", "in_progress"]
    for number, index in enumerate((2, 3)):
        place = [event for event in events if event.get("output_index") == index]
        assert kinds(place) == [
            "output_item.added",
            "image_generation_call.in_progress",
            "image_generation_call.generating",
            "image_generation_call.completed",
            "output_item.done",
        ]
        assert "result" not in place[0]["item"]
        assert place[-1]["item"]["revised_prompt"] == ("a cat", "a dog")[number]
        assert opened(place[-1]["item"]["result"])
    final = events[-1]["response"]
    # What the client runs must be answered before the model goes on.
    assert types(final) == ["message", "function_call", *["image_generation_call"] * 2]
    assert len(world.chat.requests) == 1

    output = {
        "type": "function_call_output",
        "call_id": final["output"][1]["call_id"],
        "output": "sunny",
    }
    world.chat.enqueue(["All done."])
    after = world.responses.create(
        {"input": [output], "previous_response_id": final["id"], "tools": [DRAW, WEATHER]}
    )
    assert text(after) == "All done."
    told = world.chat.requests[-1]["messages"]
    assert [m["role"] for m in told] == ["user", "assistant", "tool", "tool", "assistant", "tool"]
    ids = [one["id"] for m in told for one in m.get("tool_calls", ())]
    assert sorted(ids) == sorted(m["tool_call_id"] for m in told if m["role"] == "tool")


@pytest.mark.parametrize(
    "script",
    [
        "I cannot draw, but I can tell you about beaches at great length. " * 20,
        UpstreamRejected("tools are not supported", details={"status": 400}),
        UpstreamUnavailable("The language model is away."),
        calls(call(prompt="", action="generate")),
    ],
)
def test_a_forced_image_is_drawn_whatever_the_upstream_does(script: Any) -> None:
    for whole in (True, False):
        world = World(script)
        body = {"input": "draw a beach at sunset", **FORCED}
        if whole:
            response = world.responses.create(body)
        else:
            response = checked(world.responses.stream(body))[-1]["response"]
        assert types(response) == ["image_generation_call", "message"]
        assert text(response) == "", "what it said instead is not the answer"
        (item,) = images(response)
        assert "beach" in item["revised_prompt"]
        assert len(world.chat.requests) == 1
        job = world.robot.jobs.get(item["job_id"], "local")
        assert job.prompt_source == "fallback"


def test_a_forced_upstream_that_talks_is_cut_off() -> None:
    world = World(["I am sorry. "] * 100)
    checked(world.responses.stream({"input": "draw a beach", **FORCED}))
    assert world.chat.streams[0].closed


def test_a_forced_call_is_drawn_as_called_and_not_asked_again() -> None:
    world = World(calls(call(prompt="a lighthouse", action="generate")))
    response = world.ask("draw", **FORCED)
    assert [item["revised_prompt"] for item in images(response)] == ["a lighthouse"]
    assert types(response) == ["image_generation_call", "message"]
    (asked,) = world.chat.requests
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "image_generation"}}


def test_make_it_blue_edits_the_last_image_of_the_chain() -> None:
    world = World("no tools", "no tools")
    first = world.ask("a photo of a cat", **FORCED)
    second = world.ask("make it blue", previous_response_id=first["id"], **FORCED)
    (item,) = images(second)
    assert item["action"] == "edit"
    assert item["revised_prompt"] == "a photo of a blue cat"
    (before,) = images(first)
    assert "init_images" in world.art.requests[1]
    sent = base64.b64decode(world.art.requests[1]["init_images"][0])
    assert sent == base64.b64decode(before["result"])
    jobs = [world.robot.jobs.get(one["job_id"], "local") for one in (before, item)]
    assert jobs[0].conversation_id == jobs[1].conversation_id, "they are turns of one conversation"
    turns = list(world.robot.conversations.turns(jobs[0].conversation_id or ""))
    assert [turn.message for turn in turns] == ["a photo of a cat", "make it blue"]


def test_a_model_that_does_not_say_whether_to_change_is_understood_by_the_message() -> None:
    world = World("no", calls(call(prompt="a blue cat")), "ok", calls(call(prompt="a dog")), "ok")
    first = world.ask("a photo of a cat", **FORCED)
    second = world.ask("make it blue", previous_response_id=first["id"])
    third = world.ask("now draw a dog", previous_response_id=second["id"])
    assert [images(one)[0]["action"] for one in (second, third)] == ["edit", "generate"]


def test_quite_another_image_is_drawn_anew() -> None:
    world = World("no tools", "no tools")
    first = world.ask("a photo of a cat", **FORCED)
    second = world.ask("now draw a red car", previous_response_id=first["id"], **FORCED)
    (item,) = images(second)
    assert (item["action"], item["revised_prompt"]) == ("generate", "a red car")
    assert "init_images" not in world.art.requests[1]


def test_the_images_are_turns_of_the_conversation_each_told_once() -> None:
    world = World(calls(call(prompt="a cat", action="generate")), "Here.")
    beach = world.robot.chat_text2image("a beach", width=64, height=64)
    conversation = beach.conversation_id or ""
    response = world.ask("now a cat", conversation=conversation)
    told = world.chat.requests[0]["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "user"]
    items = world.responses.conversations.items(conversation)
    assert [item["type"] for item in items] == [
        "message",
        "image_generation_call",
        "message",
        "image_generation_call",
        "message",
    ]
    turns = list(world.robot.conversations.turns(conversation))
    assert [turn.prompt for turn in turns] == [beach.prompt, "a cat"]
    assert turns[1].prompt_source == "llm"
    # Now the other way in goes on from there.
    blue = world.robot.chat_image2image("make it blue", conversation_id=conversation)
    assert blue.prompt == "a blue cat"
    world.chat.enqueue([calls(call(prompt="a blue cat with a hat", action="edit")), "Done."])
    last = world.ask("and a hat", conversation=conversation)
    sent = base64.b64decode(world.art.requests[-1]["init_images"][0])
    assert sent == world.robot.images.get(blue.images[0].key)
    shown: list[Any] = []

    def show(item: Body, job: Job | None) -> Body:
        shown.append((item["type"], job and job.id))
        return item

    world.responses.conversations.list_items(conversation, show=show)
    assert ("image_generation_call", images(last)[0]["job_id"]) in shown
    assert images(response)[0]["job_id"] == turns[1].id


def test_a_branch_of_a_conversation_does_not_appear_in_it() -> None:
    world = World("no", "no", "no")
    conversation = world.robot.conversations.create("local").id
    first = world.ask("a photo of a cat", conversation=conversation, **FORCED)
    world.ask("make it blue", previous_response_id=first["id"], **FORCED)
    assert len(list(world.robot.conversations.turns(conversation))) == 1
    again = images(world.ask("make it red", conversation=conversation, **FORCED))[0]
    assert again["revised_prompt"] == "a photo of a red cat"


@pytest.mark.parametrize("form", ["whole", "id", "reference", "without result"])
def test_an_image_is_given_back_in_every_form_that_clients_send(form: str) -> None:
    world = World("no", "no", "no")
    first = images(world.ask("a photo of a cat", **FORCED))[0]
    second = images(world.ask("a photo of a dog", **FORCED))[0]
    given: Body = {
        "whole": first,
        "id": {"type": "image_generation_call", "id": first["id"]},
        "reference": {"type": "item_reference", "id": first["id"]},
        "without result": {**first, "result": None},
    }[form]
    asked = {"role": "user", "content": "make it blue"}
    (blue,) = images(world.ask([given, asked], **FORCED))
    assert blue["revised_prompt"] == "a photo of a blue cat"
    assert base64.b64decode(world.art.requests[-1]["init_images"][0]) == base64.b64decode(
        first["result"]
    )
    assert second["id"] != first["id"]


def test_the_image_of_a_turn_can_be_given_by_its_items_id() -> None:
    world = World("no")
    cat = world.robot.chat_text2image("a photo of a cat", width=64, height=64)
    given = {"type": "image_generation_call", "id": f"ig_{cat.id.partition('_')[2]}"}
    (blue,) = images(world.ask([given, {"role": "user", "content": "make it blue"}], **FORCED))
    assert blue["revised_prompt"] == "a photo of a blue cat"


def test_an_unknown_image_is_named_and_a_foreign_one_is_unknown() -> None:
    world = World("no")
    cat = images(world.ask("a cat", **FORCED))[0]
    for given, tenant in (("ig_nobody", "local"), (cat["id"], "other")):
        body = {
            "input": [
                {"role": "user", "content": "make it blue"},
                {"type": "image_generation_call", "id": given},
            ],
            **FORCED,
        }
        with pytest.raises(NotFound) as error:
            world.responses.create(body, tenant)
        assert error.value.param == "input[1].id"
        assert given in error.value.message
    with pytest.raises(InvalidRequest):
        world.ask([{"type": "image_generation_call", "id": "", "result": None}])
    # A foreign job that is named in a picture of one's own is nobody's.
    item = {**cat, "id": "ig_mine", "result": cat["result"]}
    other = world.responses.create(
        {"input": [item, {"role": "user", "content": "make it blue"}], **FORCED}, "other"
    )
    assert images(other)[0]["status"] == "completed"
    theirs = world.robot.jobs.get(images(other)[0]["job_id"], "other")
    assert theirs.parent is None


def test_an_image_that_the_user_sends_is_changed() -> None:
    world = World(calls(call(prompt="a blue cat", action="edit")), "Done.")
    file = io.BytesIO()
    Image.new("RGB", (64, 128), "orange").save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    content = [
        {"type": "input_text", "text": "blue, please"},
        {"type": "input_image", "image_url": url},
    ]
    response = world.ask(
        [{"role": "user", "content": content}], tools=[{"type": "image_generation"}]
    )
    (item,) = images(response)
    assert item["action"] == "edit"
    assert world.art.requests[0]["init_images"]
    width, height = (int(side) for side in item["size"].split("x"))
    assert height / width == pytest.approx(2, rel=0.02), "it keeps its shape"


def test_the_mask_is_openais() -> None:
    world = World(calls(call(prompt="a hat", action="edit")), "Done.")
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 64, 16))
    file, photo = io.BytesIO(), io.BytesIO()
    mask.save(file, "PNG")
    Image.new("RGB", (64, 64), "orange").save(photo, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    image = "data:image/png;base64," + base64.b64encode(photo.getvalue()).decode()
    tool = {**DRAW, "input_image_mask": {"image_url": url}, "input_fidelity": "high"}
    content = [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": image}]
    world.ask([{"role": "user", "content": content}], tools=[tool])
    sent = world.art.requests[0]
    white = Image.open(io.BytesIO(base64.b64decode(sent["mask"])))
    assert (white.getpixel((5, 5)), white.getpixel((5, 60))) == (255, 0)
    assert sent["denoising_strength"] == 0.5


def test_a_failed_drawing_is_in_the_item_and_told_to_the_model() -> None:
    refusal = UpstreamRejected("The SD host refused the request.")
    world = World(
        calls(call(prompt="a cat", action="generate")), "Sorry.", scripts=[refusal, refusal]
    )
    events = checked(world.responses.stream({"input": "a cat", "tools": [DRAW]}))
    response = events[-1]["response"]
    assert response["status"] == "completed"
    (item,) = images(response)
    assert (item["status"], item["result"]) == ("failed", "")
    assert item["error"]["code"] == "upstream_rejected"
    assert "image_generation_call.completed" not in kinds(events)
    told = world.chat.requests[1]["messages"][-1]
    assert told["content"] == "The picture was not drawn: The SD host refused the request."
    assert deltas(events) == "Sorry."


def test_a_forced_drawing_that_fails_is_told_in_words() -> None:
    world = World("no", scripts=[UpstreamRejected("Refused.")] * 2)
    response = world.ask("a cat", **FORCED)
    assert text(response) == "Refused."


def test_a_tenants_limits_hold() -> None:
    world = World(
        calls(call(0, prompt="a", action="generate"), call(1, prompt="b", action="generate")),
        "Enough.",
        limits=Limits(images_per_day=1),
    )
    drawn, refused = images(world.ask("two"))
    assert drawn["status"] == "completed"
    assert (refused["status"], refused["error"]["code"]) == ("failed", "limit_exceeded")
    small = World("x", limits=Limits(work_per_request=100))
    with pytest.raises(InvalidRequest):
        small.ask("a cat")
    assert small.chat.requests == [], "what cannot be had is refused before anything is asked"


def test_the_number_of_images_is_bounded() -> None:
    for most, more in ((MAX_IMAGES, {}), (2, {"max_tool_calls": 2})):
        endless = [calls(call(prompt="a cat", action="generate")) for _ in range(20)]
        world = World(*endless)
        response = world.ask("cats", **more)
        assert len(images(response)) == most
        assert response["status"] == "completed"
        assert len(world.chat.requests) == most + 1
        assert world.chat.requests[-1]["tool_choice"] == "none"
        at_once = World(calls(*(call(n, prompt=f"cat {n}") for n in range(20))), "ok")
        assert len(images(at_once.ask("cats", **more))) == most


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"size": "huge"}, "size"),
        ({"size": "9000x64"}, "size"),
        ({"quality": "best"}, "quality"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"partial_images": 4}, "partial_images"),
        ({"action": "paint"}, "action"),
        ({"input_fidelity": "some"}, "input_fidelity"),
        ({"input_image_mask": {}}, "input_image_mask"),
        ({"n": 2}, "n"),
        ({"svg": {}}, "svg"),
        ({"frame_count": 3}, "frame_count"),
        ({"model": "nothing-known"}, "model"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(tool: Body, param: str) -> None:
    world = World("x")
    with pytest.raises(InvalidRequest) as error:
        world.ask("a cat", tools=[WEATHER, {"type": "image_generation", **tool}])
    assert error.value.param == f"tools[1].{param}"
    assert world.chat.requests == []


def test_a_checkpoint_is_taken_by_its_name_and_openais_names_are_the_default() -> None:
    world = World(
        *[calls(call(prompt="a cat")), "ok"] * 2, checkpoints=["one.safetensors", "two.safetensors"]
    )
    for named in ("two", "gpt-image-1"):
        item = images(world.ask("a cat", tools=[{**DRAW, "model": named, "moderation": "low"}]))[0]
        job = world.robot.jobs.get(item["job_id"], "local")
        assert job.checkpoint is not None
        assert ("two" in job.checkpoint) is (named == "two")
    with pytest.raises(UnknownCheckpoint):
        world.ask("a cat", tools=[{**DRAW, "model": "three"}])


def test_a_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    world = World("x")
    with pytest.raises(InvalidRequest) as error:
        world.ask("a cat", tools=[WEATHER], tool_choice={"type": "image_generation"})
    assert error.value.param == "tool_choice"
    with pytest.raises(InvalidRequest) as error:
        world.ask("a cat", tools=[{**DRAW, "action": "edit"}])
    assert error.value.param == "input", "there is nothing to edit"
    plain = Responses(FakeChat())
    with pytest.raises(InvalidRequest) as error:
        plain.create({"input": "x", "tools": [DRAW]})
    assert error.value.param == "tools[0]"


def test_a_tool_that_may_not_be_used_is_no_reason_to_refuse() -> None:
    world = World("Words.")
    response = world.ask("a cat", tool_choice="none")
    assert text(response) == "Words."


def test_a_response_in_the_background_is_replayed_with_its_images() -> None:
    world = World(["Well. ", calls(call(prompt="a cat", action="generate"))], "Here.")
    queued = world.ask("a cat", background=True)
    assert queued["status"] == "queued"
    world.responses.background.run(queued["id"])
    done = world.responses.get(queued["id"])
    assert done["status"] == "completed"
    events = checked(world.responses.background.events(queued["id"]))
    assert events[-1]["response"]["output"] == done["output"]
    (item,) = images(done)
    assert opened(item["result"])
    (finished,) = [
        event["item"]
        for event in events
        if event["type"] == "response.output_item.done"
        and event["item"]["type"] == "image_generation_call"
    ]
    assert finished == item
    for after in range(len(events)):
        rest = list(world.responses.background.events(queued["id"], starting_after=after))
        assert rest == events[after + 1 :]


def test_no_image_is_in_the_document_store() -> None:
    world = World(calls(call(prompt="a cat", action="generate")), "Here.")
    queued = world.ask("a cat", background=True)
    world.responses.background.run(queued["id"])
    result = images(world.responses.get(queued["id"]))[0]["result"]
    assert result
    assert result not in world.stored()
    # The file belongs to the job: deleted there, it is gone everywhere.
    job_id = images(world.responses.get(queued["id"]))[0]["job_id"]
    world.robot.delete_job(job_id)
    assert images(world.responses.get(queued["id"]))[0]["result"] == ""


class Killed(BaseException):
    """The worker's end."""


def dying_at(world: World, response_id: str, kind: str, number: int = 1) -> None:
    """A worker makes the response and dies right behind the ``number``-th event of that kind."""
    write, left = world.store.write_events, [number]

    def write_one(stored: Any, index: int, events: Any, ahead: Any = None) -> None:
        for event in events:
            left[0] -= event["type"] == kind
        write(stored, index, events, ahead)
        if left[0] <= 0:
            raise Killed

    world.store.write_events = write_one  # type: ignore[method-assign]
    with pytest.raises(Killed), eager():
        world.responses.background.run(response_id)
    world.store.write_events = write  # type: ignore[method-assign]


@contextmanager
def eager() -> Iterator[None]:
    """Events are written one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robotchat.gpt.responses.background.FLUSH_AFTER", 0.0)
        yield


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("response.output_item.added", 2),
        ("response.image_generation_call.in_progress", 1),
        ("response.image_generation_call.generating", 1),
        ("response.image_generation_call.completed", 1),
        ("response.output_item.done", 2),
        ("response.image_generation_call.generating", 2),
        ("response.output_item.done", 3),
    ],
)
def test_a_worker_that_dies_is_replaced_by_one_that_draws_on(kind: str, number: int) -> None:
    used = {"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}}
    both = calls(call(0, prompt="a cat"), call(1, prompt="a dog"), text="Well.")
    world = World({**both, **used}, {**calls(text="Here."), **used})
    queued = world.ask("a cat and a dog", background=True)
    dying_at(world, queued["id"], kind, number)
    before = world.told(queued["id"])
    world.clock.advance(61)
    world.responses.background.run(queued["id"])
    done = world.responses.get(queued["id"])
    assert done["status"] == "completed"
    assert types(done) == ["message", *["image_generation_call"] * 2, "message"]
    assert [item["revised_prompt"] for item in images(done)] == ["a cat", "a dog"]
    assert all(opened(item["result"]) for item in images(done))
    assert [request["prompt"] for request in world.art.requests] == ["a cat", "a dog"]
    events = checked(world.responses.background.events(queued["id"]))
    assert events[: len(before)] == before
    whole = World({**both, **used}, {**calls(text="Here."), **used})
    other = whole.ask("a cat and a dog", background=True)
    whole.responses.background.run(other["id"])
    assert kinds(events) == kinds(whole.responses.background.events(other["id"]))
    assert events[-1]["response"]["output"] == done["output"]
    assert done["usage"] == whole.responses.get(other["id"])["usage"]


def test_a_worker_that_dies_in_the_middle_of_words_leaves_them_and_its_images() -> None:
    world = World(calls(call(prompt="a cat")), ["It ", "is ", "here."])
    queued = world.ask("a cat", background=True)
    dying_at(world, queued["id"], "response.output_text.delta", 2)
    world.clock.advance(61)
    world.responses.background.run(queued["id"])
    failed = world.responses.get(queued["id"])
    Response.model_validate(failed)
    assert failed["status"] == "failed"
    assert types(failed) == ["image_generation_call", "message"]
    assert (text(failed), failed["output"][1]["status"]) == ("It is ", "incomplete")
    assert opened(images(failed)[0]["result"])
    events = checked(world.responses.background.events(queued["id"]))
    assert events[-1]["response"]["output"] == failed["output"]
    assert len(world.art.requests) == 1


def test_what_kills_its_workers_again_and_again_is_given_up() -> None:
    world = World(calls(call(prompt="a cat")), "Here.", held=True)
    queued = world.ask("a cat", background=True)

    def die(seconds: float) -> None:
        raise Killed

    sleep, world.clock.sleep = world.clock.sleep, die  # type: ignore[method-assign]
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(Killed), eager():
            world.responses.background.run(queued["id"])
        world.clock.advance(61)
    world.clock.sleep = sleep  # type: ignore[method-assign]
    world.responses.background.run(queued["id"])
    failed = world.responses.get(queued["id"])
    assert (failed["status"], images(failed)[0]["status"]) == ("failed", "failed")
    checked(world.responses.background.events(queued["id"]))


def test_a_stream_whose_function_dies_is_failed_soon_with_what_was_drawn() -> None:
    world = World(calls(call(0, prompt="a cat"), call(1, prompt="a dog")), "Here.")
    stream = world.responses.stream({"input": "a cat", "tools": [DRAW]})
    seen: list[Body] = []
    while [event["type"] for event in seen].count("response.image_generation_call.completed") < 2:
        seen.append(next(stream))
    response_id = seen[0]["response"]["id"]
    assert world.responses.get(response_id)["status"] == "in_progress"
    world.clock.advance(61)
    failed = world.responses.get(response_id)
    Response.model_validate(failed)
    assert failed["status"] == "failed"
    assert [item["status"] for item in images(failed)] == ["completed"] * 2
    assert all(opened(item["result"]) for item in images(failed))
    assert len(world.art.requests) == 2


def test_a_cancelled_response_cancels_its_drawing() -> None:
    world = World(calls(call(prompt="a cat", action="generate")), "Here.", held=True)
    conversation = world.robot.conversations.create("local").id
    events: list[Body] = []
    drawing = threading.Event()
    stream = world.responses.stream(
        {"input": "a cat", "tools": [DRAW], "conversation": conversation}
    )

    def read() -> None:
        for event in stream:
            events.append(event)
            if event["type"] == "response.image_generation_call.in_progress":
                drawing.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert drawing.wait(10)
    stream.close()
    reader.join(10)
    assert not reader.is_alive()
    for job in world.robot.conversations.turns(conversation):
        assert job.status == "canceled"


def test_an_image_that_nobody_draws_is_given_up_in_time() -> None:
    world = World(calls(call(prompt="a cat", action="generate")), "Sorry.", held=True)
    response = world.ask("a cat")
    (item,) = images(response)
    assert (item["status"], item["error"]["code"]) == ("failed", "job_expired")
    assert text(response) == "Sorry."
    assert world.robot.jobs.get(item["job_id"], "local").status.final


def test_without_the_tool_the_past_is_told_in_words() -> None:
    world = World("no", "Nice.")
    first = world.ask("a photo of a cat", **FORCED)
    world.responses.create({"input": "Name it.", "previous_response_id": first["id"]})
    told = [message["content"] for message in world.chat.requests[-1]["messages"]]
    assert told == ["a photo of a cat", "[I drew a picture: a photo of a cat]", "Name it."]


def test_usage_adds_up_over_the_rounds() -> None:
    used = {"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}}
    world = World({**calls(call(prompt="a cat")), **used}, {**calls(text="Done."), **used})
    assert world.ask("a cat")["usage"]["total_tokens"] == 26


def test_an_upstream_that_keeps_the_state_is_asked_in_rounds_all_the_same() -> None:
    world = World(calls(call(prompt="a cat")), "Here.")
    world.responses = Responses(
        world.chat,
        store=world.robot.response_store,
        draws=world.robot.draws,
        clock=world.clock,
        options=Options(mode="responses"),
    )
    response = world.ask("a cat", max_tool_calls=1)
    assert types(response) == ["image_generation_call", "message"]


def test_what_a_response_drew_is_deleted_with_it() -> None:
    world = World("no", "no")
    conversation = world.robot.conversations.create("local").id
    response = world.ask("a cat", conversation=conversation, **FORCED)
    (item,) = images(response)
    with pytest.raises(NotFound):
        world.responses.delete(response["id"], "other")
    world.responses.delete(response["id"])
    job = world.robot.jobs.get(item["job_id"], "local")
    assert job.deleted
    assert world.responses.conversations.items(conversation) == []
    other = images(world.ask("a dog", conversation=conversation, **FORCED))[0]
    found = world.responses.conversations.delete_item(conversation, other["id"])
    assert found is not None
    assert found.id == other["job_id"]


def test_the_conversation_of_a_deleted_image_goes_when_nothing_else_is_in_it() -> None:
    world = World("no", "no")
    first = world.ask("a cat", **FORCED)
    second = world.ask("make it blue", previous_response_id=first["id"], **FORCED)
    assert len(world.robot.conversations.of_tenant("local")[0]) == 1
    world.responses.delete(second["id"])
    assert len(world.robot.conversations.of_tenant("local")[0]) == 1
    alone = world.ask("a dog", **FORCED)
    assert len(world.robot.conversations.of_tenant("local")[0]) == 2
    world.responses.delete(alone["id"])
    assert len(world.robot.conversations.of_tenant("local")[0]) == 1


def test_without_a_language_model_a_forced_image_follows_the_rules() -> None:
    world = World(Misconfigured("No language model is configured."))
    (item,) = images(world.ask("画一只猫", **FORCED))
    assert item["revised_prompt"] == "a cat"


class Scripted:
    """Somebody who draws as told: a job's states, one a look."""

    def __init__(self, job: Job, *looks: dict[str, Any]) -> None:
        self.job = job
        self.looks = list(looks)
        self.orders: list[Order] = []

    def check(self, tool: Any, param: str, tenant: str) -> None: ...

    def check_image(self, text: str, param: str) -> None: ...

    def usage(self, job: Job) -> Body:
        return usage("a cat", [(64, 64)], changing=False)

    def accept(self, order: Order) -> Job:
        self.orders.append(order)
        return self.job

    def look(self, job: Job) -> Job:
        return job.model_copy(update=self.looks.pop(0))

    def preview(self, job: Job) -> bytes | None:
        return job.preview.encode() if job.preview else None

    def image(self, job: Job) -> bytes:
        return b"all of it"

    def cancel(self, job: Job) -> None: ...

    def delete(self, job_id: str, tenant: str) -> None: ...


def test_previews_are_told_while_it_is_drawn_and_replayed() -> None:
    world = World(calls(call(prompt="a cat")), "Here.")
    job = world.robot.chat_text2image("a cat", width=64, height=64)
    draws = Scripted(
        job.model_copy(update={"status": JobStatus.QUEUED}),
        {"status": JobStatus.QUEUED},
        {"status": JobStatus.RUNNING},
        {"preview": "one"},
        {"preview": "one"},
        {"preview": "two"},
        {"preview": "three"},
        {"status": JobStatus.SUCCEEDED},
    )
    world.responses = Responses(
        world.chat,
        store=world.robot.response_store,
        draws=draws,
        clock=world.clock,
        enqueue=lambda response_id, tenant: world.queue.append(response_id),
    )
    queued = world.ask("a cat", tools=[{**DRAW, "partial_images": 2}], background=True)
    world.responses.background.run(queued["id"])
    events = checked(world.responses.background.events(queued["id"]))
    place = [event for event in events if event.get("output_index") == 0]
    assert kinds(place)[1:-1] == [
        "image_generation_call.in_progress",
        "image_generation_call.generating",
        "image_generation_call.partial_image",
        "image_generation_call.partial_image",
        "image_generation_call.completed",
    ]
    partial = [event for event in place if "partial_image_b64" in event]
    assert [base64.b64decode(event["partial_image_b64"]) for event in partial] == [b"one", b"two"]
    assert [event["partial_image_index"] for event in partial] == [0, 1]
    assert base64.b64encode(b"one").decode() not in world.stored()
    (order,) = draws.orders
    assert order.message == "a cat"


def test_what_was_drawn_is_in_the_usage_of_tools() -> None:
    both = calls(*(call(n, prompt="a cat", action="generate") for n in range(2)))
    response = World(both, "Here.").ask("a cat and a dog")
    used = response["tool_usage"]["image_gen"]
    assert used["output_tokens"] == 2 * 4
    assert used["input_tokens_details"] == {"text_tokens": 4, "image_tokens": 0}
    assert used["total_tokens"] == used["input_tokens"] + used["output_tokens"]
    assert World("Words.").ask("hello")["tool_usage"] is None


def test_an_upstream_that_fails_after_an_image_leaves_a_failed_response_with_it() -> None:
    world = World(calls(call(prompt="a cat")), UpstreamUnavailable("It is gone."))
    response = world.ask("a cat")
    assert (response["status"], response["error"]["message"]) == ("failed", "It is gone.")
    assert opened(images(response)[0]["result"])
    assert world.responses.get(response["id"]) == response


GIF = "data:image/gif;base64," + base64.b64encode(b"GIF89a" + bytes(20)).decode()


@pytest.mark.parametrize(
    "image",
    [
        *("", "x", "file:///etc/passwd", "data:image/png;base64,!!!", "http://10.0.0.1/a.png"),
        base64.b64encode(b"hello").decode(),
        "robotchat-image:tenants/other/x",
    ],
)
def test_an_image_that_is_none_is_refused_before_anything_is_asked(image: str) -> None:
    world = World()
    part = {"type": "input_image", "image_url": image}
    sent = {"role": "user", "content": [{"type": "input_text", "text": "make it blue"}, part]}
    with pytest.raises(InvalidRequest) as caught:
        world.ask([sent], **FORCED)
    assert caught.value.param == "input[0].content[1].image_url"
    back = {"type": "image_generation_call", "id": "ig_x", "result": image, "status": "completed"}
    with pytest.raises((InvalidRequest, NotFound)) as caught_back:
        world.ask([back, {"role": "user", "content": "make it blue"}], **FORCED)
    assert str(caught_back.value.param).startswith("input[0].")
    with pytest.raises(InvalidRequest) as caught:
        world.ask("blue", tools=[{**DRAW, "input_image_mask": {"image_url": image}}])
    assert caught.value.param == "tools[0].input_image_mask"
    assert world.chat.requests == []


def test_the_model_may_look_at_what_nobody_can_change() -> None:
    part = {"type": "input_image", "image_url": GIF}
    response = World("A cat.").ask([{"role": "user", "content": [part]}])
    assert text(response) == "A cat."


@pytest.mark.parametrize("form", ["id", "reference", "whole"])
def test_an_image_that_was_deleted_is_unknown_unless_it_is_sent(form: str) -> None:
    world = World(calls(call(prompt="a cat")), "Here.")
    (item,) = images(world.ask("a cat"))
    world.robot.delete_job(item["job_id"])
    given = {
        "id": {"type": "image_generation_call", "id": item["id"]},
        "reference": {"type": "item_reference", "id": item["id"]},
        "whole": item,
    }[form]
    said = [given, {"role": "user", "content": "make it blue"}]
    if form == "whole":
        assert images(world.ask(said, **FORCED))[0]["action"] == "edit"
        return
    with pytest.raises(NotFound) as caught:
        world.ask(said, **FORCED)
    assert caught.value.param == "input[0].id"


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("x", "tool_choice"),
        ({"type": "function", "name": "nope"}, "tool_choice"),
        ({"type": "custom", "name": "nope"}, "tool_choice"),
        ({"type": "shell"}, "tool_choice"),
        ({"type": "allowed_tools", "mode": "x", "tools": [DRAW]}, "tool_choice.mode"),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, "tool_choice.tools"),
        ({"type": "allowed_tools"}, "tool_choice.tools"),
        (
            {"type": "allowed_tools", "tools": [DRAW, {"type": "function", "name": "nope"}]},
            "tool_choice.tools[1]",
        ),
    ],
)
def test_a_choice_of_tools_must_be_one(choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        World().ask("a cat", tool_choice=choice)
    assert caught.value.param == param


def test_a_tool_that_is_not_among_the_allowed_ones_draws_nothing() -> None:
    world = World(calls(call(prompt="a cat")))
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER]}
    world.ask("a cat", tools=[DRAW, WEATHER], tool_choice=allowed)
    assert world.art.requests == []


def test_fields_of_the_tool_may_be_null() -> None:
    names = ("action", "n", "quality", "input_fidelity", "input_image_mask", "complexity", "model")
    world = World(calls(call(prompt="a cat", action="generate")), "Here.")
    response = world.ask("a cat", tools=[{**DRAW, **dict.fromkeys(names)}])
    assert images(response)[0]["status"] == "completed"
    assert response["tools"][0]["action"] == "auto"
