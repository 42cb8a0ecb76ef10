"""Pictures in requests: what is stored, what is loaded, and what must never be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from robotchat.drivers.fake import FakeArt
from robotchat.errors import ForbiddenUrl, InvalidImage, InvalidRequest, JobExpired
from robotchat.images import MemoryImages, decode_base64, encode_base64
from robotchat.jobs.job import Job, JobKind
from robotchat.lifecycle import inputs
from robotchat.settings import Settings

CAT: str = FakeArt().drawn({"prompt": "a cat"})["images"][0]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
JOB = Job(id="job_1", kind=JobKind.IMAGE2IMAGE, tenant="acme", created_at=NOW, expires_at=NOW)


def controlnet(**unit: Any) -> dict[str, Any]:
    return {"alwayson_scripts": {"controlnet": {"args": [unit]}}}


def store(body: dict[str, Any], images: MemoryImages | None = None) -> tuple[dict[str, Any], int]:
    return inputs.store_images(body, JOB, images or MemoryImages(), Settings())


def load(body: dict[str, Any], images: MemoryImages, tenant: str = "acme") -> dict[str, Any]:
    return inputs.load_images(body, tenant, images, Settings())


@pytest.mark.parametrize(
    "body",
    [
        {"init_images": [CAT], "mask": CAT},
        {"init_images": ["data:image/png;base64," + CAT]},
        controlnet(image=CAT),
        controlnet(image={"image": CAT, "mask": CAT}),
        {"script_args": [1, "text", CAT]},
    ],
)
def test_an_image_leaves_the_record_and_comes_back(body: dict[str, Any]) -> None:
    images = MemoryImages()
    stored, size = store({"prompt": "x", **body}, images)
    assert CAT not in str(stored)
    assert size == len(decode_base64(CAT)), "the same picture twice is stored once"
    assert CAT in str(load(stored, images))


def test_words_stay_words() -> None:
    words = {
        "prompt": "http://10.0.0.1/ robotchat-image:x upload_x",
        "styles": ["http://x"],
        "comments": {"from": "https://localhost/"},
        "sampler_name": "https://localhost/",
        "override_settings": {"sd_vae": "https://localhost/"},
    }
    images = MemoryImages()
    assert store(words, images) == (words, 0)
    assert load(words, images) == words


@pytest.mark.parametrize("field", ["init_images", "mask", "script_args"])
def test_a_reference_that_the_caller_made_up_is_refused_in_any_field(field: str) -> None:
    made_up = "robotchat-image:tenants/other/jobs/job_9/0.png"
    with pytest.raises(InvalidImage):
        store({field: made_up})
    with pytest.raises(InvalidImage):
        store(controlnet(**{field: made_up}))


@pytest.mark.parametrize(
    "key", ["tenants/other/jobs/job_9/0.png", "tenants/acme2/jobs/job_9/0.png", "x"]
)
def test_another_tenants_image_is_not_loaded_whoever_wrote_the_record(key: str) -> None:
    images = MemoryImages()
    images.put(key, b"secret", "image/png")
    with pytest.raises(InvalidImage):
        load({"init_images": [inputs.reference(key)]}, images)


@pytest.mark.parametrize(
    "body",
    [
        {"init_images": ["http://169.254.169.254/latest/meta-data/"]},
        {"mask": "https://localhost/x.png"},
        controlnet(image="https://10.0.0.5/x.png"),
        controlnet(effective_region_mask="http://example.com/x.png"),
        controlnet(image={"image": "https://[::1]/x.png"}),
        {"script_args": ["http://sd-host.internal:7860/"]},
        {"script_args": [1, {"a": " HTTPS://example.com/x.png"}]},
        {"alwayson_scripts": {"mine": {"args": ["https://example.com/x.png"]}}},
        controlnet(some_extensions_field="https://example.com/x.png"),
    ],
)
def test_no_url_that_a_host_could_fetch_reaches_it(body: dict[str, Any]) -> None:
    with pytest.raises(ForbiddenUrl):
        store(body)


def test_an_upload_is_the_tenants_own() -> None:
    images = MemoryImages()
    images.put("tenants/other/uploads/upload_abc", decode_base64(CAT), "image/png")
    with pytest.raises(InvalidImage, match="no such upload"):
        load({"init_images": ["upload_abc"]}, images)
    assert load({"init_images": ["upload_abc"]}, images, "other") == {"init_images": [CAT]}
    for made_up in ("upload_../../other/uploads/upload_abc", "upload_", "upload_a/b"):
        with pytest.raises(InvalidRequest, match="no such upload"):
            load({"init_images": [made_up]}, images)


def test_an_upload_that_is_no_image_is_refused_when_it_is_used() -> None:
    images = MemoryImages()
    images.put("tenants/acme/uploads/upload_abc", b"<svg/>", "image/png")
    with pytest.raises(InvalidImage):
        load({"init_images": ["upload_abc"]}, images)


def test_an_image_that_is_gone_says_so() -> None:
    with pytest.raises(JobExpired):
        load({"init_images": [inputs.reference("tenants/acme/jobs/job_1/0.png")]}, MemoryImages())


def test_the_record_of_what_was_sent_holds_references_and_no_images() -> None:
    images = MemoryImages()
    asked = {"prompt": "http://x", "init_images": [CAT], "script_args": [CAT]}
    recorded, _ = store({**asked, **controlnet(image=CAT)}, images)
    sent = {**load(recorded, images), "seed": 7}
    assert inputs.with_references(sent, recorded) == {**recorded, "seed": 7}


def test_a_text_that_only_looks_like_base64_stays_as_it_is() -> None:
    text = encode_base64(b"no picture" * 200)
    assert store({"script_args": [text]}) == ({"script_args": [text]}, 0)


@pytest.mark.parametrize(
    ("checkpoint", "size"),
    [
        (None, (624, 624)),
        ("v1-5-pruned-emaonly", (624, 624)),
        ("sd_xl_base_1.0", (1024, 1024)),
        ("ponyDiffusionV6XL_v6StartWithThisOne", (1024, 1024)),
        ("flux1-dev-bnb-nf4", (1024, 1024)),
    ],
)
def test_an_image_is_scaled_to_what_its_checkpoint_draws_well(
    checkpoint: str | None, size: tuple[int, int]
) -> None:
    body = {
        "init_images": [
            FakeArt().drawn({"prompt": "a cat", "width": 64, "height": 64})["images"][0]
        ],
        "override_settings": {"sd_model_checkpoint": checkpoint} if checkpoint else {},
    }
    assert inputs.size_like_image(body) == dict(zip(("width", "height"), size, strict=True))


def test_a_very_long_image_stays_within_what_can_be_drawn() -> None:
    strip = FakeArt().drawn({"prompt": "a cat", "width": 2048, "height": 64})["images"][0]
    size = inputs.size_like_image({"init_images": [strip]})
    assert size["width"] == 2048
    assert size["height"] >= 64
    assert size["height"] % 8 == 0
