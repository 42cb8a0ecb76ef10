"""Before a host is held: from a job to the request that will be drawn.

Here a conversation is folded into a prompt, what a turn takes over from the turn before is
settled, input pictures are loaded and the seed is chosen. None of it needs a GPU, so none of it
keeps one waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from robotchat.art.bot import ArtConfig
from robotchat.art.checkpoints import CheckpointConfig, config_named
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest, effective
from robotchat.errors import InvalidRequest, JobExpired
from robotchat.hosts.options import TenantOptions
from robotchat.images import Images, decode_base64
from robotchat.jobs.job import Job, JobKind, JobStatus
from robotchat.jobs.limits import Ledger
from robotchat.jobs.store import Jobs
from robotchat.lifecycle import inputs
from robotchat.lifecycle.seeing import Seeing
from robotchat.prompt.models import Fold, PromptState
from robotchat.prompt.writer import PromptWriter, Source
from robotchat.settings import Settings
from robotchat.text import readable

NO_MESSAGE = "-"
"""The message of a turn that nobody said anything for: a tool's call, see ``draws``."""

_LONGEST_REPLY = 10_000
"""Characters; a language model may say anything."""


@dataclass(frozen=True)
class Plan:
    """What is to be drawn: the request, the same with references for its images, and what to
    note in the job. No request: there is nothing to draw, only a reply."""

    request: Text2ImageRequest | Image2ImageRequest | None
    reference: dict[str, Any] | None
    notes: dict[str, Any]


class Preparation:
    """Makes plans for jobs."""

    def __init__(
        self,
        jobs: Jobs,
        images: Images,
        writer: PromptWriter,
        seeing: Seeing,
        options: TenantOptions,
        ledger: Ledger,
        settings: Settings,
        art_config: ArtConfig,
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._writer = writer
        self._seeing = seeing
        self._options = options
        self._ledger = ledger
        self._settings = settings
        self._art_config = art_config

    def prepare(self, job: Job) -> Plan:
        """All that can be done before a host is held: the prompt, the input pictures, the seed."""
        if job.partial:
            raise JobExpired("What was asked for is no longer stored: send it again as new.")
        if job.effective is not None:
            # Tried before: the same picture again, not another prompt or seed.
            return self._plan(job, job.effective, {"picture": job.picture})
        if job.message is None:
            return self._plan(job, job.request, {"prompt_source": "caller"})
        return self._turn(job, job.message)

    def _plan(self, job: Job, fields: Mapping[str, Any], notes: dict[str, Any]) -> Plan:
        """The request that follows from A1111 fields with references in them.

        An edit whose fields name no size, or one side only, gets the shape of its picture.
        """
        body = inputs.load_images(fields, job.tenant, self._images, self._settings)
        # A turn of a conversation may draw an earlier one again, of whichever kind that was.
        editing = job.kind is JobKind.IMAGE2IMAGE or (
            job.message is not None and "init_images" in body
        )
        if editing and job.message is not None:
            body |= inputs.size_like_image(body)
        request = effective((Image2ImageRequest if editing else Text2ImageRequest).parse(body))
        request = self._ledger.permit(request, job.tenant)
        return Plan(request, inputs.with_references(request.body(), fields), notes)

    def _turn(self, job: Job, message: str) -> Plan:
        editing = job.kind is JobKind.CHAT_IMAGE2IMAGE
        state, before = self._said_so_far(job)
        written = _written(job, editing=editing)
        seen = self._seen(job) if editing and written is None else None
        if seen is not None:
            # A picture of its own: what the conversation drew before is not on it.
            state = PromptState(prompt=seen)
        drawn = cache(lambda: self._drawn_turns(before))
        fold, source = written or self._writer.write(
            state, message, editing=editing, earlier=lambda: [_state(job) for job in drawn()]
        )
        base = before if fold.turn is None else drawn()[fold.turn]
        notes: dict[str, Any] = {
            "seen": seen,
            "prompt": fold.prompt,
            "negative_prompt": fold.negative_prompt,
            "prompt_source": source,
            "reply": fold.reply and readable(fold.reply[:_LONGEST_REPLY]),
            "picture": base.picture if base else None,
        }
        inherited = inputs.inherited(base.effective if base else None)
        if fold.mode == "reply":
            return Plan(None, None, {**notes, "effective": inherited})
        unchanged = state if base is None or fold.turn is None else _state(base)
        if _same_words(fold, unchanged) and not job.request.get("init_images"):
            if base is not None and base.effective is not None and fold.turn is not None:
                return self._plan(job, {**base.effective, **job.request}, notes)
            # The same once more: another picture, so another seed.
            inherited.pop("seed", None)
        if fold.width and fold.height:
            inherited |= {"width": fold.width, "height": fold.height}
        settings = {**inherited, **job.request}
        options = self._options_of(job, inherited)
        if options:
            settings["override_settings"] = options
        settings["prompt"] = fold.prompt
        negatives = [fold.negative_prompt, str(job.request.get("negative_prompt") or "")]
        settings["negative_prompt"] = ", ".join(text for text in negatives if text)
        if editing:
            if not settings.get("init_images"):
                if notes["picture"] is None:
                    raise InvalidRequest(
                        "There is no picture to change: send one with the message.", param="image"
                    )
                settings["init_images"] = [inputs.reference(notes["picture"])]
            elif not (fold.width and fold.height):
                # A new picture: its shape counts, not that of the pictures before.
                settings = {
                    name: value
                    for name, value in settings.items()
                    if name not in ("width", "height") or name in job.request
                }
            if fold.denoising_strength is not None:
                settings.setdefault("denoising_strength", fold.denoising_strength)
        else:
            settings.pop("denoising_strength", None)
        plan = self._plan(job, settings, notes)
        config = self._instructed(plan) if editing else None
        if config is None or message == NO_MESSAGE:
            return plan
        told = _instruction(job, message, settings, before, config)
        return self._plan(job, told, {**notes, "prompt_source": "instruction"})

    def _instructed(self, plan: Plan) -> CheckpointConfig | None:
        """What is said of the checkpoint that a plan draws with, if that takes instructions."""
        named = plan.request.checkpoint if plan.request is not None else None
        wanted = named or self._art_config.checkpoint
        config = config_named(self._art_config.checkpoints, wanted)
        return config if config is not None and config.instruct else None

    def _seen(self, job: Job) -> str | None:
        """What the picture shows that came with the message, found out once."""
        given = job.request.get("init_images")
        if job.seen is not None or not given:
            return job.seen
        body = {"init_images": given[:1]}
        loaded = inputs.load_images(body, job.tenant, self._images, self._settings)
        (image,) = loaded["init_images"]
        return self._seeing.describe(decode_base64(image, max_bytes=len(image)))

    def _options_of(self, job: Job, inherited: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a turn: the tenant's, under those of the turns before and its own."""
        merged = self._options.get(job.tenant)
        for fields in (inherited, job.request):
            merged |= fields.get("override_settings") or {}
        return merged

    def _said_so_far(self, job: Job) -> tuple[PromptState | None, Job | None]:
        """What the conversation draws as of the turn before, and that turn.

        A turn that failed before its prompt was written still counts as said; a canceled one was
        taken back by the user.
        """
        unfolded: list[Job] = []
        before = self._jobs.find(job.parent) if job.parent else None
        nearest = before
        while before is not None and before.prompt is None:
            if before.status is not JobStatus.CANCELED and before.message is not None:
                unfolded.insert(0, before)
            before = self._jobs.find(before.parent) if before.parent else None
        state = _state(before) if before is not None and before.prompt is not None else None
        for turn in unfolded:
            fold, _ = self._writer.write(state, turn.message or "", editing=False)
            state = PromptState(prompt=fold.prompt, negative_prompt=fold.negative_prompt)
        return state, before or nearest

    def _drawn_turns(self, last: Job | None) -> list[Job]:
        """The turns up to one that drew something, oldest first."""
        found: list[Job] = []
        while last is not None:
            if last.images:
                found.insert(0, last)
            last = self._jobs.find(last.parent) if last.parent else None
        return found


def _instruction(
    job: Job,
    message: str,
    settings: Mapping[str, Any],
    before: Job | None,
    config: CheckpointConfig,
) -> dict[str, Any]:
    """The fields of an edit for a checkpoint that is told what to change.

    The picture that the conversation has is one to refer to where the message brings its own.
    """
    told = {**settings, "prompt": message, "instruct": True}
    told["negative_prompt"] = str(job.request.get("negative_prompt") or "")
    # It begins with noise, and looks at the picture besides.
    told["denoising_strength"] = job.request.get("denoising_strength", 1.0)
    shown = before.picture if before is not None and job.request.get("init_images") else None
    if shown is not None and config.reference_pictures and not told.get("extra_images"):
        told["extra_images"] = [inputs.reference(shown)]
    if len(told.get("extra_images") or ()) > config.reference_pictures:
        raise InvalidRequest(
            f"The checkpoint takes {config.reference_pictures} pictures to refer to.",
            param="settings.extra_images",
        )
    return told


def _written(job: Job, *, editing: bool) -> tuple[Fold, Source] | None:
    """The prompt that the turn was accepted with, if it was."""
    if job.prompt is None or job.prompt_source != "llm":
        return None
    mode: Literal["edit", "generate"] = "edit" if editing else "generate"
    fold = Fold(mode=mode, prompt=job.prompt, negative_prompt=job.negative_prompt or "")
    return fold, "llm"


def _state(turn: Job) -> PromptState:
    """What a turn draws, and how."""
    effective = turn.effective or {}
    return PromptState(
        prompt=turn.prompt or "",
        negative_prompt=turn.negative_prompt or "",
        **{name: effective.get(name) for name in ("width", "height", "seed")},
    )


def _same_words(fold: Fold, state: PromptState | None) -> bool:
    """Whether a fold changes nothing about what is drawn, and in which size."""
    return (
        state is not None
        and not (fold.width and fold.height)
        and (fold.prompt, fold.negative_prompt) == (state.prompt, state.negative_prompt)
    )
