"""What one tenant owns does not exist for another: every endpoint that takes an id, over HTTP.

The endpoints are those of the OpenAPI document. One that takes an id which is not known here
fails, so that no new endpoint goes untested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev import llm
from robotchat.aws.keys import create_key
from robotchat.aws.operator import local_table
from robotchat.drivers.fake import FakeArt
from robotchat.images import decode_base64
from tests.local_stack import RunningStack, wait_until

IMAGE: str = FakeArt().drawn({"prompt": "x", "width": 64, "height": 64})["images"][0]
SMALL = {"steps": 1, "width": 64, "height": 64}

KNOWN_PARAMETERS = {"job_id", "conversation_id", "item_id", "response_id", "delivery_id"}
NO_IDS = {"model", "force_task_id", "idempotency_key", "last_event_id"}
"""Names of models, what the web UI's clients send for themselves, keys that a tenant has of its own
(tested below), and how far a client has read of what it may read."""
BODY_FIELDS = {"conversation_id", "conversation", "previous_response_id", "image", "init_images"}


@dataclass
class Tenants:
    """A stack on which one tenant owns something of every kind, and another is curious."""

    stack: RunningStack
    owner: httpx.Client
    other: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    """What must be in no answer to the other one."""


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    with llm.running() as upstream:
        stack = RunningStack(
            tmp_path_factory.mktemp("isolation"),
            {
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_KEY": "sk-upstream",
                "OPENAI_MODEL": "stand-in",
            },
        ).start()
        try:
            with (
                httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as owner,
                httpx.Client(
                    base_url=stack.api_url,
                    headers={"x-api-key": new_key(stack, "curious")},
                    timeout=60,
                ) as other,
            ):
                made = Tenants(stack, owner, other)
                furnish(made)
                yield made
        finally:
            stack.stop()


def new_key(stack: RunningStack, tenant: str) -> str:
    return create_key(local_table(stack.state), tenant)[0]


def furnish(tenants: Tenants) -> None:
    """Make the owner a job, a conversation, a response, an upload and a delivery."""
    owner = tenants.owner
    upload = owner.post(
        "/v1/uploads", json={"content_type": "image/png", "size": len(decode_base64(IMAGE))}
    ).json()
    httpx.put(
        upload["url"], content=decode_base64(IMAGE), headers=upload["headers"]
    ).raise_for_status()
    job = owner.post(
        "/v1/chat/text2image",
        json={
            "message": "a very private beach",
            "settings": SMALL,
            "metadata": {"note": "very-private"},
            # Nobody listens there: a delivery that goes on being tried is one that can be read.
            "webhook": "http://127.0.0.1:9/very-private",
        },
    ).json()
    response = owner.post(
        "/v1/responses", json={"model": "stand-in", "input": "very private words"}
    ).json()
    tenants.ids = {
        "job_id": job["id"],
        "conversation_id": job["conversation_id"],
        "response_id": response["id"],
        "upload_id": upload["id"],
    }

    def ended() -> bool:
        seen = owner.get(f"/v1/jobs/{job['id']}").json()
        return bool(seen["status"] == "succeeded")

    def delivered() -> bool:
        found = owner.get("/v1/webhook-deliveries", params={"job_id": job["id"]}).json()["data"]
        if found:
            tenants.ids["delivery_id"] = found[0]["id"]
        return bool(found)

    wait_until(ended, "the job", timeout=60)
    wait_until(delivered, "the delivery", timeout=60)
    items = owner.get(
        f"/v1/conversations/{job['conversation_id']}/items", params={"order": "asc"}
    ).json()
    tenants.ids["item_id"] = items["first_id"]
    tenants.words = ["very private", "very-private", *tenants.ids.values()]


@dataclass(frozen=True)
class Operation:
    """An endpoint of the document, and the ids that it takes."""

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]


def document() -> dict[str, Any]:
    text = (Path(__file__).parents[2] / "docs/openapi.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def operations() -> list[Operation]:
    described = document()
    found = []
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if operation["tags"] == ["Operation"]:
                continue  # operators see all tenants: tests/functions/test_administration.py
            parameters = tuple(
                (one["in"], one["name"])
                for one in operation.get("parameters", ())
                if one["in"] == "path" or _is_id(one["name"].replace("-", "_"))
            )
            fields = set()
            for content in operation.get("requestBody", {}).get("content", {}).values():
                fields |= set(_properties(content["schema"], described["components"]["schemas"]))
            ids = tuple(sorted(name for name in fields if _is_id(name) or name in BODY_FIELDS))
            found.append(Operation(method.upper(), path, parameters, ids))
    return found


def _is_id(name: str) -> bool:
    return name.endswith(("_id", "_key")) and name not in NO_IDS


def _properties(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    for choice in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(choice, ()):
            yield from _properties(part, schemas)
    yield from schema.get("properties", ())


BY_PATH = [
    operation
    for operation in operations()
    if any(where == "path" and name not in NO_IDS for where, name in operation.parameters)
]
BY_QUERY = [
    (operation, name)
    for operation in operations()
    for where, name in operation.parameters
    if where == "query"
]
LISTS = [
    operation.path
    for operation in operations()
    if operation.method == "GET" and "{" not in operation.path
]


def test_every_id_that_an_endpoint_takes_is_known_here() -> None:
    for operation in operations():
        for where, name in operation.parameters:
            if where in ("path", "query") and name not in NO_IDS:
                assert name in KNOWN_PARAMETERS, f"{operation}: test what {name} gives away"
        unknown = set(operation.fields) - BODY_FIELDS
        assert not unknown, f"{operation}: test what {unknown} give away"
    # Families of whole objects, so that none is lost by a change of its name.
    assert {name for one in BY_PATH for _, name in one.parameters} == KNOWN_PARAMETERS


def without_ids(answer: httpx.Response) -> dict[str, Any]:
    """An answer's status, type and body, without what differs from request to request."""
    body = re.sub(r'"request_id": ?"[^"]*"', "", answer.text)
    body = re.sub(r"(job|conv|resp|dlv|del|upload|msg|whd)[a-z]*_[A-Za-z0-9]+", "ID", body)
    return {
        "status": answer.status_code,
        "type": answer.headers["content-type"],
        "body": body,
    }


def made_up(known: str) -> str:
    """An id of the same kind that nobody has."""
    kind, _, rest = known.partition("_")
    return f"{kind}_{rest[::-1]}"


@pytest.mark.parametrize("operation", BY_PATH, ids=lambda one: f"{one.method} {one.path}")
def test_another_tenants_id_in_a_path_is_not_found(operation: Operation, tenants: Tenants) -> None:
    writes = operation.method in ("POST", "PUT")
    body = {"metadata": {}, "items": [{"role": "user", "content": "x"}]} if writes else None
    theirs, nobodys = (
        tenants.other.request(operation.method, operation.path.format(**ids), json=body)
        for ids in (tenants.ids, {name: made_up(known) for name, known in tenants.ids.items()})
    )
    assert theirs.status_code == 404
    assert without_ids(theirs) == without_ids(nobodys), "nothing tells that there is such a thing"
    assert not any(word in theirs.text for word in tenants.words[:2])


@pytest.mark.parametrize(
    ("operation", "name"),
    BY_QUERY,
    ids=[f"{one.method} {one.path} {name}" for one, name in BY_QUERY],
)
def test_another_tenants_id_in_a_query_finds_nothing(
    operation: Operation, name: str, tenants: Tenants
) -> None:
    theirs, nobodys = (
        tenants.other.request(operation.method, operation.path, params={name: value})
        for value in (tenants.ids[name], made_up(tenants.ids[name]))
    )
    assert without_ids(theirs) == without_ids(nobodys)
    if theirs.status_code == 200:
        assert theirs.json()["data"] == []
    else:
        assert theirs.status_code == 404
    assert not any(word in theirs.text for word in tenants.words[:2])


@pytest.mark.parametrize("path", LISTS)
def test_nothing_that_can_be_read_without_an_id_tells_of_another_tenant(
    path: str, tenants: Tenants
) -> None:
    answer = tenants.other.get(path)
    assert answer.status_code < 500
    assert not any(word in answer.text for word in tenants.words)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/chat/text2image", {"message": "more"}, "conversation_id"),
        ("/v1/chat/image2image", {"message": "more"}, "conversation_id"),
        ("/v1/responses", {"model": "stand-in", "input": "more"}, "conversation"),
        ("/v1/responses", {"model": "stand-in", "input": "more"}, "previous_response_id"),
    ],
)
def test_another_tenants_conversation_cannot_be_continued(
    path: str, body: dict[str, Any], name: str, tenants: Tenants
) -> None:
    known = tenants.ids["response_id" if name == "previous_response_id" else "conversation_id"]
    theirs, nobodys = (
        tenants.other.post(path, json={**body, name: value}) for value in (known, made_up(known))
    )
    assert theirs.status_code == 404
    assert without_ids(theirs) == without_ids(nobodys)


UNIT = {"enabled": True, "module": "canny", "model": "control_v11p_sd15_canny"}
"""A ControlNet unit that draws; what is in one that is switched off nobody reads."""


@pytest.mark.parametrize(
    "reference", ["{upload_id}", "robotchat-image:tenants/dev/uploads/{upload_id}"]
)
def test_another_tenants_upload_cannot_be_drawn_upon(reference: str, tenants: Tenants) -> None:
    image = reference.format(**tenants.ids)
    own = tenants.owner.post(
        "/sdapi/v1/img2img", json={**SMALL, "init_images": [tenants.ids["upload_id"]]}
    )
    assert own.status_code == 200
    for body in (
        {"init_images": [image]},
        {"init_images": [IMAGE], "mask": image},
        {
            "init_images": [IMAGE],
            "alwayson_scripts": {"controlnet": {"args": [{**UNIT, "image": image}]}},
        },
    ):
        answer = tenants.other.post("/sdapi/v1/img2img", json={**SMALL, **body})
        assert answer.status_code == 422, answer.text
    turn = {"message": "bluer", "image": image, "settings": SMALL}
    answer = tenants.other.post("/v1/chat/image2image", json=turn)
    if answer.status_code == 202:
        job = answer.json()

        def ended() -> bool:
            job.update(tenants.other.get(job["links"]["self"]).json())
            return job["status"] in ("succeeded", "failed")

        wait_until(ended, "the job", timeout=60)
        assert (job["status"], job["error"]["code"]) == ("failed", "invalid_image")
    else:
        assert answer.status_code == 422


def test_another_tenants_upload_cannot_be_edited_as_openai_has_it(tenants: Tenants) -> None:
    upload = tenants.ids["upload_id"]
    private = f"robotchat-image:tenants/dev/uploads/{upload}"

    def edit(client: httpx.Client, image: dict[str, str]) -> httpx.Response:
        body = {"prompt": "bluer", "images": [image], "size": "64x64"}
        return client.post("/v1/images/edits", json=body)

    assert edit(tenants.owner, {"file_id": upload}).status_code == 200
    theirs, nobodys = (edit(tenants.other, {"file_id": one}) for one in (upload, made_up(upload)))
    assert 400 <= theirs.status_code < 500
    assert without_ids(theirs) == without_ids(nobodys)
    assert edit(tenants.other, {"image_url": private}).status_code in (400, 422)


def test_another_tenants_drawing_cannot_be_edited_by_its_item(tenants: Tenants) -> None:
    tool = {"type": "image_generation", "size": "64x64", "quality": "low"}
    asked = {"model": "stand-in", "tools": [tool], "tool_choice": {"type": "image_generation"}}
    change = {"role": "user", "content": "make it blue"}

    def say(client: httpx.Client, *items: dict[str, Any]) -> httpx.Response:
        return client.post("/v1/responses", json={**asked, "input": list(items)})

    drawn = say(tenants.owner, {"role": "user", "content": "a very private cat"})
    assert drawn.status_code == 200, drawn.text
    (item,) = (one for one in drawn.json()["output"] if one["type"] == "image_generation_call")
    assert item["status"] == "completed"
    reference = {"type": "image_generation_call", "id": item["id"]}
    own = say(tenants.owner, reference, change)
    assert own.status_code == 200, own.text
    for given in (reference, {**item, "result": None}, {**reference, "type": "item_reference"}):
        foreign = {name: made_up(str(given[name])) for name in ("id", "job_id") if name in given}
        theirs, nobodys = (say(tenants.other, one, change) for one in (given, {**given, **foreign}))
        assert theirs.status_code == nobodys.status_code
        assert without_ids(theirs)["type"] == without_ids(nobodys)["type"]
        assert "very private" not in theirs.text
        if theirs.status_code == 200:
            # An item whose picture nobody finds is words at most; what is drawn is another cat's.
            (again,) = (o for o in theirs.json()["output"] if o["type"] == reference["type"])
            assert again["action"] == "generate"


def test_an_idempotency_key_is_the_tenants_own(tenants: Tenants) -> None:
    def send(client: httpx.Client) -> httpx.Response:
        return client.post(
            "/v1/chat/text2image",
            json={"message": "a very private castle", "settings": SMALL},
            headers={"idempotency-key": "the-same"},
        )

    theirs, mine = send(tenants.owner), send(tenants.other)
    assert (theirs.status_code, mine.status_code) == (202, 202)
    assert theirs.json()["id"] != mine.json()["id"]
    assert theirs.json()["conversation_id"] != mine.json()["conversation_id"]


def test_the_owner_still_has_all_of_it(tenants: Tenants) -> None:
    job = tenants.owner.get(f"/v1/jobs/{tenants.ids['job_id']}").json()
    assert (job["status"], len(job["images"])) == ("succeeded", 1)
    for path in ("/v1/conversations/{conversation_id}", "/v1/responses/{response_id}"):
        assert tenants.owner.get(path.format(**tenants.ids)).status_code == 200
