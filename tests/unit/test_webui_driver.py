"""The web UI driver over a scripted transport: what is sent, and what every failure becomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from robotchat.art.bot import ArtBot
from robotchat.art.capabilities import Capabilities
from robotchat.drivers.fake import plain_png
from robotchat.drivers.webui import Timeouts, WebUI
from robotchat.errors import (
    Misconfigured,
    NotSupported,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.images import encode_base64

NOT_FOUND = httpx.Response(404, json={"detail": "Not Found"})
NOT_ALLOWED = httpx.Response(405, json={"detail": "Method Not Allowed"})

Answer = Callable[[httpx.Request], httpx.Response]


class Host:
    """Answers by path; remembers what it was asked."""

    def __init__(self, *, bare: bool = False) -> None:
        self.bare = bare
        self.requests: list[httpx.Request] = []
        self.answers: dict[str, httpx.Response | Answer | Exception] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        answer = self.answers.get(path)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(
                answer.status_code, headers=answer.headers, content=answer.content
            )
        if answer is not None:
            return answer(request)
        if self.bare:
            return httpx.Response(404)
        if path.endswith(("/interrupt", "/refresh-loras")) and request.method == "GET":
            return NOT_ALLOWED
        if path.endswith("/progress"):
            return httpx.Response(200, json={"progress": 0, "state": {"job_count": 0}})
        return NOT_FOUND

    def webui(self, url: str = "http://sd.example:7860", **options: Any) -> WebUI:
        return WebUI(url, transport=httpx.MockTransport(self), **options)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(r.content) for r in self.requests if r.url.path == path]


@pytest.fixture
def host() -> Host:
    return Host()


def test_a_body_is_sent_as_it_is(host: Host) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(200, json={"images": []})
    assert host.webui().txt2img({"prompt": "a"}) == {"images": []}
    assert host.bodies("/sdapi/v1/txt2img") == [{"prompt": "a"}]


@pytest.mark.parametrize(
    ("url", "auth"),
    [
        ("http://user:p%40ss@sd.example", None),
        ("http://sd.example", ("user", "p@ss")),
        ("http://other:x@sd.example", ("user", "p@ss")),
    ],
)
def test_the_password_is_sent_but_kept_out_of_the_url(
    host: Host, url: str, auth: tuple[str, str] | None
) -> None:
    webui = host.webui(url, auth=auth)
    host.answers["/sdapi/v1/options"] = httpx.Response(200, json={})
    webui.get("sdapi/v1/options")
    (request,) = host.requests
    assert request.headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert str(request.url) == "http://sd.example/sdapi/v1/options"
    assert webui.base_url == "http://sd.example"
    assert "sd.example" not in repr(webui)


def test_a_host_may_be_below_a_path(host: Host) -> None:
    host.answers["/sd/one/sdapi/v1/samplers"] = httpx.Response(200, json=[])
    webui = host.webui("https://sd.example/sd/one/")
    assert webui.get("sdapi/v1/samplers") == []
    webui.close()


@pytest.mark.parametrize("url", ["sd.example:7860", "ftp://sd.example", "http://", ""])
def test_an_address_that_is_none_is_the_operators_mistake(url: str) -> None:
    with pytest.raises(Misconfigured):
        WebUI(url)


# --- failures -------------------------------------------------------------------------------------


def exception(kind: str, text: str) -> dict[str, str]:
    return {"error": kind, "detail": "", "body": "", "errors": text}


def http_exception(text: str) -> dict[str, str]:
    return {"error": "HTTPException", "detail": text, "body": "", "errors": ""}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, exception("OutOfMemoryError", "CUDA out of memory"), UpstreamUnavailable),
        (500, exception("NansException", "A tensor with NaNs"), UpstreamUnavailable),
        (500, exception("TypeError", "unsupported operand"), UpstreamUnavailable),
        (500, exception("RuntimeError", "could not find upscaler named X"), UpstreamRejected),
        (500, exception("RuntimeError", "bad number of images passed: 3"), UpstreamRejected),
        (500, exception("Exception", "Could not find checkpoint with name x"), UpstreamRejected),
        (500, exception("KeyError", "'nonsense'"), UpstreamUnavailable),
        (500, exception("AssertionError", ""), UpstreamUnavailable),
        (500, http_exception("Invalid encoded image"), UpstreamRejected),
        (500, http_exception("Invalid image url"), UpstreamRejected),
        (404, http_exception("Init image not found"), UpstreamRejected),
        (422, http_exception("Script 'x' not found"), UpstreamRejected),
        (422, http_exception("always on script x not found"), UpstreamRejected),
        (400, http_exception("Sampler not found"), UpstreamRejected),
        (401, http_exception("Not authenticated"), UpstreamUnavailable),
        (400, {"error": "prompt required"}, UpstreamRejected),
        (500, {"error": "server_error", "message": "[json.exception]"}, UpstreamRejected),
        (500, {"error": "generate_image returned no results"}, UpstreamUnavailable),
        (500, {}, UpstreamUnavailable),
        (502, {}, UpstreamUnavailable),
        (429, {}, UpstreamBusy),
        (301, {}, UpstreamGarbage),
        (206, {}, UpstreamGarbage),
    ],
)
def test_every_refusal_has_its_meaning(
    host: Host, status: int, body: dict[str, str], error: type[UpstreamError]
) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(status, json=body)
    with pytest.raises(UpstreamError) as caught:
        host.webui().txt2img({})
    assert type(caught.value) is error
    assert caught.value.details["upstream_status"] == status
    assert "sd.example" not in caught.value.message


def test_a_validation_error_names_the_field(host: Host) -> None:
    problem = {"loc": ["body", "seed"], "msg": "value is not a valid integer", "type": "x"}
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(422, json={"detail": [problem, 1, {}]})
    with pytest.raises(UpstreamRejected) as caught:
        host.webui().txt2img({})
    assert caught.value.param == "seed"
    assert caught.value.details["errors"][0]["msg"] == "value is not a valid integer"


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("IndexError", "tuple index out of range", "IndexError: tuple index out of range"),
        ("AssertionError", "", "AssertionError"),
        ("TypeError", "Script.run() takes 1", "TypeError: Script.run() takes 1"),
        ("OSError", "[Errno 2] No file: '/srv/sd/x.pt'", "OSError: [Errno 2] No file: ..."),
        ("URLError", "P(host='hf.co', port=443) at 10.1.2.3", "URLError: P(..., port=443) at ..."),
        ("ValueError", "no gpu7.corp.example, no gpu7:7860", "ValueError: no ..., no ..."),
        ("ValueError", "see https://x.example/y?z=1 now", "ValueError: see ... now"),
        ("OutOfMemoryError", "Tried 2.25 GiB", "OutOfMemoryError: Tried 2.25 GiB"),
    ],
)  # fmt: skip
def test_an_exception_is_told_without_what_it_says_of_the_machine(
    host: Host, kind: str, text: str, reason: str
) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(500, json=exception(kind, text))
    with pytest.raises(UpstreamUnavailable) as caught:
        host.webui().txt2img({})
    assert caught.value.details["reason"] == reason


def test_a_failure_is_named_by_its_kind_and_never_by_its_text(host: Host) -> None:
    text = "[Errno 2] /srv/secret/models/x on sd.example"
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(500, json=exception("OSError", text))
    with pytest.raises(UpstreamUnavailable) as caught:
        host.webui().txt2img({})
    assert caught.value.message == "The SD host failed (OSError)."
    assert "secret" not in repr(caught.value.details)
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(400, json=http_exception(text))
    with pytest.raises(UpstreamRejected) as rejected:
        host.webui().txt2img({})
    assert "secret" not in rejected.value.message + repr(rejected.value.details)


def test_a_proxy_says_when_to_come_back(host: Host) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(503, headers={"retry-after": "7"})
    with pytest.raises(UpstreamUnavailable) as caught:
        host.webui().txt2img({})
    assert caught.value.retry_after == 7


def test_a_host_without_its_api_is_not_available(host: Host) -> None:
    with pytest.raises(UpstreamUnavailable, match="--api"):
        host.webui().img2img({})


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.ConnectError("http://sd.example refused"), UpstreamUnavailable),
        (httpx.ConnectTimeout("sd.example"), UpstreamUnavailable),
        (httpx.ReadTimeout("sd.example"), UpstreamTimeout),
        (httpx.RemoteProtocolError("sd.example went away"), UpstreamUnavailable),
        (httpx.ReadError("sd.example"), UpstreamUnavailable),
        (httpx.DecodingError("sd.example"), UpstreamGarbage),
    ],
)
def test_every_broken_connection_has_its_meaning(
    host: Host, failure: Exception, error: type[UpstreamError]
) -> None:
    host.answers["/sdapi/v1/samplers"] = failure
    with pytest.raises(UpstreamError) as caught:
        host.webui().get("sdapi/v1/samplers")
    assert type(caught.value) is error
    assert "sd.example" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"images": [', b"\xff\xfe"])
def test_an_answer_that_is_no_json_is_garbage(host: Host, content: bytes) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(200, content=content)
    with pytest.raises(UpstreamGarbage):
        host.webui().txt2img({})


def test_an_answer_that_is_no_object_is_garbage(host: Host) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(200, json=[])
    with pytest.raises(UpstreamGarbage):
        host.webui().txt2img({})


def test_an_answer_without_end_is_given_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robotchat.drivers.http.MAX_ANSWER_BYTES", 1000)
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(200, content=b"x" * 2000)
    with pytest.raises(UpstreamGarbage, match="too large"):
        host.webui().txt2img({})


def test_every_call_has_its_time(host: Host) -> None:
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(200, json={})
    host.answers["/sdapi/v1/loras"] = httpx.Response(200, json=[])
    webui = host.webui(timeouts=Timeouts(connect=5, answer=10, draw=600))
    webui.txt2img({}, timeout=90)
    webui.txt2img({})
    webui.get("sdapi/v1/loras")
    webui.post("sdapi/v1/txt2img", {}, timeout=2)
    waits = [request.extensions["timeout"] for request in host.requests[-4:]]
    assert [wait["read"] for wait in waits] == [90, 600, 10, 2]
    assert [wait["connect"] for wait in waits] == [5, 5, 5, 2]


# --- what hosts can do ----------------------------------------------------------------------------


def test_capabilities_are_found_out_once_and_set_nothing_off(host: Host) -> None:
    webui = host.webui()
    assert webui.capabilities() == Capabilities(controlnet=False)
    assert webui.capabilities() == Capabilities(controlnet=False)
    assert {request.method for request in host.requests} == {"GET"}
    assert len(host.requests) == 6


def test_a_host_that_is_down_is_not_taken_for_a_bare_one(host: Host) -> None:
    webui = host.webui()
    host.answers["/sdapi/v1/interrupt"] = httpx.Response(503)
    with pytest.raises(UpstreamUnavailable):
        webui.capabilities()
    host.answers["/sdapi/v1/interrupt"] = httpx.Response(400)
    with pytest.raises(UpstreamRejected):
        webui.capabilities()
    del host.answers["/sdapi/v1/interrupt"]
    assert webui.capabilities().interrupt


def test_progress_is_asked_for_without_a_preview(host: Host) -> None:
    webui = host.webui()
    progress = webui.progress()
    assert progress is not None
    assert progress.idle
    assert host.requests[-1].url.query == b"skip_current_image=true"
    webui.progress(preview=True)
    assert host.requests[-1].url.query == b"skip_current_image=false"


def test_interrupt_and_skip_are_posted(host: Host) -> None:
    def posted(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={}) if request.method == "POST" else NOT_ALLOWED

    host.answers |= {"/sdapi/v1/interrupt": posted, "/sdapi/v1/skip": posted}
    webui = host.webui()
    webui.cancel()
    webui.post("sdapi/v1/skip")
    assert [request.url.path for request in host.requests] == [
        "/sdapi/v1/interrupt",
        "/sdapi/v1/skip",
    ]


# --- bare engines ---------------------------------------------------------------------------------


def bare_host(info: Callable[[dict[str, Any]], str] = lambda _: "") -> Host:
    """An engine that draws a batch, and does nothing else."""
    host = Host(bare=True)

    def draw(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert None not in body.values()
        first, count = body["seed"], min(body["batch_size"], 8)
        width, height = (-(-body[name] // 64) * 64 for name in ("width", "height"))
        images = [encode_base64(plain_png(width, height, str(first + i))) for i in range(count)]
        return httpx.Response(200, json={"images": images, "parameters": {}, "info": info(body)})

    host.answers["/sdapi/v1/txt2img"] = draw
    host.answers["/sdapi/v1/img2img"] = draw
    host.answers["/sdapi/v1/loras"] = httpx.Response(
        200, json=[{"name": "ink", "path": "sub/ink.safetensors"}]
    )
    return host


def test_a_bare_engine_is_recognised() -> None:
    webui = Host(bare=True).webui()
    capabilities = webui.capabilities()
    for name in ("progress", "interrupt", "options", "refresh_loras", "controlnet"):
        assert not getattr(capabilities, name), name
    assert capabilities.rounded(100, 64) == (128, 64)
    assert webui.progress() is None
    with pytest.raises(NotSupported):
        webui.cancel()


def test_batches_are_drawn_one_after_the_other() -> None:
    host = bare_host(
        lambda body: json.dumps(
            {"all_seeds": [body["seed"] + i for i in range(body["batch_size"])], "styles": []}
        )
    )
    drawing = ArtBot(host.webui()).text2image(
        prompt="a", seed=5, batch_size=5, n_iter=2, width=100, height=64
    )
    assert [image.seed for image in drawing.images] == list(range(5, 15))
    assert len({image.data for image in drawing.images}) == 10
    bodies = host.bodies("/sdapi/v1/txt2img")
    assert [(body["batch_size"], body["seed"]) for body in bodies] == [(8, 5), (2, 13)]
    assert "n_iter" not in bodies[0]
    assert bodies[0]["steps"] == 50


def test_lora_tags_become_what_the_engine_understands() -> None:
    host = bare_host()
    webui = host.webui()
    ArtBot(webui).text2image(prompt="a cat <lora:INK:0.5> at night <lora:ink>")
    (body,) = host.bodies("/sdapi/v1/txt2img")
    assert "<lora" not in body["prompt"]
    assert body["lora"] == [
        {"path": "sub/ink.safetensors", "multiplier": 0.5},
        {"path": "sub/ink.safetensors", "multiplier": 1.0},
    ]
    with pytest.raises(UpstreamRejected, match="'oil'"):
        webui.txt2img({"prompt": "<lora:oil:1>"})
    webui.txt2img({"prompt": "<lora:oil:1>", "disable_extra_networks": True})
    assert host.bodies("/sdapi/v1/txt2img")[-1]["prompt"] == "<lora:oil:1>"


@pytest.mark.parametrize(
    "fields",
    [
        {"styles": ["anime"]},
        {"enable_hr": True},
        {"subseed_strength": 0.5},
        {"refiner_checkpoint": "x"},
        {"script_name": "X/Y/Z plot"},
        {"alwayson_scripts": {"controlnet": {"args": [{"enabled": True}]}}},
        {"alwayson_scripts": {"ADetailer": {"args": []}}},
    ],
)
def test_what_a_bare_engine_would_pass_over_is_refused(fields: dict[str, Any]) -> None:
    host = bare_host()
    with pytest.raises(NotSupported):
        host.webui().txt2img({"prompt": "a", **fields})
    assert host.bodies("/sdapi/v1/txt2img") == []


def test_what_changes_nothing_is_left_out_for_a_bare_engine() -> None:
    host = bare_host()
    host.webui().img2img(
        {
            "init_images": ["x"],
            "styles": [],
            "seed": None,
            "alwayson_scripts": {"ControlNet": {"args": [{"enabled": False}]}},
            "script_name": "None",
            "script_args": [],
        }
    )
    (body,) = host.bodies("/sdapi/v1/img2img")
    assert set(body) == {
        *("init_images", "width", "height", "steps", "cfg_scale", "seed", "batch_size"),
    }


@pytest.mark.parametrize("info", ["{", "[]"])
def test_a_bare_engines_account_must_be_one(info: str) -> None:
    with pytest.raises(UpstreamGarbage):
        bare_host(lambda _: info).webui().txt2img({"prompt": "a"})


def test_a_bare_engine_that_draws_too_few_is_not_asked_for_ever() -> None:
    host = bare_host()
    host.answers["/sdapi/v1/txt2img"] = httpx.Response(200, json={"images": []})
    with pytest.raises(UpstreamGarbage):
        host.webui().txt2img({"prompt": "a"})
