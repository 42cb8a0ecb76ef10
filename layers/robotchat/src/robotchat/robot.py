"""The robot: conversations, jobs and pictures in one object, for programs and for functions.

What happens to a job is in `robotchat.lifecycle`; here its parts are put together, over whatever
records, images, queue and hosts there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from robotchat.art.bot import ArtBot, ArtConfig
from robotchat.art.checkpoints import CheckpointConfig, config_named
from robotchat.art.driver import ArtDriver
from robotchat.art.requests import CHECKPOINT, Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing
from robotchat.clock import Clock, SystemClock
from robotchat.conversation import ChatEditRequest, ChatImageRequest, Conversations
from robotchat.errors import JobNotFinal
from robotchat.hosts.catalog import Catalog
from robotchat.hosts.lease import Host, host_name
from robotchat.hosts.options import TenantOptions
from robotchat.hosts.pool import HostPool
from robotchat.hosts.webui_api import WebuiApi
from robotchat.images import Images, MemoryImages
from robotchat.jobs.job import Estimate, Job, WebhookTarget
from robotchat.jobs.limits import Ledger
from robotchat.jobs.states import cancel as cancel_job
from robotchat.jobs.states import released, succeeded
from robotchat.jobs.states import retry as retry_job
from robotchat.jobs.store import Jobs
from robotchat.lifecycle.accept import LOCAL_TENANT, Intake
from robotchat.lifecycle.at_once import AtOnce
from robotchat.lifecycle.estimate import estimate
from robotchat.lifecycle.inline import Inline
from robotchat.lifecycle.prepare import Preparation
from robotchat.lifecycle.run import Runner
from robotchat.lifecycle.run_context import RunContext
from robotchat.lifecycle.seeing import Seeing
from robotchat.lifecycle.settle import JobQueue, Settlement
from robotchat.lifecycle.sweep import Sweeper
from robotchat.prompt.writer import PromptWriter
from robotchat.records import MemoryRecords, Records
from robotchat.settings import Settings

if TYPE_CHECKING:
    from robotchat.gpt.responses.store import ResponseStore
    from robotchat.lifecycle.draws import ToolImages


class Robot:
    """Conversations, jobs and pictures over any records, images and queue.

    In a program: ``Robot(art=[WebUI("http://127.0.0.1:7861")])`` keeps all in memory and runs a job
    as soon as it is submitted. In Lambda, ``robotchat.aws.wiring`` builds it over AWS.

    Threads may share it. Leaving it as a context manager, or ``close``, closes the connections to
    the hosts. From ``asyncio``, call it in threads (``asyncio.to_thread(robot.drawing, job)``),
    and leave it by ``async with`` or ``aclose``.
    """

    def __init__(
        self,
        *,
        art: ArtDriver | Sequence[ArtDriver] | Mapping[str, ArtDriver] = (),
        writer: PromptWriter | None = None,
        records: Records | None = None,
        images: Images | None = None,
        queue: JobQueue | None = None,
        settings: Settings | None = None,
        art_config: ArtConfig | None = None,
        clock: Clock | None = None,
        on_attempt: Callable[[Job], None] = lambda job: None,
        elsewhere: Mapping[str, str | None] | None = None,
    ) -> None:
        """``on_attempt`` is told of every attempt that has ended, with the job as it left it.
        ``elsewhere`` names those of the hosts on which only workers beside them draw, with their
        pools."""
        self.settings = settings or Settings()
        self.clock = clock or SystemClock()
        self.records = records or MemoryRecords()
        self.images = images or MemoryImages()
        self.writer = writer or PromptWriter(None, model="")
        self.queue = queue or AtOnce(self.run, self.clock)
        self.ledger = Ledger(self.records, self.clock, self.settings.limits)
        self.jobs = Jobs(self.records, self.clock, self.ledger, self.images)
        self.conversations = Conversations(self.records, self.jobs, self.clock)
        self.options = TenantOptions(self.records)
        art_config = art_config or ArtConfig(
            max_image_bytes=self.settings.max_image_bytes,
            max_image_pixels=self.settings.max_image_pixels,
        )
        afar = elsewhere or {}
        self.hosts = HostPool(
            [
                Host(name, ArtBot(driver, art_config), name not in afar, afar.get(name))
                for name, driver in _named(art).items()
            ],
            self.records,
            self.clock,
            ttl=self.settings.lease_ttl,
            pulled=bool(afar) or self.settings.pull,
        )
        self.catalog = Catalog(self.hosts, scripts=art_config.allowed_scripts)
        self.webui_api = WebuiApi(
            self.hosts,
            self.catalog,
            self.jobs,
            self.images,
            self.options,
            self.clock,
            self.settings,
            art_config,
        )
        self.settlement = Settlement(self.jobs, self.images, self.queue, self.clock)
        self.intake = Intake(
            self.jobs,
            self.conversations,
            self.images,
            self.hosts,
            self.ledger,
            self.options,
            self.settlement,
            self.settings,
            self.clock,
        )
        self._runner = Runner(
            self.jobs,
            self.images,
            self.hosts,
            Preparation(
                self.jobs,
                self.images,
                self.writer,
                Seeing(self.writer, self.hosts, self.settings, self.clock),
                self.options,
                self.ledger,
                self.settings,
                art_config,
            ),
            self.ledger,
            self.settlement,
            self.settings,
            self.clock,
            on_attempt,
        )
        self._art = list(_named(art).values())
        self._art_config = art_config
        self._inline = Inline(
            self.jobs, self.intake, self.hosts, self._runner, self.settlement, self.clock
        )

    def close(self) -> None:
        """Close the connections to the hosts."""
        for driver in self._art:
            getattr(driver, "close", lambda: None)()

    async def aclose(self) -> None:
        """As ``close``, for ``asyncio``."""
        import asyncio

        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def checkpoint_config(self, name: str | None, tenant: str) -> CheckpointConfig | None:
        """What the configuration says of the checkpoint that a tenant's request draws with:
        the one that it names, the tenant's, or the default."""
        allowed = self.ledger.limits(tenant).checkpoints or ()
        wanted = name or self.options.get(tenant).get(CHECKPOINT) or next(iter(allowed), None)
        configs = self._art_config.checkpoints
        return config_named(configs, wanted or self._art_config.checkpoint)

    # --- conversations that draw ------------------------------------------------------------------

    def chat_text2image(
        self, message: str, conversation_id: str | None = None, **settings: Any
    ) -> Job:
        """ChatText2Image for programs: say something, get the job, finished in process.

        Turns of one conversation are drawn one after the other, whichever threads they come from.
        What became of the job is in it; ``drawing`` raises what made it fail.
        """
        request = ChatImageRequest(
            message=message, conversation_id=conversation_id, settings=settings
        )
        return self._finished(self.submit_chat_image(request))

    def chat_image2image(
        self,
        message: str,
        image: str | None = None,
        conversation_id: str | None = None,
        **settings: Any,
    ) -> Job:
        """ChatImage2Image for programs: as ``chat_text2image``, with a picture to change."""
        request = ChatEditRequest(
            message=message, image=image, conversation_id=conversation_id, settings=settings
        )
        return self._finished(self.submit_chat_image(request))

    def _finished(self, job: Job) -> Job:
        """The job at its end, if jobs are run in this process."""
        if not isinstance(self.queue, AtOnce):
            return job
        return self.queue.finish(job, self.jobs, self.settlement)

    def submit_chat_image(
        self,
        request: ChatImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        job_id: str | None = None,
    ) -> Job:
        """Accept a turn of a conversation and queue it; see `Intake.submit_chat_image`."""
        return self.intake.submit_chat_image(
            request, tenant=tenant, idempotency_key=idempotency_key, job_id=job_id
        )

    # --- single pictures --------------------------------------------------------------------------

    def text2image(
        self,
        request: Text2ImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        context: RunContext | None = None,
        **job_fields: Any,
    ) -> Job:
        """Text2Image: draw while the caller waits. Gives the final job.

        ``job_fields`` are ``metadata``, ``webhook``, ``expires_in`` and ``deadline`` of
        ``submit_image``. Raises what made the job fail: InvalidRequest and its kin, UpstreamError
        and its kin.
        """
        return self._inline.draw(
            request, tenant, idempotency_key, context or RunContext(), **job_fields
        )

    def image2image(
        self,
        request: Image2ImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        context: RunContext | None = None,
        **job_fields: Any,
    ) -> Job:
        """Image2Image: as ``text2image``, from the picture in ``init_images``."""
        return self._inline.draw(
            request, tenant, idempotency_key, context or RunContext(), **job_fields
        )

    def submit_image(
        self,
        request: Text2ImageRequest | Image2ImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        webhook: WebhookTarget | str | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
    ) -> Job:
        """Accept a Text2Image or Image2Image and queue it; see `Intake.submit_image`."""
        return self.intake.submit_image(
            request,
            tenant=tenant,
            idempotency_key=idempotency_key,
            job_id=job_id,
            metadata=metadata,
            webhook=webhook,
            expires_in=expires_in,
            deadline=deadline,
        )

    # --- jobs -------------------------------------------------------------------------------------

    def run(self, job_id: str, context: RunContext | None = None) -> Job:
        """Bring a queued job as far as it goes in one attempt; see `Runner.run`."""
        return self._runner.run(job_id, context)

    def wait(self, job: Job, *, seconds: float) -> Job:
        """Watch a queued job, for so long at most. Gives the job as it is then."""
        return self._inline.wait(job, seconds=seconds)

    def estimate(self, job: Job) -> Estimate | None:
        """What a queued job has before it; None for one that is not queued."""
        return estimate(job, self.records, self.hosts, self.clock)

    def drawing(self, job: Job) -> Drawing:
        """The pictures of a job, with all that the host said of them.

        Raises what made the job fail, JobCanceled, and JobNotFinal for one that has not ended.
        """
        if not job.status.final:
            job = self.jobs.get(job.id, job.tenant)
        if not job.status.final:
            raise JobNotFinal(
                f"The job is {job.status}: it has no pictures yet.", details={"job_id": job.id}
            )
        return self._runner.drawing(succeeded(job))

    def cancel(self, job_id: str, *, tenant: str = LOCAL_TENANT) -> Job:
        """Cancel a job: at once when it is queued, else as soon as its worker sees it."""
        self.jobs.get(job_id, tenant)
        return self.settlement.settle(self.jobs.change(job_id, cancel_job))

    def retry(self, job_id: str, *, tenant: str = LOCAL_TENANT) -> Job:
        """Run a failed or expired job again, under the same id."""
        self.jobs.get(job_id, tenant)
        job = self.jobs.change(job_id, retry_job)
        if job.predecessor is not None and not self.settlement.must_wait(job):
            job = self.jobs.change(job_id, released)
        return self.settlement.settle(job)

    def delete_job(self, job_id: str, *, tenant: str = LOCAL_TENANT) -> None:
        """Delete a final job's pictures and words; that it was, and how it ended, is kept for a
        while. Raises JobNotFinal."""
        self.settlement.discard(self.jobs.get(job_id, tenant))

    # --- what was said and drawn ------------------------------------------------------------------

    @cached_property
    def response_store(self) -> ResponseStore:
        """What was said in the conversations; ``Responses(..., store=robot.response_store)`` talks
        in the same ones."""
        from robotchat.gpt.responses.store import ResponseStore

        return ResponseStore(
            self.records,
            self.conversations,
            self.images,
            clock=self.clock,
            retention=self.settings.response_retention,
        )

    @cached_property
    def draws(self) -> ToolImages:
        """Who draws for responses: ``Responses(..., store=robot.response_store,
        draws=robot.draws)`` has the tool ``image_generation``."""
        from robotchat.lifecycle.draws import ToolImages

        return ToolImages(
            self.intake,
            self.jobs,
            self.conversations,
            self.images,
            self.settlement,
            self.settings,
        )

    def delete_conversation(self, conversation_id: str, *, tenant: str = LOCAL_TENANT) -> None:
        """Delete a conversation, all that was said and drawn in it; what still runs is canceled.

        From the beginning on nobody finds the conversation or adds to it. If this ends halfway,
        it can be done again.
        """
        conversation = self.conversations.close(conversation_id, tenant)
        turns = {job.id for job in self.conversations.turns(conversation.id)}
        turns |= {conversation.tail} if conversation.tail else set()  # the index may not have it
        for job_id in turns:
            self.settlement.discard(self.jobs.get(job_id, tenant), even_open=True)
        self.response_store.forget_conversation(conversation_id, tenant)
        self.conversations.forget(conversation)

    @cached_property
    def sweeper(self) -> Sweeper:
        """Repairs and clears up what all else has missed; run now and then."""
        return Sweeper(self.records, self.jobs, self.images, self.settlement, self.clock)


def _named(art: ArtDriver | Sequence[ArtDriver] | Mapping[str, ArtDriver]) -> Mapping[str, Any]:
    """The drivers under the names of their hosts."""
    if isinstance(art, Mapping):
        return art
    drivers = art if isinstance(art, Sequence) else [art]
    return {
        host_name(getattr(driver, "base_url", f"host-{number}")): driver
        for number, driver in enumerate(drivers)
    }
