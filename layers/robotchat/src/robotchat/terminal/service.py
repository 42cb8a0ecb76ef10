"""Who draws for a terminal: a service by its URL and key, or this process on an SD host."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from robotchat.errors import NotSupported
from robotchat.ids import new_id
from robotchat.images import encode_base64

if TYPE_CHECKING:
    import httpx

    from robotchat.jobs.job import Job

View = dict[str, Any]
"""A job as ``GET /v1/jobs/{id}`` gives it."""

_LOOK_AGAIN = 0.2
_TIMEOUT = 60.0


class Unreachable(Exception):
    """Nobody answers at the URL."""


class Refused(Exception):
    """The service did not do what it was asked; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service(Protocol):
    """Draws, and tells how far it is: each method that draws yields the job, again and again, and
    at the end the final one. Whoever is interrupted or stops listening before, cancels it."""

    def draw(self, request: dict[str, Any]) -> Generator[View]:
        """Text2Image, or Image2Image where there are ``init_images``."""

    def say(
        self, message: str, conversation_id: str | None, image: Path | None, settings: View
    ) -> Generator[View]:
        """A turn of a conversation that draws; with a picture, that one is changed."""

    def images(self, job: View) -> list[tuple[bytes, str]]:
        """The files of a job, each with its content type."""

    def close(self) -> None:
        """Let go of connections."""


class Remote:
    """A service over HTTP. Raises `Unreachable`, and `Refused` where it answers with an error."""

    def __init__(self, url: str, key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT,
            transport=transport,
        )
        # Links to pictures name another host, which is not to see the key.
        self._files = httpx.Client(timeout=_TIMEOUT, transport=transport)

    def close(self) -> None:
        self._http.close()
        self._files.close()

    def draw(self, request: dict[str, Any]) -> Generator[View]:
        path = "/sdapi/v1/img2img" if "init_images" in request else "/sdapi/v1/txt2img"
        # Its own id makes it safe to ask again.
        headers = {"Prefer": "respond-async", "Idempotency-Key": new_id("cli")}
        yield from self._followed(self.ask("POST", path, json=request, headers=headers))

    def say(
        self, message: str, conversation_id: str | None, image: Path | None, settings: View
    ) -> Generator[View]:
        body = {"message": message, "conversation_id": conversation_id, "settings": settings}
        how = "text2image"
        if image is not None:
            how, body["image"] = "image2image", encode_base64(image.read_bytes())
        headers = {"Idempotency-Key": new_id("cli")}
        yield from self._followed(self.ask("POST", f"/v1/chat/{how}", json=body, headers=headers))

    def images(self, job: View) -> list[tuple[bytes, str]]:
        files = []
        for image in job["images"]:
            if image["url"] is not None:
                data = self._answer(self._files, "GET", image["url"]).content
                files.append((data, image["content_type"]))
        return files

    def ask(self, method: str, path: str, **request: Any) -> View:
        """The JSON that a path answers with; an empty answer is an empty object."""
        answer = self._answer(self._http, method, path, **request)
        try:
            document: View = answer.json() if answer.content.strip() else {}
        except ValueError:
            raise Refused(answer.status_code, "what answers there is no robotchat") from None
        return document

    def _followed(self, job: View) -> Generator[View]:
        path = f"/v1/jobs/{job['id']}"
        try:
            yield job
            while job["status"] in ("queued", "running"):
                time.sleep(_LOOK_AGAIN)
                job = self.ask("GET", path)
                yield job
        except (KeyboardInterrupt, GeneratorExit):
            if job["status"] in ("queued", "running"):
                self.ask("POST", f"{path}/cancel")
            raise

    @staticmethod
    def _answer(client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:
        import httpx

        try:
            answer = client.request(method, url, **request)
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Unreachable(f"{client.base_url or url} does not answer: {error}") from None
        if answer.is_success:
            return answer
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            said = {}
        detail = said.get("detail") or said.get("errors") or answer.reason_phrase
        raise Refused(answer.status_code, f"{answer.status_code}: {detail}")


class InProcess:
    """Robotchat itself, in this process, on an SD host; nothing outlives it."""

    def __init__(self, host: str) -> None:
        from robotchat import Robot, host_driver
        from robotchat.views import Viewer

        driver = host_driver(host)
        with suppress(NotSupported):
            driver.models()  # who waits wants to know at once that there is none
        self._robot = Robot(art=driver)
        self._viewer = Viewer(self._robot.images, link_ttl=60)

    def close(self) -> None:
        self._robot.close()

    def draw(self, request: dict[str, Any]) -> Generator[View]:
        from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest

        kind = Image2ImageRequest if "init_images" in request else Text2ImageRequest
        asked = kind.model_validate(request)
        yield from self._run(lambda job_id: self._robot.submit_image(asked, job_id=job_id))

    def say(
        self, message: str, conversation_id: str | None, image: Path | None, settings: View
    ) -> Generator[View]:
        from robotchat.conversation import ChatEditRequest, ChatImageRequest

        fields = {"message": message, "conversation_id": conversation_id, "settings": settings}
        asked: ChatImageRequest = (
            ChatImageRequest.model_validate(fields)
            if image is None
            else ChatEditRequest.model_validate(
                {**fields, "image": encode_base64(image.read_bytes())}
            )
        )
        yield from self._run(lambda job_id: self._robot.submit_chat_image(asked, job_id=job_id))

    def images(self, job: View) -> list[tuple[bytes, str]]:
        drawing = self._robot.drawing(self._robot.jobs.get(job["id"], "local"))
        return [(image.data, image.content_type) for image in drawing.images]

    def _run(self, submit: Callable[[str], Job]) -> Generator[View]:
        """Submitting a job runs it to its end; that is done beside, and the job watched here."""
        job_id = new_id("job")
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(submit, job_id)
            try:
                while not wait([running], _LOOK_AGAIN).done:
                    job = self._robot.jobs.find(job_id)
                    if job is not None and not job.status.final:
                        yield self._view(job)
            except (KeyboardInterrupt, GeneratorExit):
                if not running.done():
                    self._robot.cancel(job_id)
                raise
            running.result()
        yield self._view(self._robot.jobs.get(job_id, "local"))

    def _view(self, job: Job) -> View:
        return self._viewer.job(job).model_dump(mode="json")
