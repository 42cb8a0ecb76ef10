"""An SD host that speaks OpenAI's images API: vLLM-Omni, SGLang, LocalAI, sd-server, OpenAI itself.

One instance is one host and may be used from several threads. Its flavour says which of its fields
are heeded (see ``image_flavours``); a request that wants anything else is refused before it gets
here. Pictures are asked for one by one where the host takes seeds, so that each has its own. The
host tells nothing of what it does meanwhile, and all that stops it is that nobody listens any more.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from robotchat.art.answers import Lora, Model, Progress, Sampler, Scheduler
from robotchat.art.capabilities import Capabilities, all_but
from robotchat.art.requests import DrawRequest, Image2ImageRequest
from robotchat.art.results import Drawing, read_drawing
from robotchat.drivers.http import address_of, failure, json_of, tls_for, whole_body
from robotchat.drivers.image_errors import error_of
from robotchat.drivers.image_flavours import FLAVOURS, Asked, Call, words
from robotchat.drivers.webui import Timeouts
from robotchat.errors import (
    Misconfigured,
    NotSupported,
    RobotchatError,
    UpstreamError,
    UpstreamGarbage,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.images import decode_base64, encode_base64, measure

if TYPE_CHECKING:
    import httpx

    from robotchat.art.driver import WebuiRoutes


@dataclass
class _Attempt:
    """A drawing under way. It can be told to stop, from other threads."""

    stopped: bool = False
    connection: Any = field(default=None, repr=False)
    """The network stream that its answer comes on, once there is one."""

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpcore tells of its doings."""
        if event.startswith("connection.") and event.endswith((".complete", "tls.complete")):
            stream = info.get("return_value")
            if hasattr(stream, "get_extra_info"):
                self.connection = stream
                if self.stopped:
                    self.hang_up()

    def hang_up(self) -> None:
        """End the connection, also for the thread that waits for an answer on it."""
        if self.connection is None:
            return
        try:
            self.connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


class OpenAIImages:
    """One SD host of this kind.

    ``base_url`` is the API's (``http://host:8000/v1``; ``/v1`` may be left out). The second
    part of ``auth`` is the API key, which may also be in the URL (``https://:key@host/v1``).
    ``flavour`` is a key of ``FLAVOURS``. ``models`` are the names to draw with, instead of those
    that the host lists; ``loras`` the LoRAs that prompts may name, with their paths on the host
    (empty: the name will do). ``transport`` replaces the network in tests. Raises Misconfigured.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: tuple[str, str] | None = None,
        timeouts: Timeouts | None = None,
        transport: httpx.BaseTransport | None = None,
        flavour: str | None = None,
        models: Sequence[str] = (),
        loras: Mapping[str, str] | None = None,
    ) -> None:
        import httpx

        self._httpx = httpx
        address, auth = address_of(base_url, auth)
        if flavour is None:
            flavour = "openai" if address.hostname == "api.openai.com" else "openai-images"
        if flavour not in FLAVOURS:
            raise Misconfigured(f"A host's flavour is one of {', '.join(FLAVOURS)}.")
        self._flavour = FLAVOURS[flavour]
        path = address.path.rstrip("/") or "/v1"
        self.base_url = address._replace(path=path).geturl()
        """The API's address, without its key; not for callers' eyes."""
        key = (auth[1] or auth[0]) if auth else ""
        self._headers = {"user-agent": "robotchat"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._timeouts = timeouts or Timeouts()
        self._transport = transport
        self._context = tls_for(address.scheme)
        self._models = tuple(models)
        self._loras = dict(loras or {})
        self._first: str | None = None
        self._lock = threading.Lock()
        self._attempts: dict[object, _Attempt] = {}

    def __repr__(self) -> str:
        return "OpenAIImages(...)"

    def close(self) -> None:
        """Nothing is kept open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what there is ----------------------------------------------------------------------------

    @property
    def webui(self) -> WebuiRoutes | None:
        return None

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        flavour = self._flavour
        return Capabilities(
            kind="openai-images",
            flavour=flavour.title,
            progress=False,
            previews=False,
            interrupt=True,
            targeted=True,
            partial=not flavour.stops,
            options=False,
            refresh_loras=False,
            controlnet=False,
            tools=False,
            mask=flavour.mask is not None,
            loras=flavour.loras and bool(self._loras),
            reference_pictures=flavour.references,
            ignores=all_but(*flavour.heeded()),
            size_step=flavour.size_step,
            rounds_up=flavour.rounds_up,
            paid=flavour.paid,
            reports=frozenset({"seed"} if flavour.tells_seed else ()),
        )

    def forget(self) -> None:
        with self._lock:
            self._first = None

    def models(self) -> list[Model]:
        names = self._models or self._listed()
        return [Model(title=name, model_name=name, filename=name) for name in names]

    def _listed(self) -> list[str]:
        answer = self._get("models")
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise UpstreamGarbage("The SD host's answer holds no list of models.")
        names = [one.get("id") for one in data if isinstance(one, dict)]
        return [name for name in names if isinstance(name, str) and self._flavour.draws(name)]

    def checkpoint(self) -> str | None:
        if self._flavour.chooses and not self._models:
            return None
        with self._lock:
            if self._first is not None:
                return self._first
        models = self.models()
        with self._lock:
            self._first = models[0].alias if models else None
            return self._first

    def samplers(self) -> list[Sampler]:
        raise NotSupported("The SD host does not tell which samplers it has.")

    def schedulers(self) -> list[Scheduler]:
        raise NotSupported("The SD host does not tell which schedules it has.")

    def loras(self) -> list[Lora]:
        known = self._loras if self._flavour.loras else {}
        return [Lora(name=name, alias=name) for name in known]

    # --- watching ---------------------------------------------------------------------------------

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        return None

    def busy(self) -> bool | None:
        with self._lock:
            return True if self._attempts else None

    def cancel(self, attempt_id: str | None = None) -> None:
        """Hang up, and ask for no more of a batch. Hosts that do not notice draw the picture to
        its end, and are waited for. What another process has asked for ends with that process."""
        with self._lock:
            attempts = [
                attempt
                for key, attempt in self._attempts.items()
                if attempt_id is None or key == attempt_id
            ]
        if not attempts:
            raise NotSupported("The SD host can be stopped only by whoever waits for it.")
        for attempt in attempts:
            attempt.stopped = True
            if self._flavour.stops:
                attempt.hang_up()

    @contextmanager
    def _attempt(self, attempt_id: str | None) -> Iterator[_Attempt]:
        attempt = _Attempt()
        key: object = attempt_id or object()
        with self._lock:
            self._attempts[key] = attempt
        try:
            yield attempt
        finally:
            with self._lock:
                self._attempts.pop(key, None)

    # --- drawing ----------------------------------------------------------------------------------

    def draw(
        self,
        request: DrawRequest,
        *,
        attempt_id: str | None = None,
        timeout: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Drawing:
        deadline = time.monotonic() + (timeout or self._timeouts.draw)
        with self._attempt(attempt_id) as attempt:
            model = request.checkpoint or self.checkpoint()
            images: list[str] = []
            for asked in self._asked(request, model):
                if attempt.stopped or interrupted():
                    break
                try:
                    images += self._drawn(asked, attempt, deadline)
                except UpstreamError:
                    if attempt.stopped:
                        break
                    if not images:
                        raise
                    break  # whoever asked will ask for what is missing
            if not images:
                raise UpstreamUnavailable(
                    "The drawing was stopped before there was a picture.",
                    details={"interrupted": True},
                )
        return self._told(request, images, model)

    def _asked(self, request: DrawRequest, model: str | None) -> Iterator[Asked]:
        """The requests to the host that make up this one."""
        flavour = self._flavour
        prompt, negative, loras = words(request, self._loras, takes_loras=flavour.loras)
        width, height = request.size
        asked = Asked(
            request=request,
            model=model,
            prompt=prompt,
            negative_prompt=negative,
            count=request.count,
            seed=request.seed,
            size=flavour.sizes(model, width, height),
            loras=loras,
        )
        images: list[bytes] = []
        if isinstance(request, Image2ImageRequest):
            images = [_plain(image) for image in request.init_images]
            asked = replace(
                asked,
                image=images[0],
                references=tuple(map(_plain, request.extra_images or ())),
                mask=_mask(request, images[0]),
            )
        most = flavour.most(model) if len(images) < 2 else 1
        for index in range(0, request.count, most):
            yield replace(
                asked,
                count=min(most, request.count - index),
                seed=request.seed + index,
                image=images[index % len(images)] if images else None,
            )

    def _drawn(self, asked: Asked, attempt: _Attempt, deadline: float) -> list[str]:
        """The pictures of one request to the host, as base64."""
        call = self._flavour.call(asked)
        answer = self._post(call, attempt, deadline)
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
            raise UpstreamGarbage("The SD host's answer holds no list of images.")
        if not data or len(data) > asked.count:
            raise UpstreamGarbage(
                f"The SD host sent {len(data)} pictures where {asked.count} were asked for."
            )
        images = [self._image(one, attempt, deadline) for one in data]
        wanted = asked.request.size
        if asked.size == wanted:
            return images
        return [_fitted(image, asked.size, wanted) for image in images]

    def _image(self, one: Mapping[str, Any], attempt: _Attempt, deadline: float) -> str:
        text = one.get("b64_json")
        if isinstance(text, str) and text:
            return text
        url = one.get("url")
        if isinstance(url, str) and url[:5].lower() == "data:":
            return url
        if not isinstance(url, str) or not url:
            raise UpstreamGarbage("The SD host's answer holds an image without its data.")
        address, home = urlsplit(urljoin(f"{self.base_url}/", url)), urlsplit(self.base_url)
        if (address.scheme, address.netloc) != (home.scheme, home.netloc):
            # Where else a host sends us may be anything that can be reached from here.
            raise UpstreamGarbage("The SD host's answer names a picture on another machine.")
        return encode_base64(self._bytes("GET", address.geturl(), attempt, deadline))

    def _told(self, request: DrawRequest, images: list[str], model: str | None) -> Drawing:
        """The drawing, with what is known of it."""
        flavour = self._flavour
        short = len(images) < request.count
        drawing = read_drawing(request, {"images": images})
        if not flavour.seeds:
            nameless = [replace(image, seed=None) for image in drawing.images]
            drawing = replace(drawing, images=nameless)
        elif flavour.tells_seed and not drawing.holes and not short:
            seeds = [_seed_in(image.infotext) for image in drawing.images]
            if all(seed is not None for seed in seeds):
                texts = [image.infotext for image in drawing.images]
                info = {"seed": seeds[0], "all_seeds": seeds, "infotexts": texts}
                drawing = read_drawing(request, {"images": images, "info": info})
        unheeded = _unheeded(request) if not flavour.strength else []
        return replace(
            drawing, checkpoint=model, unverified=sorted({*drawing.unverified, *unheeded})
        )

    # --- HTTP -------------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        deadline = time.monotonic() + self._timeouts.answer
        return json_of(self._bytes("GET", f"{self.base_url}/{path}", _Attempt(), deadline))

    def _post(self, call: Call, attempt: _Attempt, deadline: float) -> Any:
        url = f"{self.base_url}/{call.path}"
        if call.files:
            fields = {name: str(value) for name, value in call.body.items()}
            sent: dict[str, Any] = {"data": fields, "files": list(call.files)}
        else:
            sent = {"json": call.body}
        return json_of(self._bytes("POST", url, attempt, deadline, **sent))

    def _bytes(
        self, method: str, url: str, attempt: _Attempt, deadline: float, **sent: Any
    ) -> bytes:
        httpx = self._httpx
        left = deadline - time.monotonic()
        if left <= 0:
            raise UpstreamTimeout("The SD host did not answer in time.")
        limits = httpx.Timeout(left, connect=min(self._timeouts.connect, left))
        try:
            # A connection of its own, which can be ended without harm to others.
            with (
                httpx.Client(
                    headers=self._headers,
                    transport=self._transport,
                    verify=self._context,
                    trust_env=False,
                    timeout=limits,
                ) as client,
                client.stream(method, url, extensions={"trace": attempt.note}, **sent) as response,
            ):
                data = whole_body(response, deadline)
        except httpx.HTTPError as error:
            raise failure(error) from error
        if response.status_code == 200:
            return data
        raise error_of(response.status_code, response.headers, data)


def _bytes(image: str) -> bytes:
    return decode_base64(image, max_bytes=len(image))


def _plain(image: str) -> bytes:
    """A picture to begin with as the SD web UI reads it: upright, without transparency."""
    from robotchat.pixels import plain_image

    return plain_image(_bytes(image))


def _mask(request: Image2ImageRequest, image: bytes) -> bytes | None:
    """What is to be drawn anew, as the request says it: white, of the picture's size."""
    if not request.mask:
        return None
    from robotchat.pixels import grey_mask

    blur = max(request.mask_blur_x, request.mask_blur_y)
    return grey_mask(
        _bytes(request.mask),
        measure(image),
        invert=request.inpainting_mask_invert == 1,
        blur=blur if request.mask_blur is None else request.mask_blur,
    )


def _fitted(image: str, drawn: tuple[int, int], wanted: tuple[int, int]) -> str:
    """A picture that had to be drawn in another size, as it was wanted."""
    from robotchat.pixels import fitted

    try:
        data = _bytes(image)
        if measure(data) != drawn:
            return image
        return encode_base64(fitted(data, wanted))
    except RobotchatError:
        return image  # it is no picture; whoever reads it says so


_SEED = re.compile(r"\bSeed: (\d+)")


def _seed_in(infotext: str) -> int | None:
    found = _SEED.search(infotext)
    return int(found[1]) if found else None


def _unheeded(request: DrawRequest) -> list[str]:
    """What a host without a denoising strength passes over, and a caller may have meant."""
    if not isinstance(request, Image2ImageRequest) or request.instruct:
        return []
    default = Image2ImageRequest.model_fields["denoising_strength"].default
    return ["denoising_strength"] if request.denoising_strength not in (None, default) else []
