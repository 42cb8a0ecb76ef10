"""Pictures that the tool ``image_generation`` of a response draws: turns like all others.

The model has written the prompt, or, where it did not call the tool that it had to, the message is
folded like any message of a conversation that draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from robotchat.conversation import ChatEditRequest, ChatImageRequest, Conversations
from robotchat.errors import InvalidRequest, NotFound
from robotchat.gpt.responses.painting import Order
from robotchat.hosts import openai_images
from robotchat.hosts.openai_images import CreateImageRequest, ImageSource
from robotchat.ids import id_for_key
from robotchat.images import Images, decode_base64, encode_base64, inspect, looks_like_url
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.states import cancel, succeeded, watched
from robotchat.jobs.store import Jobs
from robotchat.lifecycle import inputs
from robotchat.lifecycle.accept import Intake
from robotchat.lifecycle.prepare import NO_MESSAGE
from robotchat.lifecycle.settle import Settlement
from robotchat.prompt.models import MAX_MESSAGE, Fold, PromptState
from robotchat.prompt.shapes import budget, shaped
from robotchat.settings import Settings

_OFFERED = frozenset(
    {
        *("type", "action", "model", "size", "quality", "background", "moderation", "n"),
        *("output_format", "output_compression", "partial_images"),
        *("input_fidelity", "input_image_mask"),
    }
)
"""Fields of the tool that mean something here, or are known to mean nothing."""

_FIDELITY = {"high": 0.5, "low": 0.75}
"""How far an edit may move from its picture."""

_PROPORTIONS = {"square": (1, 1), "landscape": (3, 2), "portrait": (2, 3)}


class ToolImages:
    """Draws for responses (`gpt.responses.painting.Draws`)."""

    def __init__(
        self,
        intake: Intake,
        jobs: Jobs,
        conversations: Conversations,
        images: Images,
        settlement: Settlement,
        settings: Settings,
    ) -> None:
        self._intake = intake
        self._jobs = jobs
        self._conversations = conversations
        self._images = images
        self._settlement = settlement
        self._settings = settings

    def check(self, tool: Mapping[str, Any], param: str, tenant: str) -> None:
        """Whether the tool can be had as it is asked for. Raises InvalidRequest and its kin,
        naming the field below ``param``, and LimitExceeded."""
        try:
            if tool.get("action", "auto") not in ("auto", "generate", "edit"):
                raise InvalidRequest("action must be auto, generate or edit", param="action")
            if tool.get("input_fidelity", "low") not in _FIDELITY:
                raise InvalidRequest("input_fidelity must be low or high", param="input_fidelity")
            if tool.get("n", 1) != 1:
                raise InvalidRequest("n must be 1: each call draws one picture", param="n")
            for name, value in tool.items():
                if name not in _OFFERED and value is not None:
                    raise InvalidRequest(f"{name} is not available here", param=name)
            if tool.get("input_image_mask") is not None:
                self.check_image(_mask_source(tool).text, "input_image_mask")
            drawing = openai_images.to_draw(_asked(tool), self._settings.image_steps)
            self._intake.quote(drawing, tenant)
        except InvalidRequest as error:
            error.param = f"{param}.{_named(error.param)}" if error.param else param
            raise

    def check_image(self, text: str, param: str) -> None:
        """Whether a text can be an image that is to be changed. Raises InvalidRequest and its kin.

        A GIF passes: the model may look at it, though nobody here can change it.
        """
        from robotchat.net.addresses import check_url

        limits = self._settings
        if looks_like_url(text):
            check_url(text.strip(), allow_http_loopback=limits.local, param=param)
            return
        if text.startswith("upload_"):
            return
        data = decode_base64(text, max_bytes=limits.max_image_bytes, param=param)
        if not data.startswith(b"GIF8"):
            inspect(
                data,
                max_bytes=limits.max_image_bytes,
                max_pixels=limits.max_image_pixels,
                param=param,
            )

    def usage(self, job: Job) -> dict[str, Any]:
        """OpenAI's usage of what a job has drawn."""
        sizes = [(image.width, image.height) for image in job.images]
        return openai_images.usage(
            job.prompt or "", sizes, changing=bool((job.effective or {}).get("init_images"))
        )

    def accept(self, order: Order) -> Job:
        """The job that draws an order, now or since an earlier call. Raises RobotchatError."""
        job_id = id_for_key("job", order.tenant, f"tool:{order.key}")
        earlier = self._jobs.find(job_id)
        if earlier is not None:
            # Whatever the model calls for when it is asked again: this was drawn for it.
            return self._settlement.send(earlier)
        source = order.source
        parent: Job | None = None
        if source is not None and source.job_id is not None:
            parent = self._jobs.get(source.job_id, order.tenant)
        editing = self._edits(order, parent)
        fields: dict[str, Any] = {
            "message": order.message[:MAX_MESSAGE] or NO_MESSAGE,
            "conversation_id": self._conversation(order, parent),
            "deadline": order.deadline,
            "settings": self._settings_of(order, parent, editing=editing),
        }
        request: ChatImageRequest
        if editing:
            image = source.image if source is not None else None
            request = ChatEditRequest(**fields, image=image)
        else:
            request = ChatImageRequest(**fields)
        return self._intake.submit_chat_image(
            request,
            tenant=order.tenant,
            job_id=job_id,
            written=_written(order, parent, editing=editing),
            parent=parent,
        )

    def _edits(self, order: Order, parent: Job | None) -> bool:
        if order.source is None or order.action == "generate":
            return False
        if order.action == "edit" or order.tool.get("input_image_mask") is not None:
            return True
        # Only the words tell: they change the picture, unless they want quite another one.
        return parent is None or parent.prompt is None or _changes(parent.prompt, order.message)

    def _conversation(self, order: Order, parent: Job | None) -> str | None:
        """The conversation whose turn the picture is; None for a new one."""
        if order.conversation_id is not None:
            return order.conversation_id
        source, found = order.source, parent.conversation_id if parent is not None else None
        if found is None or found in order.left or (source is not None and source.given):
            return None
        try:
            return self._conversations.get(found, order.tenant).id
        except NotFound:
            return None

    def _settings_of(self, order: Order, parent: Job | None, *, editing: bool) -> dict[str, Any]:
        """The A1111 fields of the turn."""
        asked = _asked(order.tool)
        body = openai_images.to_draw(asked, self._settings.image_steps).body()
        ours = ("prompt", "negative_prompt")
        fields = {name: value for name, value in body.items() if name not in ours}
        if order.shape is not None:
            sides = shaped(*_PROPORTIONS[order.shape], budget(asked.checkpoint))
            fields |= dict(zip(("width", "height"), sides, strict=True))
        if editing:
            if (fidelity := order.tool.get("input_fidelity")) is not None:
                fields["denoising_strength"] = _FIDELITY[fidelity]
            if order.tool.get("input_image_mask") is not None:
                fields |= self._mask(order, parent)
        return fields

    def _mask(self, order: Order, parent: Job | None) -> dict[str, Any]:
        """The web UI's mask, of the size of the picture that it belongs to."""
        from robotchat.pixels import repaint_mask

        if order.source is not None and order.source.image is not None:
            image = self._load(order.source.image, order.tenant)
        elif parent is not None and parent.picture is not None:
            image = self._images.get(parent.picture)
        else:
            raise InvalidRequest("There is no picture yet that the mask belongs to.")
        mask = self._load(_mask_source(order.tool).text, order.tenant)
        return {
            "mask": encode_base64(repaint_mask(mask, image, param="input_image_mask")),
            "inpainting_fill": 1,
            "inpaint_full_res": False,
        }

    def _load(self, text: str, tenant: str) -> bytes:
        body = inputs.load_images({"mask": text}, tenant, self._images, self._settings)
        limits = self._settings
        return decode_base64(body["mask"], max_bytes=limits.max_image_bytes)

    def look(self, job: Job) -> Job:
        """The job as it is now; while it runs, previews are made for the next looks."""
        return self._jobs.change(job.id, watched)

    def preview(self, job: Job) -> bytes | None:
        """What a running job's picture looks like so far, if its host shows that."""
        if job.status is not JobStatus.RUNNING or job.preview is None:
            return None
        try:
            return self._images.get(job.preview)
        except NotFound:
            return None

    def image(self, job: Job) -> bytes:
        """The file that a final job has drawn. Raises what kept it from drawing."""
        done = succeeded(job)
        if not done.images:
            raise InvalidRequest(done.reply or "The message asks for no picture.")
        return self._images.get(done.images[0].key)

    def cancel(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        self._settlement.settle(self._jobs.change(job.id, cancel))

    def delete(self, job_id: str, tenant: str) -> None:
        """Forget what was drawn, if it is there."""
        job = self._jobs.find(job_id)
        if job is None or job.tenant != tenant:
            return
        self._settlement.discard(job, even_open=True)
        try:
            conversation = self._conversations.get(job.conversation_id or "", tenant)
        except NotFound:
            return
        if conversation.turns == 1 and conversation.tail == job.id:
            # It was made for this picture, and there is nothing else in it.
            self._conversations.forget(conversation)


def _written(order: Order, parent: Job | None, *, editing: bool) -> Fold | None:
    """The prompt that the model has written; None where the message is to be folded."""
    call = order.call
    if call is None or not call.prompt:
        return None
    negative = call.negative_prompt
    if negative is None:
        # What was taken out of a picture does not come back because the model forgot it.
        negative = (parent.negative_prompt if editing and parent is not None else None) or ""
    return Fold(
        mode="edit" if editing else "generate", prompt=call.prompt, negative_prompt=negative
    )


def _changes(prompt: str, message: str) -> bool:
    """Whether a message is about the picture of a prompt, and not about quite another one."""
    from robotchat.prompt.rules.folding import folded
    from robotchat.prompt.rules.operations import Draw, Redraw

    found = folded(PromptState(prompt=prompt), message, editing=True)
    for operation in found.operations:
        if isinstance(operation, Redraw):
            return False
        if isinstance(operation, Draw) and (operation.fresh or prompt not in found.fold.prompt):
            return False
    return True


def _mask_source(tool: Mapping[str, Any]) -> ImageSource:
    try:
        return ImageSource.model_validate(tool["input_image_mask"])
    except ValidationError:
        raise InvalidRequest(
            "input_image_mask needs an image_url or a file_id", param="input_image_mask"
        ) from None


def _named(param: str) -> str:
    """The tool's own name for a field of the hosts."""
    return "quality" if param == "steps" else openai_images.field_of(param) or param


def _asked(tool: Mapping[str, Any]) -> CreateImageRequest:
    """The tool's fields as a request for a picture, whose prompt is not known yet. Raises
    InvalidRequest."""
    names = (
        *("model", "size", "quality", "background", "output_format", "output_compression"),
        *("moderation", "partial_images"),
    )
    fields = {name: tool[name] for name in names if tool.get(name) is not None}
    try:
        return CreateImageRequest.model_validate({**fields, "prompt": "-"})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise InvalidRequest(str(problem["msg"]), param=where or "size") from None
