"""The ComfyUI driver and ArtBot against the stand-in ComfyUI, over real connections."""

from __future__ import annotations

import copy
import io
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from PIL import Image

from dev import comfyui
from robotchat.art.bot import ArtBot
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing
from robotchat.art.workflows import Workflow
from robotchat.drivers.comfyui import ComfyUI
from robotchat.drivers.comfyui.catalog import shipped
from robotchat.drivers.fake import plain_png
from robotchat.errors import (
    NotSupported,
    RobotchatError,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import encode_base64, png_text

SMALL: dict[str, Any] = {"prompt": "a beach", "width": 64, "height": 64, "steps": 3, "seed": 5}
CAT = encode_base64(plain_png(64, 64, "cat"))
FIRST, SECOND = "dreamshaper_8.safetensors", "v1-5-pruned-emaonly.safetensors"
OLD, NEW = "0.3.50", "0.40.0"
VERSIONS = (OLD, "0.3.60", "0.33.0", NEW)
THEIRS: dict[str, Any] = json.loads(shipped()[0].model_dump_json())["text2image"]["nodes"]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Callable[[str], comfyui.RunningComfy]]:
    """Stand-ins by version, each one for all tests."""
    with ExitStack() as stack:
        running: dict[str, comfyui.RunningComfy] = {}

        def host(version: str) -> comfyui.RunningComfy:
            if version not in running:
                running[version] = stack.enter_context(comfyui.running(version=version))
            running[version].reset()
            return running[version]

        yield host


@pytest.fixture
def host(hosts: Callable[[str], comfyui.RunningComfy]) -> comfyui.RunningComfy:
    return hosts("0.33.0")


@pytest.fixture(params=VERSIONS)
def any_host(
    request: pytest.FixtureRequest, hosts: Callable[[str], comfyui.RunningComfy]
) -> comfyui.RunningComfy:
    return hosts(request.param)


Connect = Callable[..., ComfyUI]


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(
            ComfyUI(url, **{"patience": 0.2, **options})
        )


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def words(**fields: Any) -> Text2ImageRequest:
    return Text2ImageRequest.parse({**SMALL, **fields})


def change(**fields: Any) -> Image2ImageRequest:
    return Image2ImageRequest.parse({**SMALL, "init_images": [CAT], **fields})


def their_prompt(host: comfyui.RunningComfy, **body: Any) -> str:
    """Somebody else's prompt in the queue."""
    graph = copy.deepcopy(THEIRS)
    graph["4"]["inputs"]["ckpt_name"] = FIRST
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["4", 1]
    graph["3"]["inputs"]["model"] = ["4", 0]
    del graph["10"]
    answer = httpx.post(f"{host.url}/prompt", json={"prompt": graph, **body}, trust_env=False)
    return str(answer.raise_for_status().json()["prompt_id"])


def history(host: comfyui.RunningComfy) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{host.url}/history", trust_env=False).json()
    return found


def queued(host: comfyui.RunningComfy) -> list[str]:
    told = httpx.get(f"{host.url}/queue", trust_env=False).json()
    return [item[1] for item in (*told["queue_running"], *told["queue_pending"])]


# --- what there is --------------------------------------------------------------------------------


def test_without_a_workflow_the_hosts_checkpoints_can_be_drawn_with(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    bot = ArtBot(connect(host.url))
    titles = [model.title for model in bot.get_models()]
    assert titles == [FIRST, "sd_xl_base_1.0.safetensors", SECOND, "flux1-dev.safetensors"]
    assert [lora.name for lora in bot.get_loras()] == [
        "add_detail",
        "lcm-lora-sdv1-5",
        "watercolor_style",
    ]
    names = [sampler.name for sampler in bot.get_samplers()]
    assert {"Euler a", "DPM++ 2M", "er_sde"} <= set(names)
    labels = [scheduler.label for scheduler in bot.get_schedulers()]
    assert labels[0] == "Automatic"
    assert {"Karras", "Normal", "SGM Uniform"} <= set(labels)
    capabilities = bot.driver.capabilities(FIRST)
    assert (capabilities.kind, capabilities.targeted) == ("comfyui", True)
    assert (capabilities.image2image, capabilities.mask, capabilities.loras) == (True,) * 3


def test_a_new_file_is_listed_when_it_is_asked_for(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url)
    driver.models()
    host.add_checkpoint("sub/new")
    drawing = driver.draw(words().with_checkpoint("sub/new.safetensors"))
    assert drawing.checkpoint == "new"
    assert "sub/new.safetensors" in [model.alias for model in driver.models()]


def test_what_only_looks_like_comfyui_or_is_too_old_is_refused(connect: Connect) -> None:
    with comfyui.running(device="koboldcpp") as host, pytest.raises(NotSupported, match="Kobold"):
        connect(host.url).models()
    with comfyui.running(version="0.3.40") as host, pytest.raises(NotSupported, match="too old"):
        connect(host.url).models()


def test_flux_is_not_listed_where_its_files_are_not_complete(connect: Connect) -> None:
    with comfyui.running(vaes=()) as host:
        assert FIRST in [model.alias for model in connect(host.url).models()]
        assert "flux1-dev.safetensors" not in [m.alias for m in connect(host.url).models()]


# --- drawing --------------------------------------------------------------------------------------


def test_words_become_the_images_that_were_asked_for(
    any_host: comfyui.RunningComfy, connect: Connect
) -> None:
    bot = ArtBot(connect(any_host.url))
    drawing = bot.text2image(
        **SMALL,
        negative_prompt="people",
        n_iter=2,
        cfg_scale=5,
        sampler_name="DPM++ 2M Karras",
        override_settings={"sd_model_checkpoint": "V1-5-pruned-emaonly"},
    )
    assert drawing.unverified == []
    assert drawing.checkpoint == "v1-5-pruned-emaonly"
    assert [one.seed for one in drawing.images] == [5, 6]
    assert drawing.info["all_seeds"] == [5, 6]
    first = drawing.images[0]
    assert (first.width, first.height) == (64, 64)
    assert first.infotext == (
        "a beach\nNegative prompt: people\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Karras, "
        "CFG scale: 5.0, Seed: 5, Size: 64x64, Model: v1-5-pruned-emaonly, Version: ComfyUI "
        + drawing.info["version"].partition(" ")[2]
    )
    # Neither the operator's graph nor anything else that was not asked for is in the file.
    assert png_text(first.data) == {"parameters": first.infotext}


def test_the_same_seed_gives_the_same_image_alone_and_in_a_batch(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url)
    several = driver.draw(words(batch_size=3))
    alone = driver.draw(words(seed=7))
    assert several.images[2].data == alone.images[0].data
    assert several.images[1].data != alone.images[0].data


def test_what_a_request_leaves_open_stays_as_the_workflow_has_it(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    request = Text2ImageRequest.parse({"prompt": "a beach", "seed": 1})
    drawing = connect(host.url).draw(request.with_checkpoint("flux1-dev.safetensors"))
    assert drawing.info["cfg_scale"] == 1.0
    assert "Steps: 20, Sampler: Euler, Schedule type: Simple" in drawing.images[0].infotext
    assert "Distilled CFG Scale: 3.5" in drawing.images[0].infotext
    assert (drawing.images[0].width, drawing.images[0].height) == (512, 512)


@pytest.mark.parametrize("checkpoint", [FIRST, "flux1-dev.safetensors"])
def test_an_image_and_a_mask(host: comfyui.RunningComfy, connect: Connect, checkpoint: str) -> None:
    bot = ArtBot(connect(host.url))
    drawing = bot.image2image(
        change(width=70, height=100, denoising_strength=0.9).with_checkpoint(checkpoint)
    )
    assert (drawing.images[0].width, drawing.images[0].height) == (64, 96)
    assert "Denoising strength: 0.9" in drawing.images[0].infotext
    assert drawing.unverified == []

    black, white = (encode_base64(_grey(64, value)) for value in (0, 255))
    whole = bot.image2image(
        change(denoising_strength=1, mask=white, mask_blur=0).with_checkpoint(checkpoint)
    )
    nothing = bot.image2image(
        change(denoising_strength=1, mask=black, mask_blur=0).with_checkpoint(checkpoint)
    )
    inverted = bot.image2image(
        change(
            denoising_strength=1, mask=white, mask_blur=0, inpainting_mask_invert=1
        ).with_checkpoint(checkpoint)
    )
    assert _pixels(nothing) == _pixels(inverted) != _pixels(whole)
    # Where nothing is to be drawn anew, every pixel is as it was.
    assert len(set(_pixels(nothing))) == 1


@pytest.mark.parametrize(
    ("mode", "file_format"), [("L", "PNG"), ("LA", "PNG"), ("RGB", "WEBP"), ("RGBA", "PNG")]
)
def test_an_image_arrives_as_it_is_whatever_its_file(
    host: comfyui.RunningComfy, connect: Connect, mode: str, file_format: str
) -> None:
    """LoadImage changes what is not an RGB PNG, as a film's colours would be changed."""
    file = io.BytesIO()
    Image.new(mode, (64, 64), "white").save(file, file_format, lossless=True)
    black = encode_base64(_grey(64, 0))
    drawing = connect(host.url).draw(
        change(
            init_images=[encode_base64(file.getvalue())],
            denoising_strength=1,
            mask=black,
            mask_blur=0,
        )
    )
    assert set(_pixels(drawing)) == {b"\xff\xff\xff"}


def test_each_input_image_is_one_of_the_batch(host: comfyui.RunningComfy, connect: Connect) -> None:
    several = [CAT, encode_base64(plain_png(32, 32, "dog"))]
    driver = connect(host.url)
    drawing = driver.draw(change(init_images=several, batch_size=2, denoising_strength=0))
    assert [one.seed for one in drawing.images] == [5, 6]
    assert drawing.images[0].data != drawing.images[1].data
    assert len(host.requests("upload/image")) == 2


def test_loras_are_applied_and_their_tags_are_not_drawn(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    bot = ArtBot(connect(host.url))
    bot.text2image(words(prompt="a beach <lora:add_detail:0.5><lora:watercolor_style>"))
    (sent,) = _sent(host)
    loaders = {
        node["inputs"]["lora_name"]: node["inputs"]["strength_model"]
        for node in sent.values()
        if node["class_type"] == "LoraLoader"
    }
    assert loaders == {"add_detail.safetensors": 0.5, "watercolor_style.safetensors": 1.0}
    assert sent["6"]["inputs"]["text"] == "a beach"
    with pytest.raises(UpstreamRejected) as error:
        bot.text2image(words(prompt="a beach <lora:add_detial:0.5>"))
    assert error.value.details["near_matches"] == ["add_detail"]


def test_what_a_caller_writes_is_a_value_and_nothing_else(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    wild = '["4", 0] {"__value__": 1} "%prompt%" \\u0000 {{6.text}}\n<lora:add_detail:["3",0]>'
    drawing = connect(host.url).draw(words(prompt=wild, negative_prompt='["3", 0]'))
    (sent,) = _sent(host)
    assert sent["6"]["inputs"]["text"] == wild.partition("\n")[0]
    assert sent["7"]["inputs"]["text"] == '["3", 0]'
    assert {node["class_type"] for node in sent.values()} <= {
        node["class_type"] for node in THEIRS.values()
    }
    assert drawing.images


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"enable_hr": True}, "enable_hr"),
        ({"subseed": 3, "subseed_strength": 0.5}, "subseed_strength"),
        ({"tiling": True}, "tiling"),
        ({"distilled_cfg_scale": 3}, "distilled_cfg_scale"),
        ({"styles": ["a"]}, "styles"),
    ],
)
def test_a_field_without_a_slot_is_refused(
    host: comfyui.RunningComfy, connect: Connect, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(NotSupported) as error:
        ArtBot(connect(host.url)).text2image(words(**fields).with_checkpoint(FIRST))
    assert error.value.param == param
    assert _sent(host) == []


def test_unknown_names_are_refused_before_anything_is_sent(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    bot = ArtBot(connect(host.url))
    with pytest.raises(UnknownCheckpoint):
        bot.text2image(words().with_checkpoint("nothing"))
    with pytest.raises(UnknownSampler):
        bot.text2image(words(sampler_name="Euler z"))
    with pytest.raises(UnknownSampler):
        bot.text2image(words(scheduler="Carrots"))
    assert _sent(host) == []


def test_a_checkpoint_that_went_away_is_said_to_be_unknown(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url)
    driver.models()
    host.remove_checkpoint("dreamshaper_8")
    with pytest.raises(UnknownCheckpoint):
        driver.draw(words().with_checkpoint(FIRST))


# --- the operator's workflows ---------------------------------------------------------------------


def own(output: str = "SaveImage", **changes: Any) -> Workflow:
    """A workflow of the operator's: one checkpoint, and SaveImage. ``_4`` changes node 4."""
    graph: dict[str, Any] = json.loads(shipped()[0].model_dump_json())["text2image"]
    graph["nodes"]["4"]["inputs"]["ckpt_name"] = SECOND
    graph["nodes"]["9"] = {
        "class_type": output,
        "inputs": {"images": ["8", 0], "filename_prefix": "mine"},
    }
    graph["slots"]["checkpoint"] = []
    for node, inputs in changes.items():
        graph["nodes"][node[1:]]["inputs"] |= inputs
    return Workflow.model_validate({"name": "portrait", "text2image": graph})


def test_a_workflow_is_named_as_a_checkpoint(host: comfyui.RunningComfy, connect: Connect) -> None:
    bot = ArtBot(connect(host.url, workflows=[own()]))
    assert [model.title for model in bot.get_models()][:2] == ["portrait", FIRST]
    drawing = bot.text2image(words().with_checkpoint("portrait"))
    assert (drawing.checkpoint, drawing.unverified) == ("portrait", [])
    assert bot.driver.checkpoint() == "portrait"
    with pytest.raises(NotSupported):
        bot.image2image(change().with_checkpoint("portrait"))
    with pytest.raises(NotSupported):
        bot.image2image(change(mask=CAT).with_checkpoint("portrait"))
    # What SaveImage leaves on the host is named after the attempt.
    (file,) = host.files()["output"]
    assert file.startswith("robotchat/")


def test_images_may_come_over_the_socket_and_leave_no_file(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url, workflows=[own(output="SaveImageWebsocket")])
    drawing = driver.draw(words(batch_size=2).with_checkpoint("portrait"))
    usual = connect(host.url).draw(words(batch_size=2).with_checkpoint(SECOND))
    assert [one.data for one in drawing.images] != []
    assert [_bare(one.data) for one in drawing.images] == [_bare(one.data) for one in usual.images]
    assert host.files()["output"] == []


def test_a_workflow_that_the_host_cannot_draw_is_not_listed_and_said_why(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url)
    assert driver.check(own()) == []
    wrong: dict[str, tuple[Any, str]] = {
        "4": ({"ckpt_name": "gone.safetensors"}, "'gone.safetensors' is not among the choices"),
        "3": ({"positive": ["8", 0]}, "it takes CONDITIONING, and is linked to IMAGE"),
        "5": ({"batch_size": 0}, "0 is less than 1"),
    }
    for node, (inputs, problem) in wrong.items():
        (said,) = driver.check(own("SaveImage", **{f"_{node}": inputs}))
        assert said.startswith(f"text2image: node {node}, input ")
        assert said.endswith(problem)
    driver = connect(host.url, workflows=[own(_4={"ckpt_name": "gone.safetensors"})])
    assert "portrait" not in [model.alias for model in driver.models()]


# --- watching and stopping ------------------------------------------------------------------------


def test_progress_and_previews_come_over_the_socket(
    any_host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver, attempt = connect(any_host.url), str(uuid.uuid4())
    any_host.hold(at_step=2)
    drawing = beside.submit(driver.draw, words(steps=4, batch_size=2), attempt_id=attempt)
    any_host.wait_for(paused=1)
    told = _until(lambda: driver.progress(attempt, preview=True), lambda p: p.progress > 0.2)
    assert told.progress == 0.25
    assert (told.state.sampling_step, told.state.sampling_steps) == (2, 4)
    shown = _until(
        lambda: driver.progress(attempt, preview=True), lambda p: p.current_image is not None
    )
    assert shown.current_image is not None
    assert driver.busy() is True
    any_host.release()
    assert len(drawing.result(20).images) == 2
    idle = driver.progress(attempt)
    assert idle is not None
    assert idle.idle
    assert driver.busy() is False


def test_another_process_knows_that_it_draws_but_not_how_far(
    host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver, other = connect(host.url), connect(host.url)
    host.hold()
    drawing = beside.submit(driver.draw, words())
    host.wait_for(paused=1)
    told = other.progress()
    assert told is not None
    assert (told.progress, told.idle) == (0, False)
    host.release()
    drawing.result(20)


def test_a_running_attempt_is_stopped_and_leaves_nothing(
    any_host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver, attempt = connect(any_host.url), str(uuid.uuid4())
    any_host.hold(times=None)
    drawing = beside.submit(driver.draw, words(batch_size=3), attempt_id=attempt)
    any_host.wait_for(paused=1)
    driver.cancel(attempt)
    with pytest.raises(UpstreamUnavailable) as error:
        drawing.result(20)
    assert error.value.details["interrupted"] is True
    assert queued(any_host) == []
    assert history(any_host) == {}


def test_an_attempt_can_be_stopped_by_another_process(
    any_host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver, attempt = connect(any_host.url), str(uuid.uuid4())
    stopped = threading.Event()
    any_host.hold(times=None)
    drawing = beside.submit(
        driver.draw, words(batch_size=2), attempt_id=attempt, interrupted=stopped.is_set
    )
    any_host.wait_for(paused=1)
    stopped.set()
    connect(any_host.url).cancel()
    with pytest.raises(UpstreamUnavailable) as error:
        drawing.result(20)
    assert error.value.details["interrupted"] is True


def test_what_was_drawn_before_the_stop_is_given(
    host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver, attempt = connect(host.url), str(uuid.uuid4())
    host.set_faults({"kind": "hold", "after": 1})
    drawing = beside.submit(driver.draw, words(batch_size=3), attempt_id=attempt)
    host.wait_for(paused=1)
    driver.cancel(attempt)
    assert [one.seed for one in drawing.result(20).images] == [5]


def test_a_waiting_attempt_is_taken_out_of_the_queue_and_others_go_on(
    any_host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    any_host.hold()
    running, waiting = their_prompt(any_host), str(uuid.uuid4())
    any_host.wait_for(paused=1)
    driver = connect(any_host.url)
    drawing = beside.submit(driver.draw, words(batch_size=2), attempt_id=waiting)
    any_host.wait_for(waiting=2)
    behind = their_prompt(any_host)
    driver.cancel(waiting)
    with pytest.raises(UpstreamUnavailable) as error:
        drawing.result(20)
    assert error.value.details["interrupted"] is True
    assert queued(any_host) == [running, behind]
    any_host.release()
    any_host.wait_for(generations_finished=2)
    assert any_host.stats()["interrupts"] == 0
    assert set(history(any_host)) == {running, behind}


def test_another_attempt_of_ours_goes_on(
    any_host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver, first, second = connect(any_host.url), str(uuid.uuid4()), str(uuid.uuid4())
    any_host.hold()
    one = beside.submit(driver.draw, words(), attempt_id=first)
    any_host.wait_for(paused=1)
    two = beside.submit(driver.draw, words(seed=9), attempt_id=second)
    any_host.wait_for(waiting=1)
    driver.cancel(second)
    with pytest.raises(UpstreamUnavailable):
        two.result(20)
    any_host.release()
    assert one.result(20).images


def test_on_an_old_host_nothing_runs_the_risk_of_stopping_somebody_elses(
    hosts: Callable[[str], comfyui.RunningComfy], connect: Connect, beside: ThreadPoolExecutor
) -> None:
    host = hosts(OLD)
    driver, attempt = connect(host.url), str(uuid.uuid4())
    assert driver.capabilities().targeted is False
    host.hold()
    drawing = beside.submit(driver.draw, words(), attempt_id=attempt)
    host.wait_for(paused=1)
    theirs = their_prompt(host)
    with pytest.raises(NotSupported):
        driver.cancel(attempt)
    assert host.stats()["interrupts"] == 0
    host.release()
    drawing.result(20)
    host.wait_for(generations_finished=2)
    assert set(history(host)) == {theirs}


def test_what_somebody_stops_on_the_host_is_no_wish_of_ours(
    host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    host.hold()
    drawing = beside.submit(connect(host.url).draw, words())
    host.wait_for(paused=1)
    httpx.post(f"{host.url}/interrupt", trust_env=False)
    with pytest.raises(UpstreamUnavailable, match="stopped on the SD host") as error:
        drawing.result(20)
    assert "interrupted" not in error.value.details


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_prompt_whose_answer_was_lost_is_asked_after_and_not_sent_again(
    any_host: comfyui.RunningComfy, connect: Connect
) -> None:
    any_host.set_faults({"kind": "disconnect", "path": "*/prompt", "partial": True})
    assert len(connect(any_host.url).draw(words()).images) == 1
    assert len(any_host.requests("/prompt")) == 1


@pytest.mark.parametrize("what", ["html", "broken_json", "not_object", "empty"])
def test_an_answer_that_tells_nothing_is_asked_after(
    host: comfyui.RunningComfy, connect: Connect, what: str
) -> None:
    host.set_faults({"kind": "garbage", "what": what, "path": "*/prompt"})
    assert len(connect(host.url).draw(words()).images) == 1
    assert len(host.requests("/prompt")) == 1


def test_a_prompt_that_did_not_arrive_is_a_failure_and_not_sent_again(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    host.set_faults({"kind": "refuse", "path": "*/prompt"})
    with pytest.raises(UpstreamUnavailable):
        connect(host.url).draw(words())
    assert len(host.requests("/prompt")) == 1


def test_an_id_that_is_known_already_is_the_same_drawing(
    hosts: Callable[[str], comfyui.RunningComfy], connect: Connect
) -> None:
    host = hosts(NEW)
    driver, attempt = connect(host.url), str(uuid.uuid4())
    host.set_faults({"kind": "refuse", "path": "*/history", "times": None})
    first = driver.draw(words(), attempt_id=attempt)
    again = driver.draw(words(), attempt_id=attempt)
    assert [one.data for one in again.images] == [one.data for one in first.images]
    assert host.stats()["generations_started"] == 1


def test_a_restart_loses_the_drawing_and_says_so(
    any_host: comfyui.RunningComfy, connect: Connect
) -> None:
    any_host.set_faults({"kind": "restart"})
    driver = connect(any_host.url)
    with pytest.raises(UpstreamUnavailable) as error:
        driver.draw(words())
    assert "interrupted" not in error.value.details
    assert driver.draw(words()).images


def test_a_host_that_is_killed_is_unavailable(connect: Connect, beside: ThreadPoolExecutor) -> None:
    with comfyui.running() as host:
        driver = connect(host.url)
        host.hold()
        drawing = beside.submit(driver.draw, words())
        host.wait_for(paused=1)
    with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
        drawing.result(30)
    with pytest.raises(UpstreamUnavailable):
        connect(host.url).models()


def test_without_its_socket_a_drawing_goes_on(
    any_host: comfyui.RunningComfy, connect: Connect
) -> None:
    any_host.set_faults({"kind": "refuse", "path": "*/ws", "times": None})
    assert connect(any_host.url).draw(words()).images
    any_host.clear_faults()
    any_host.set_faults({"kind": "disconnect"})
    assert connect(any_host.url).draw(words()).images


def test_a_question_that_fails_once_does_not_lose_the_drawing(
    host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver = connect(host.url, patience=30)
    driver.models()
    host.hold()
    drawing = beside.submit(driver.draw, words())
    host.wait_for(paused=1)
    host.set_faults({"kind": "disconnect", "path": "*/history/*"})
    host.release()
    assert drawing.result(20).images


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "error"}, UpstreamUnavailable),
        ({"kind": "load_error"}, UpstreamUnavailable),
        ({"kind": "wrong_model"}, WrongResult),
        ({"kind": "wrong_sampler"}, WrongResult),
        ({"kind": "wrong_count"}, WrongResult),
        ({"kind": "wrong_count", "count": 2}, WrongResult),
        ({"kind": "garbage", "what": "not_image"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "truncated_png"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "no_images"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "broken_json", "path": "*/history/*"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "html", "path": "*/history/*"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "not_object", "path": "*/history/*"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "html", "path": "*/object_info/*"}, UpstreamGarbage),
        ({"kind": "garbage", "what": "html", "path": "*/system_stats"}, UpstreamGarbage),
        ({"kind": "refuse", "status": 401, "path": "*/object_info/*"}, UpstreamUnavailable),
    ],
)
def test_what_a_host_does_wrong(
    host: comfyui.RunningComfy,
    connect: Connect,
    fault: dict[str, Any],
    expected: type[UpstreamError],
) -> None:
    host.set_faults(fault)
    with pytest.raises(expected) as error:
        connect(host.url).draw(words(sampler_name="Euler"))
    assert "/srv/" not in str(error.value) + json.dumps(error.value.details)
    assert "127.0.0.1" not in str(error.value) + json.dumps(error.value.details)
    assert queued(host) == []
    assert connect(host.url).draw(words()).images


def test_an_image_of_another_size_is_seen(host: comfyui.RunningComfy, connect: Connect) -> None:
    host.set_faults({"kind": "wrong_size"})
    with pytest.raises(WrongResult):
        ArtBot(connect(host.url)).text2image(words())


def test_a_failure_says_why(host: comfyui.RunningComfy, connect: Connect) -> None:
    host.set_faults({"kind": "error"})
    with pytest.raises(UpstreamUnavailable, match="failed in KSampler") as error:
        connect(host.url).draw(words())
    assert error.value.details["reason"].startswith("OutOfMemoryError: CUDA out of memory.")


def test_a_file_that_is_gone_is_said_to_be(host: comfyui.RunningComfy, connect: Connect) -> None:
    host.set_faults({"kind": "refuse", "status": 404, "path": "*/view"})
    with pytest.raises(UpstreamUnavailable, match="any more"):
        connect(host.url).draw(words())


def test_an_equal_drawing_is_not_answered_with_files_that_are_gone(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url, workflows=[own()])
    for checkpoint in ("portrait", SECOND):
        first = driver.draw(words().with_checkpoint(checkpoint))
        host.lose_files()
        again = driver.draw(words().with_checkpoint(checkpoint))
        assert first.images[0].data == again.images[0].data


def test_a_drawing_has_its_time_and_is_stopped_after_it(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url)
    driver.models()
    host.hold()
    with pytest.raises(UpstreamTimeout):
        driver.draw(words(batch_size=2), timeout=0.3)
    host.wait_for(interrupts=1)
    assert their_prompt(host)


def test_a_node_that_is_gone_is_the_workflows_fault(
    host: comfyui.RunningComfy, connect: Connect
) -> None:
    driver = connect(host.url)
    driver.models()
    host.remove_lora("add_detail")
    with pytest.raises(UpstreamRejected, match=r"node 10: value_not_in_list"):
        driver.draw(words(prompt="a <lora:add_detail:1>"))
    with pytest.raises(RobotchatError) as error:
        driver.draw(words(prompt="a <lora:add_detail:1>"))
    assert isinstance(error.value, UpstreamRejected)


def test_nothing_is_left_but_temporary_files(
    any_host: comfyui.RunningComfy, connect: Connect
) -> None:
    theirs = their_prompt(any_host)
    any_host.wait_for(generations_finished=1)
    connect(any_host.url).draw(change(batch_size=2))
    assert list(history(any_host)) == [theirs]
    files = any_host.files()
    assert (files["input"], files["output"]) == ([], [])
    any_host.restart()
    assert any_host.files()["temp"] == []


def test_many_at_once_each_get_their_own(
    host: comfyui.RunningComfy, connect: Connect, beside: ThreadPoolExecutor
) -> None:
    driver = connect(host.url)
    alone = [driver.draw(words(seed=seed)).images[0].data for seed in range(6)]
    host.lose_files()
    together: list[Future[Drawing]] = [
        beside.submit(driver.draw, words(seed=seed)) for seed in range(6)
    ]
    assert [future.result(30).images[0].data for future in together] == alone


# --- helpers --------------------------------------------------------------------------------------


def _sent(host: comfyui.RunningComfy) -> list[dict[str, Any]]:
    return [entry["body"]["prompt"] for entry in host.requests("/prompt") if "body" in entry]


def _until(ask: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What is told, as soon as the socket's thread has got so far."""
    for _ in range(2000):
        told = ask()
        if told is not None and enough(told):
            return told
        threading.Event().wait(0.005)
    raise AssertionError("it was never told")


def _grey(side: int, value: int) -> bytes:
    return _saved(Image.new("L", (side, side), value))


def _saved(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _bare(data: bytes) -> bytes:
    """The pixels of a file."""
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def _pixels(drawing: Drawing) -> list[bytes]:
    raw = _bare(drawing.images[0].data)
    return [raw[index : index + 3] for index in range(0, len(raw), 3)]


# --- the stand-in, as the real one was seen to be -------------------------------------------------


def test_the_stand_in_answers_as_the_real_one(host: comfyui.RunningComfy) -> None:
    with httpx.Client(base_url=host.url, trust_env=False) as web:
        unknown = {"1": {"class_type": "Nobodys", "inputs": {}}}
        refused = web.post("/prompt", json={"prompt": unknown})
        assert refused.status_code == 400
        assert refused.json()["error"] == {
            "type": "missing_node_type",
            "message": "Node 'Nobodys' not found. The custom node may not be installed.",
            "details": "Node ID '#1'",
            "extra_info": {"node_id": "1", "class_type": "Nobodys", "node_title": "Nobodys"},
        }
        assert web.post("/prompt", json={"prompt": {"nodes": []}}).status_code == 500
        assert web.get("/queue", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert web.post("/api/jobs/cancel", content=b"{").status_code == 400
        prompt = their_prompt(host, prompt_id=None)
        while not history(host):
            pass
        job = web.get(f"/api/jobs/{prompt}").json()
        assert (job["status"], job["outputs_count"]) == ("completed", 1)
        assert job["preview_output"]["nodeId"] == "9"
        assert web.post(f"/api/jobs/{prompt}/cancel").json() == {"cancelled": False}
