"""Drivers without a model behind them, which say what they were told to: for tests and demos."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

from robotchat.art.answers import Progress
from robotchat.art.capabilities import Capabilities
from robotchat.art.driver import WebuiDriver
from robotchat.art.options import KNOWN
from robotchat.art.requests import CHECKPOINT, Image2ImageRequest, Text2ImageRequest
from robotchat.errors import NotSupported, UpstreamRejected
from robotchat.gpt.driver import AnswerStream, Body
from robotchat.images import encode_base64

Piece = Union[str, Body, Exception, Callable[["FakeStream"], None]]  # noqa: UP007 - forward name
"""Part of a streamed answer: text, a whole chunk, an error to raise, or something to do first
(such as ``FakeStream.hang``)."""

Script = Union[str, Body, Exception, Sequence[Piece]]  # noqa: UP007
"""One answer: its text, the whole body, an error instead of it, or the pieces of a stream."""


class FakeChat:
    """A language model that says, in order, what was enqueued, and else echoes the last message.

    ``requests`` holds every body it was given. ``streams`` holds every stream it gave out, each
    of which knows whether it was ``closed`` before its end.
    """

    def __init__(self, scripts: Iterable[Script] = (), *, model: str = "fake") -> None:
        self._scripts: deque[Script] = deque(scripts)
        self._model = model
        self.requests: list[Body] = []
        self.streams: list[FakeStream] = []

    def enqueue(self, scripts: Iterable[Script]) -> None:
        """What to say next."""
        self._scripts.extend(scripts)

    def chat_completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        script = self._next(body, _last_message(body))
        if isinstance(script, dict):
            return script
        text = _text_of(script)
        return self._completion(
            body,
            "chat.completion",
            {"index": 0, "message": {"role": "assistant", "content": text}},
            text,
        )

    def stream_chat_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        pieces = _pieces(self._next(body, _last_message(body)))
        return self._stream(body, pieces, "chat.completion.chunk", _chat_delta)

    def completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        script = self._next(body, str(body.get("prompt", "")))
        if isinstance(script, dict):
            return script
        text = _text_of(script)
        return self._completion(body, "text_completion", {"index": 0, "text": text}, text)

    def stream_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        pieces = _pieces(self._next(body, str(body.get("prompt", ""))))
        return self._stream(body, pieces, "text_completion", lambda text: {"text": text})

    def count_input_tokens(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        script = self._next(body, "")
        if isinstance(script, dict):
            return script
        count = len(json.dumps(body.get("input"), ensure_ascii=False).split())
        return {"object": "response.input_tokens", "input_tokens": count}

    def embeddings(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        script = self._next(body, "")
        if isinstance(script, dict):
            return script
        given = body.get("input")
        several = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": index, "embedding": [0.0, 1.0]}
            for index in range(len(several))
        ]
        return {"object": "list", "data": data, "model": body.get("model", self._model)}

    def models(self) -> Body:
        return {"object": "list", "data": [self.model(self._model)]}

    def model(self, model_id: str) -> Body:
        if model_id != self._model:
            raise UpstreamRejected(
                f"The model '{model_id}' does not exist.",
                param="model",
                details={"status": 404, "code": "model_not_found"},
            )
        return {"id": self._model, "object": "model", "created": 0, "owned_by": "robotchat"}

    def _next(self, body: Mapping[str, Any], echo: str) -> Script:
        self.requests.append(dict(body))
        script = self._scripts.popleft() if self._scripts else echo
        if isinstance(script, Exception):
            raise script
        return script

    def _completion(self, body: Mapping[str, Any], kind: str, choice: Body, text: str) -> Body:
        return {
            "id": f"fake-{len(self.requests)}",
            "object": kind,
            "created": 0,
            "model": body.get("model", self._model),
            "choices": [{**choice, "finish_reason": "stop", "logprobs": None}],
            "usage": _usage(body, text),
        }

    def _stream(
        self,
        body: Mapping[str, Any],
        pieces: Sequence[Piece],
        kind: str,
        delta: Callable[[str], Body],
    ) -> FakeStream:
        head = {
            "id": f"fake-{len(self.requests)}",
            "object": kind,
            "created": 0,
            "model": body.get("model", self._model),
        }

        if pieces and isinstance(pieces[0], Exception):
            raise pieces[0]

        def events(stream: FakeStream) -> Iterator[Body]:
            said = ""
            finished = False
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, str):
                    said += piece
                    yield {**head, "choices": [_choice(delta(piece))]}
                elif isinstance(piece, dict):
                    finished = finished or any(
                        choice.get("finish_reason") for choice in piece.get("choices", ())
                    )
                    yield {**head, **piece}
                else:
                    piece(stream)
            if not finished:
                end: Body = {} if kind == "text_completion" else {"delta": {}}
                yield {**head, "choices": [{**_choice(end), "finish_reason": "stop"}]}
            if (body.get("stream_options") or {}).get("include_usage"):
                yield {**head, "choices": [], "usage": _usage(body, said)}

        stream = FakeStream(events)
        self.streams.append(stream)
        return stream


class FakeStream:
    """A scripted stream. ``closed`` says whether it was closed before its end."""

    def __init__(self, events: Callable[[FakeStream], Iterator[Body]]) -> None:
        self._events = events(self)
        self._ended = False
        self._done = threading.Event()
        self.closed = False

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        if self.closed:
            raise StopIteration
        try:
            event = next(self._events)
        except Exception:
            self._ended = True
            raise
        if self.closed:
            raise StopIteration
        return event

    def close(self) -> None:
        self.closed = self.closed or not self._ended
        self._done.set()

    def hang(self) -> None:
        """A piece that waits until the stream is closed, as a stalled upstream would."""
        self._done.wait()


def _choice(delta: Body) -> Body:
    return {"index": 0, "finish_reason": None, "logprobs": None, **delta}


def _chat_delta(text: str) -> Body:
    return {"delta": {"content": text}}


def _pieces(script: Script) -> Sequence[Piece]:
    if isinstance(script, str):
        # Words with the space before them, as tokens come.
        words = script.split(" ")
        return [words[0], *(f" {word}" for word in words[1:])]
    if isinstance(script, Mapping):
        return [script]
    if isinstance(script, Exception):
        raise script
    return script


def _text_of(script: Script) -> str:
    text = ""
    for piece in _pieces(script):
        if isinstance(piece, Exception):
            raise piece
        if isinstance(piece, str):
            text += piece
    return text


def _last_message(body: Mapping[str, Any]) -> str:
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _usage(body: Mapping[str, Any], text: str) -> Body:
    asked = sum(
        len(str(message.get("content") or "").split()) for message in body.get("messages", ())
    ) or len(str(body.get("prompt", "")).split())
    said = len(text.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


# --- pictures -------------------------------------------------------------------------------------

ArtScript = Union[Body, Exception, Callable[[Body], Body]]  # noqa: UP007 - as above
"""One answer to a drawing call: the whole answer, an error instead, or what makes the answer."""

_SAMPLERS: tuple[Body, ...] = (
    {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {"scheduler": "karras"}},
    {"name": "Euler a", "aliases": ["k_euler_a", "k_euler_ancestral"], "options": {}},
    {"name": "Euler", "aliases": ["k_euler"], "options": {}},
)
_SCHEDULERS: tuple[Body, ...] = (
    {"name": "automatic", "label": "Automatic"},
    {"name": "karras", "label": "Karras"},
    {"name": "exponential", "label": "Exponential"},
)


class FakeArt(WebuiDriver):
    """An SD host that draws one plain colour, in the web UI's shapes, at once.

    What was enqueued is answered first, in order. ``requests`` holds every drawing call's body,
    ``calls`` every other call's path; ``answers`` maps paths to what they answer. ``interrupted``
    is set by ``cancel``, so that an enqueued function can wait for it.
    """

    def __init__(
        self,
        scripts: Iterable[ArtScript] = (),
        *,
        checkpoints: Sequence[str] = ("fake.safetensors",),
        capabilities: Capabilities | None = None,
    ) -> None:
        self._scripts: deque[ArtScript] = deque(scripts)
        self.able = capabilities or Capabilities()
        self.requests: list[Body] = []
        self.calls: list[str] = []
        self.posts: list[Body] = []
        self.interrupted = threading.Event()
        self.now: Progress | None = Progress()
        """What ``progress`` says."""
        self.loaded = checkpoints[0]
        self.answers: dict[str, Any] = {
            "sdapi/v1/sd-models": [_fake_model(name) for name in checkpoints],
            "sdapi/v1/samplers": list(_SAMPLERS),
            "sdapi/v1/schedulers": list(_SCHEDULERS),
            "sdapi/v1/upscalers": [{"name": "None"}, {"name": "Lanczos"}],
            "sdapi/v1/loras": [],
            "sdapi/v1/refresh-loras": None,
            "sdapi/v1/options": {
                "sd_model_checkpoint": self.loaded,
                **{name: option.default for name, option in KNOWN.items()},
            },
            "controlnet/version": {"version": 3},
            "controlnet/model_list": {"model_list": ["canny [d14c016b]"]},
            "controlnet/module_list": {"module_list": ["none", "canny"], "module_detail": {}},
        }

    def enqueue(self, scripts: Iterable[ArtScript]) -> None:
        """What to answer next."""
        self._scripts.extend(scripts)

    def txt2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        return self._answer(dict(body), self.drawn)

    def img2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        return self._answer(dict(body), self.drawn)

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        return self.now if self.able.progress else None

    def cancel(self, attempt_id: str | None = None) -> None:
        if not self.able.interrupt:
            raise NotSupported("The SD host does not have this function.")
        self.interrupted.set()

    def get(self, path: str, **query: str) -> Any:
        return self._known(path)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        self.posts.append(dict(body or {}))
        if path in ("sdapi/v1/interrupt", "sdapi/v1/skip"):
            return self.cancel()
        answer = self._known(path)
        if path == "sdapi/v1/options":
            # It never loads another checkpoint, and says so as a web UI does.
            answer |= {n: v for n, v in (body or {}).items() if n != CHECKPOINT}
            return None
        return answer

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        return self.able

    def forget(self) -> None:
        """Nothing is remembered here."""

    def _known(self, path: str) -> Any:
        self.calls.append(path)
        if path not in self.answers:
            raise NotSupported("The SD host does not have this function.")
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answer(self, body: Body, otherwise: Callable[[Body], Body]) -> Body:
        self.requests.append(body)
        script = self._scripts.popleft() if self._scripts else otherwise
        if isinstance(script, Exception):
            raise script
        return script(body) if callable(script) else script

    def drawn(self, body: Body) -> Body:
        """What the host answers when nothing else was enqueued."""
        kind = Image2ImageRequest if "init_images" in body else Text2ImageRequest
        request = kind.model_validate(body)
        wanted = request.checkpoint
        known = [model["title"] for model in self.answers["sdapi/v1/sd-models"]]
        if wanted is not None and wanted in known:
            self.loaded = wanted
        name = self.loaded.rpartition(".")[0]
        sampler = request.sampler or "Euler"
        extra: Body = {"Schedule type": request.scheduler or "Automatic"}
        if any(unit.get("enabled") for unit in request.controlnet_units):
            extra["ControlNet 0"] = "Module: canny"
        size = request.final_size if isinstance(request, Text2ImageRequest) else None
        width, height = size or (request.width, request.height)
        seeds = [request.seed + index for index in range(request.count)]
        notes = [
            f"{request.prompt}\nSteps: {request.steps}, Sampler: {sampler}, Seed: {seed}, "
            + ", ".join(f"{key}: {value}" for key, value in extra.items())
            for seed in seeds
        ]
        info = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "seed": request.seed,
            "all_seeds": seeds,
            "width": width,
            "height": height,
            "sampler_name": sampler,
            "steps": request.steps,
            "sd_model_name": name,
            "sd_model_hash": hashlib.sha256(self.loaded.encode()).hexdigest()[:10],
            "extra_generation_params": extra,
            "index_of_first_image": 0,
            "infotexts": notes,
        }
        images = [
            plain_png(width // 8 * 8, height // 8 * 8, f"{request.prompt} {seed}", note)
            for seed, note in zip(seeds, notes, strict=True)
        ]
        images += [
            plain_png(width // 8 * 8, height // 8 * 8, "map")
            for unit in request.controlnet_units
            if unit.get("enabled") and unit.get("save_detected_map", True)
        ]
        return {
            "images": [encode_base64(image) for image in images],
            "parameters": request.echo(),
            "info": json.dumps(info),
        }


def plain_png(width: int, height: int, colour_of: str = "", note: str = "") -> bytes:
    """A PNG of one colour, which follows from a text, with a ``parameters`` note."""
    colour = hashlib.sha256(colour_of.encode()).digest()[:3]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    if note:
        parts.append(chunk(b"tEXt", b"parameters\0" + note.encode("latin-1", "replace")))
    parts.append(chunk(b"IDAT", zlib.compress((b"\0" + colour * width) * height, 1)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def _fake_model(name: str) -> Body:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return {
        "title": name,
        "model_name": name.rpartition(".")[0],
        "hash": sha256[:10],
        "sha256": sha256,
        "filename": f"/models/{name}",
        "config": None,
    }
