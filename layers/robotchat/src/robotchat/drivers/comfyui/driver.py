"""A ComfyUI host as an ``ArtDriver``: workflows as checkpoints, each picture a prompt of its own.

An attempt's id is the id of its first prompt, the client id of all of its prompts and the name of
its files, so that what was lost on the way can be asked after and what is stopped is never somebody
else's. Nothing is ever sent twice.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from robotchat.art.answers import Lora, Model, Progress, ProgressState, Sampler, Scheduler
from robotchat.art.capabilities import Capabilities, all_but
from robotchat.art.driver import WebuiRoutes
from robotchat.art.matching import near
from robotchat.art.requests import DrawRequest, Image2ImageRequest
from robotchat.art.results import Drawing, DrawnImage
from robotchat.art.workflows import Graph, Nodes, Workflow
from robotchat.drivers.comfyui import asked, catalog, graphs, outcomes
from robotchat.drivers.comfyui.catalog import Catalog, Entry
from robotchat.drivers.comfyui.client import (
    JOBS_CANCEL,
    TARGETED,
    Client,
    Lost,
    Queued,
    Refused,
    Version,
)
from robotchat.drivers.comfyui.watching import Watch
from robotchat.drivers.webui import Timeouts
from robotchat.errors import (
    NotSupported,
    UnknownCheckpoint,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.images import decode_base64
from robotchat.pixels import plain_image, plain_mask

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_WITH_SOCKET, _WITHOUT_SOCKET, _ENDING = 5.0, 0.5, 0.05
"""Seconds between questions for the history: while a socket tells when a prompt has ended, without
one, and once it has ended."""
_LAST_WORDS = 2.0
"""Seconds for which the socket may be behind the history."""
_ROUNDS = 5
"""How often the queue is looked at to stop what moves from waiting to running meanwhile."""


class ComfyUI:
    """One ComfyUI host.

    ``workflows`` are the operator's, listed before those that come with this package. ``auth`` is
    for a proxy in front of the host, which itself asks for none. ``patience`` is for how many
    seconds a host that draws may be out of reach. ``transport`` replaces the network
    in tests; there is no socket then. Raises Misconfigured for a URL that is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        workflows: Sequence[Workflow | Mapping[str, Any]] = (),
        auth: tuple[str, str] | None = None,
        timeouts: Timeouts | None = None,
        patience: float = 5.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience
        self._client = Client(base_url, auth=auth, timeouts=timeouts, transport=transport)
        self.base_url = self._client.base_url
        """The host's address, without its password; not for callers' eyes."""
        self._workflows = [Workflow.model_validate(one) for one in workflows]
        self._with_sockets = transport is None
        self._lock = threading.Lock()
        self._version: Version | None = None
        self._catalog: Catalog | None = None
        self._watched: dict[str, Watch] = {}

    def __repr__(self) -> str:
        return "ComfyUI(...)"

    def close(self) -> None:
        """Close the connections. The driver can also be used in a ``with``."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def webui(self) -> WebuiRoutes | None:
        return None

    # --- what there is ----------------------------------------------------------------------------

    def models(self) -> list[Model]:
        return [entry.model for entry in self._look().entries.values()]

    def checkpoint(self) -> str | None:
        """The first one: a host has none of its own choice, as none stays loaded for the next."""
        return next(iter(self._known().entries), None)

    def samplers(self) -> list[Sampler]:
        return self._look().samplers()

    def schedulers(self) -> list[Scheduler]:
        return self._look().schedulers()

    def loras(self) -> list[Lora]:
        return self._look().loras()

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        version, entries = self._host_version(), self._known().entries
        # Without a name it is the one that is drawn with then.
        entry = entries.get(checkpoint or "") or next(iter(entries.values()), None)
        return capabilities_of(entry.workflow if entry else None, version)

    def forget(self) -> None:
        with self._lock:
            self._version = self._catalog = None

    def check(self, workflow: Workflow) -> list[str]:
        """What keeps the host from drawing a workflow; nothing if it can."""
        self._host_version()
        return [
            f"{mode}: {text}" for mode, text in catalog.check(workflow, self._client.node_class)
        ]

    def _host_version(self) -> Version:
        version = self._version
        if version is None:
            version = self._client.version()
            with self._lock:
                self._version = version
        return version

    def _look(self) -> Catalog:
        """What the host has now."""
        self._host_version()
        found = Catalog(self._workflows, self._client.node_class)
        with self._lock:
            self._catalog = found
        return found

    def _known(self) -> Catalog:
        """What the host has, as it was last seen."""
        return self._catalog or self._look()

    def _entry(self, name: str | None) -> tuple[Catalog, Entry]:
        known = self._known()
        if name is None:
            name = next(iter(known.entries), None)
            if name is None:
                raise NotSupported("The SD host has no checkpoint, and no workflow was set.")
        if name not in known.entries:
            known = self._look()
        if name not in known.entries:
            raise UnknownCheckpoint(
                f"The SD host does not have the checkpoint {name!r}.",
                param="override_settings.sd_model_checkpoint",
                details={"near_matches": near(name, known.entries)},
            )
        return known, known.entries[name]

    # --- drawing ----------------------------------------------------------------------------------

    def draw(
        self,
        request: DrawRequest,
        *,
        attempt_id: str | None = None,
        timeout: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Drawing:
        attempt = attempt_id or str(uuid.uuid4())
        deadline = time.monotonic() + (timeout or self._client.timeouts.draw)
        known, entry = self._entry(request.checkpoint)
        graph = catalog.graph_for(entry.workflow, asked.mode_of(request))
        if graph is None:
            param = "mask" if getattr(request, "mask", None) else "init_images"
            raise NotSupported("The workflow has no graph for this kind of request.", param=param)
        prompts = _prompt_ids(attempt, request.count)
        with self._watched_attempt(attempt, prompts, graph) as watch:
            images: list[DrawnImage] = []
            accounts: list[dict[str, Any]] = []
            sent: list[str] = []
            try:
                to_send = self._filled(request, known, entry, graph, attempt, prompts)
                for prompt, nodes in to_send.items():
                    if not watch.stopped:
                        sent.append(prompt)
                        self._submit(nodes, prompt, attempt, graph)
                for index, prompt in enumerate(sent):
                    data = self._drawn(to_send[prompt], prompt, attempt, graph, watch, deadline)
                    if data is None:
                        break
                    told = asked.account(
                        request,
                        graph,
                        to_send[prompt],
                        model=entry.model.model_name,
                        version=".".join(map(str, self._host_version())),
                        index=index,
                    )
                    accounts.append(told)
                    images.append(outcomes.image_of(data, request.seed + index, request, told))
            finally:
                self._leave(attempt, sent, done=len(images))
        if not images or (len(images) < len(prompts) and not (watch.stopped or interrupted())):
            stopped = watch.stopped or interrupted()
            raise UpstreamUnavailable(
                "The drawing was stopped."
                if stopped
                else "The drawing was stopped on the SD host.",
                details={"interrupted": True} if stopped else {},
            )
        return Drawing(
            images=images,
            extra_images=[],
            parameters={},
            info=asked.info(request, accounts, [image.infotext for image in images]),
            checkpoint=entry.model.model_name,
        )

    @contextmanager
    def _watched_attempt(
        self, attempt: str, prompts: Sequence[str], graph: Graph
    ) -> Iterator[Watch]:
        """What the host tells of an attempt, while it is drawn."""
        saving = graph.output if outcomes.saves_to_socket(graph) else None
        watch = Watch(prompts, asked.sampling_nodes(graph.slots), saving)
        with self._lock:
            self._watched[attempt] = watch
        try:
            if self._with_sockets:
                watch.listen(
                    self._client.base_url,
                    attempt,
                    auth=self._client.auth,
                    context=self._client.ssl,
                    timeout=self._client.timeouts.connect,
                )
            yield watch
        finally:
            with self._lock:
                self._watched.pop(attempt, None)
            watch.close()

    def _filled(
        self,
        request: DrawRequest,
        known: Catalog,
        entry: Entry,
        graph: Graph,
        attempt: str,
        prompts: Sequence[str],
    ) -> dict[str, Nodes]:
        """The graphs of all pictures, by the ids of their prompts."""
        uploaded: dict[tuple[str, Callable[[bytes], bytes]], str] = {}

        def upload(text: str, read: Callable[[bytes], bytes]) -> str:
            # LoadImage is exact with RGB PNG alone: it reads 254 for the white of a grey picture.
            if (text, read) not in uploaded:
                data = read(decode_base64(text, max_bytes=outcomes.MAX_BYTES))
                name = f"{attempt}_{len(uploaded)}.png"
                uploaded[text, read] = self._client.upload(name, data, "image/png")
            return uploaded[text, read]

        result: dict[str, Nodes] = {}
        for index, prompt in enumerate(prompts):
            images: dict[str, str] = {}
            if isinstance(request, Image2ImageRequest):
                start = request.init_images[index % len(request.init_images)]
                images["image"] = upload(start, plain_image)
                if request.mask:
                    images["mask"] = upload(request.mask, plain_mask)
            values = asked.values(
                request,
                index,
                graph,
                known.classes,
                file=entry.file,
                loras=known.loras(),
                images=images,
            )
            result[prompt] = graphs.filled(graph, known.classes, values, prompt)
        return result

    def _submit(self, nodes: Nodes, prompt: str, attempt: str, graph: Graph) -> None:
        """Queue a prompt, once: what came of a call whose answer was lost is asked."""
        try:
            self._client.submit(nodes, prompt_id=prompt, client_id=attempt)
        except Refused as error:
            self.forget()
            raise outcomes.refused(error.refusal, graph) from error
        except Lost as error:
            logger.warning("a prompt's answer was lost: %s", error)
            if not self._arrived(prompt):
                raise error.error from error

    def _arrived(self, prompt: str) -> bool:
        """Whether the host has a prompt: now, or soon, since it may still be reading it."""
        patience = _Patience(self._patience)
        until = time.monotonic() + self._patience
        while True:
            with patience:
                if self._client.is_open(prompt, self._host_version()):
                    return True
                if self._client.history(prompt) is not None:
                    return True
                if time.monotonic() > until:
                    return False
            time.sleep(_ENDING)

    def _drawn(
        self,
        nodes: Nodes,
        prompt: str,
        attempt: str,
        graph: Graph,
        watch: Watch,
        deadline: float,
    ) -> bytes | None:
        """The picture of a prompt; None if it was stopped."""
        entry = self._ended(prompt, attempt, watch, deadline)
        if entry is None or outcomes.was_interrupted(entry):
            return None
        place = outcomes.place_of(entry, nodes, graph)
        if place is None:
            # It has come over the socket before that tells of the end.
            watch.wait(prompt, _LAST_WORDS)
            image = watch.image(prompt)
            watch.finished(prompt)
            return image
        watch.finished(prompt)
        try:
            return self._client.view(place)
        except NotSupported as error:
            raise UpstreamUnavailable("The SD host does not have the picture any more.") from error

    def _ended(
        self, prompt: str, attempt: str, watch: Watch, deadline: float
    ) -> dict[str, Any] | None:
        """The host's account of a prompt that has ended; None if it was taken out of the queue."""
        client, version = self._client, self._host_version()
        patience = _Patience(self._patience)
        pause, told = _ENDING, False
        while True:
            longest = _ENDING if watch.ended(prompt) else _WITHOUT_SOCKET
            if watch.listening and not watch.stopped and not watch.ended(prompt):
                longest = _WITH_SOCKET
            left = deadline - time.monotonic()
            watch.wait(prompt, max(min(pause, longest, left), 0.0))
            pause = longest if watch.listening else min(pause * 1.5, longest)
            if watch.stopped and not told:
                # It may have been told to stop before the host had the prompt.
                told = True
                with patience, suppress(NotSupported):
                    self._stop(attempt)
            with patience:
                entry = client.history(prompt)
                if entry is None and not client.is_open(prompt, version):
                    # It may have ended between the two questions.
                    entry = client.history(prompt)
                    if entry is None:
                        if watch.stopped:
                            return None
                        raise _Gone
                if entry is not None:
                    return entry
            if time.monotonic() > deadline:
                raise UpstreamTimeout("The SD host did not finish in time.")

    def _leave(self, attempt: str, prompts: Sequence[str], *, done: int) -> None:
        """Clean up on the host behind an attempt: nothing of it goes on, nothing is remembered."""
        if not prompts:
            return
        try:
            if done < len(prompts):
                self._stop(attempt)
            self._client.forget_prompts(prompts)
        except NotSupported as error:
            logger.warning("a drawing goes on that nobody waits for: %s", error.message)
        except UpstreamError as error:
            logger.warning("nothing could be cleaned up on an SD host: %s", error.message)

    # --- watching and stopping --------------------------------------------------------------------

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        with self._lock:
            watches = dict(self._watched)
        watch = watches.get(attempt_id) if attempt_id else next(iter(watches.values()), None)
        if watch is not None:
            return watch.progress(preview=preview)
        busy = any(_meant(item, attempt_id) for item in self._queued())
        return Progress(state=ProgressState(job_count=-1 if busy else 0))

    def busy(self) -> bool | None:
        return any(item.ours for item in self._queued())

    def _queued(self) -> list[Queued]:
        running, pending = self._client.queue()
        return [*running, *pending]

    def cancel(self, attempt_id: str | None = None) -> None:
        """Stop an attempt, or all that the host does for us; nobody else's prompts, ever.

        Raises NotSupported for what runs on a host that is too old to stop only that, while
        others wait behind it.
        """
        with self._lock:
            watches = [one for key, one in self._watched.items() if attempt_id in (None, key)]
        for watch in watches:
            watch.stop()
        self._stop(attempt_id)

    def _stop(self, attempt_id: str | None) -> None:
        version, told = self._host_version(), set[str]()
        for _ in range(_ROUNDS):
            running, pending = self._client.queue()
            waiting = [one.prompt_id for one in pending if _meant(one, attempt_id)]
            now = [one.prompt_id for one in running if _meant(one, attempt_id)]
            now = [prompt for prompt in now if prompt not in told]
            if not waiting and not now:
                return
            if version >= JOBS_CANCEL:
                for prompt in (*waiting, *now):
                    self._client.cancel_job(prompt)
            else:
                if waiting:
                    self._client.dequeue(waiting)
                for prompt in now:
                    self._interrupt(prompt, version)
            told.update(now)

    def _interrupt(self, prompt: str, version: Version) -> None:
        if version < TARGETED:
            # It stops whatever runs when it comes, so it must not come to anybody else's prompt.
            running, pending = self._client.queue()
            if all(one.prompt_id != prompt for one in running):
                return
            if len(running) > 1 or any(not one.ours for one in pending):
                raise NotSupported("The SD host is too old to stop this drawing and nobody else's.")
        self._client.interrupt(prompt)


def capabilities_of(workflow: Workflow | None, version: Version) -> Capabilities:
    """What a host of that version can do, with a workflow."""
    one = Capabilities(
        kind="comfyui",
        flavour="ComfyUI",
        targeted=version >= TARGETED,
        partial=False,
        options=False,
        refresh_loras=False,
        controlnet=False,
        tools=False,
        size_step=asked.SIZE_STEP,
        limits=asked.LIMITS,
    )
    if workflow is None:
        return one
    found = dict(workflow.graphs())
    samplers = all(graph.slots.sampler for graph in found.values())
    return replace(
        one,
        image2image="image2image" in found,
        mask="inpaint" in found,
        loras=all(graph.slots.lora for graph in found.values()),
        ignores=all_but(*asked.heeded(workflow)),
        reports=frozenset({"checkpoint", "seed", *(["sampler"] if samplers else [])}),
    )


class _Gone(UpstreamUnavailable):
    """The host knows nothing of the prompt."""

    def __init__(self) -> None:
        super().__init__(
            "The SD host has lost the drawing: was it restarted, or its queue cleared?"
        )


class _Patience:
    """Lets a host be out of reach for a while: failures inside a ``with`` count only once it has
    failed for so many seconds without an answer in between."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, UpstreamUnavailable | UpstreamTimeout) or isinstance(error, _Gone):
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since < self._seconds


def _prompt_ids(attempt: str, count: int) -> list[str]:
    """The ids of an attempt's prompts: its own, and others that follow from it."""
    own = uuid.UUID(attempt)
    return [str(uuid.uuid5(own, str(index))) if index else str(own) for index in range(count)]


def _meant(item: Queued, attempt_id: str | None) -> bool:
    return item.ours and attempt_id in (None, item.client_id)
