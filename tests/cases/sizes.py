"""Whatever passes the door reaches a final state, at sizes around every bound: the same property
over memory and over DynamoDB."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import RobotchatError
from robotchat.events.event import Event
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.store import INLINE_BYTES
from robotchat.lifecycle.inputs import MAX_FIELDS_BYTES, MAX_METADATA_BYTES
from robotchat.lifecycle.queue_messages import accept
from robotchat.records import MAX_RECORD_BYTES, Records
from robotchat.robot import Robot
from robotchat.settings import Settings
from robotchat.text import json_size
from robotchat.views import Viewer
from tests.cases.clock import FakeClock
from tests.cases.limits import HeldQueue

SMALL = {"steps": 1, "width": 64, "height": 64}
LETTERS = ("x", "é", "海", "𝄞", "\x00", '"', "\u2028", "{", " ")
BOUNDS = (4_000, 20_000, MAX_METADATA_BYTES, INLINE_BYTES, MAX_FIELDS_BYTES, MAX_RECORD_BYTES)
FIELDS = ("prompt", "negative_prompt", "hr_prompt", "an_extensions_own", "comments", "script_args")
PARTS = ("message", "metadata", *FIELDS, "alwayson_scripts", "override_settings", "styles")
TALK = ("infotext", "checkpoint", "params", "nothing")


@dataclass(frozen=True)
class Size:
    """So many bytes of a letter, as JSON."""

    letter: str
    bytes: int

    @property
    def text(self) -> str:
        each = len(json.dumps(self.letter, ensure_ascii=False).encode()) - 2
        return self.letter * max(self.bytes // each, 1)


sizes = st.builds(
    Size,
    st.sampled_from(LETTERS),
    st.builds(lambda bound, off: bound + off, st.sampled_from(BOUNDS), st.integers(-80, 80)),
)


def large(part: str, text: str) -> dict[str, Any]:
    """A1111 fields of which one is as large as this."""
    values: dict[str, Any] = {
        "comments": {"note": text},
        "script_args": [text],
        "alwayson_scripts": {"an extension": {"args": [text]}},
        "override_settings": {"CLIP_stop_at_last_layers": 1, "an_option": text},
        "styles": [text[start : start + 200] for start in range(0, min(len(text), 10_000), 200)],
    }
    return {part: values.get(part, text)}


class World:
    """A robot whose jobs are run by the test, on a host that may say much."""

    def __init__(self, records: Records, talk: str, said: str) -> None:
        self.art = FakeArt()
        self.art.enqueue([lambda body: self._talk(self.art.drawn(body), talk, said)] * 10)
        self.queue = HeldQueue()
        self.images = MemoryImages()
        self.robot = Robot(
            art=self.art,
            records=records,
            images=self.images,
            queue=self.queue,
            settings=Settings(max_attempts=2, retry_base=0.001),
            clock=FakeClock(),
        )

    @staticmethod
    def _talk(answer: dict[str, Any], talk: str, said: str) -> dict[str, Any]:
        info = json.loads(answer["info"])
        if talk == "infotext":
            info["infotexts"] = [said for _ in info["infotexts"]]
        elif talk == "checkpoint":
            info["sd_model_name"] = said
        elif talk == "params":
            info["extra_generation_params"]["An extension"] = said
        return {**answer, "info": json.dumps(info)}

    def run(self, job: Job) -> Job:
        for _ in range(10):
            if job.status.final:
                break
            self.robot.clock.sleep(60)
            job = self.robot.run(job.id)
        return job

    def check(self, job: Job) -> None:
        """The job has ended, and all that is to be seen of it can be seen."""
        assert job.status.final, job.status
        found = self.robot.jobs.get(job.id, job.tenant)
        assert found.model_copy(update={"file": None}) == job.model_copy(update={"file": None})
        viewer = Viewer(self.images, link_ttl=60, clock=self.robot.clock)
        assert viewer.job(found).model_dump_json()
        listed, _ = self.robot.jobs.of_tenant(job.tenant)
        assert job.id in [one.id for one in listed]
        assert sum(json_size(viewer.job(one).model_dump(mode="json")) for one in listed) < 4_000_000
        assert json_size(Event.of(found).model_dump(mode="json")) < 200_000
        if job.status is JobStatus.SUCCEEDED:
            assert self.robot.drawing(found).images


class SizesCases:
    """Inherit it, and give ``new_records`` a store that is empty."""

    examples = 60

    def new_records(self) -> Records:
        raise NotImplementedError

    def property_of(self, test: Any, *strategies: st.SearchStrategy[Any]) -> None:
        """Check a property for so many examples, the same ones every time."""
        settings(
            max_examples=self.examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(given(*strategies)(test))()

    def test_a_message_is_a_final_job_however_large_it_is(self) -> None:
        def holds(part: str, size: Size, talk: str, said: Size, chat: bool) -> None:
            world = World(self.new_records(), talk, said.text)
            message: dict[str, Any] = {"tenant": "acme", "metadata": {}}
            fields = {**SMALL, **(large(part, size.text) if part not in PARTS[:2] else {})}
            if chat:
                fields.pop("prompt", None)
                said_here = size.text if part == "message" else "a red barn"
                message |= {"kind": "chat_text2image", "message": said_here, "settings": fields}
            else:
                message |= {"kind": "text2image", "request": {"prompt": "a barn", **fields}}
            if part == "metadata":
                message["metadata"] = {"x": size.text}
            job = accept(world.robot.intake, json.dumps(message), message_id="m-1")
            world.check(world.run(job))

        self.property_of(
            holds,
            st.sampled_from(PARTS),
            sizes,
            st.sampled_from(TALK),
            sizes,
            st.booleans(),
        )

    def test_a_request_is_refused_at_the_door_or_is_a_final_job(self) -> None:
        def holds(first: str, second: str, size: Size, count: int) -> None:
            world = World(self.new_records(), "nothing", "")
            fields = {"prompt": "a barn", **SMALL, "n_iter": count}
            fields |= large(first, size.text) | large(second, size.text)
            refused = None
            try:
                request = Text2ImageRequest.parse(fields)
                job = world.robot.text2image(request, tenant="acme")
            except RobotchatError as error:
                refused = error
            if refused is None:
                world.check(job)
            else:
                assert refused.status in (413, 422), refused.message
                listed, _ = world.robot.jobs.of_tenant("acme")
                assert all(one.status.final for one in listed)

        self.property_of(
            holds,
            st.sampled_from(FIELDS),
            st.sampled_from(FIELDS),
            sizes,
            st.sampled_from([1, 2, 32]),
        )

    def test_turns_that_take_over_large_settings_are_final_jobs(self) -> None:
        def holds(part: str, size: Size, turns: int) -> None:
            world = World(self.new_records(), "infotext", size.text)
            conversation = world.robot.conversations.create("acme").id
            jobs = []
            for number in range(turns):
                message = {
                    "kind": "chat_text2image",
                    "tenant": "acme",
                    "conversation_id": conversation,
                    "message": f"with house number {number}",
                    "settings": {**SMALL, **large(part, size.text)},
                }
                text = json.dumps(message)
                jobs.append(accept(world.robot.intake, text, message_id=f"m-{number}"))
            for job in jobs:
                world.check(world.run(world.robot.jobs.get(job.id, "acme")))

        self.property_of(
            holds,
            st.sampled_from(("negative_prompt", "an_extensions_own", "comments", "styles")),
            sizes,
            st.integers(2, 3),
        )

    @pytest.mark.parametrize("letter", ["x", "海"])
    def test_each_bound_is_told_with_its_limit(self, letter: str) -> None:
        world = World(self.new_records(), "nothing", "")
        for fields, most in (
            ({"metadata": {"x": Size(letter, MAX_METADATA_BYTES).text}}, MAX_METADATA_BYTES),
            (
                {"request": {"comments": {"note": Size(letter, MAX_FIELDS_BYTES).text}}},
                MAX_FIELDS_BYTES,
            ),
        ):
            message = {"kind": "text2image", "tenant": "acme", "request": {"prompt": "x"}} | fields
            job = accept(world.robot.intake, json.dumps(message), message_id=f"m-{most}")
            assert job.error
            assert job.error.code == "payload_too_large"
            assert str(most) in job.error.message
