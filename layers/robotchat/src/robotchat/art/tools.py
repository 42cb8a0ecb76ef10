"""What an SD host does besides drawing: looking for files, changing settings, tools on pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from robotchat.art.answers import Detection, DetectRequest, read
from robotchat.art.baseline import Baseline
from robotchat.art.matching import find_checkpoint
from robotchat.art.questions import Questions
from robotchat.art.requests import CHECKPOINT
from robotchat.errors import UnknownCheckpoint, UpstreamGarbage, WrongResult


class Tools(Questions, ABC):
    """The tools of one SD host. All raise NotSupported when it does not have the function, and
    other UpstreamErrors."""

    baseline: Baseline

    @property
    @abstractmethod
    def _patience(self) -> float:
        """Longest wait, in seconds, for what the GPU does."""

    @abstractmethod
    def _tool(self, path: str, body: Mapping[str, Any], timeout: float | None) -> Any:
        """What a tool answers; its failures judged. ``timeout``: None for ``_patience``."""

    @abstractmethod
    def _forget(self) -> bool:
        """Ask the host anew for all that it told of itself before. Whether there was any."""

    def refresh_models(self) -> None:
        """Have the host look for new checkpoints; waits for what it draws. Raises NotSupported."""
        self._refresh("refresh-checkpoints")

    def refresh_loras(self) -> None:
        """The same for LoRAs. Raises NotSupported."""
        self._refresh("refresh-loras")

    def refresh_vaes(self) -> None:
        """The same for VAEs. Raises NotSupported."""
        self._refresh("refresh-vae")

    def refresh_embeddings(self) -> None:
        """The same for embeddings. Raises NotSupported."""
        self._refresh("refresh-embeddings")

    def _refresh(self, path: str) -> None:
        self._forget()
        if self.driver.webui is not None:  # hosts of other kinds look by themselves
            self._webui.post(f"sdapi/v1/{path}", timeout=self._patience)

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Change the host's settings for everybody who draws on it.

        A new checkpoint is loaded at once, which takes its time. Raises NotSupported,
        UnknownCheckpoint, UpstreamRejected for an unknown option, and WrongResult when the host
        could not load the checkpoint (it says "done" then, and keeps the old one).
        """
        options = dict(options)
        model = None
        if options.get(CHECKPOINT):
            model = find_checkpoint(self.get_models(), str(options[CHECKPOINT]), param=CHECKPOINT)
            options[CHECKPOINT] = model.alias
        self._tool("sdapi/v1/options", options, None)
        self.baseline.forget_safety()  # what holds now is to be learnt
        if model is not None:
            now = str(self.get_options().get(CHECKPOINT) or "")
            try:
                loaded = find_checkpoint(self.get_models(), now)
            except UnknownCheckpoint as error:
                raise UpstreamGarbage("The SD host names a checkpoint it does not list.") from error
            if loaded.alias != model.alias:
                raise WrongResult("The SD host could not load the checkpoint.")

    def upscale(self, fields: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Enlarge one picture: the fields and answer of ``extra-single-image``."""
        return read(dict[str, Any], self._tool("sdapi/v1/extra-single-image", fields, timeout))

    def upscale_batch(
        self, fields: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Enlarge several pictures: the fields and answer of ``extra-batch-images``."""
        return read(dict[str, Any], self._tool("sdapi/v1/extra-batch-images", fields, timeout))

    def interrogate(self, image: str, *, model: str = "clip", timeout: float | None = None) -> str:
        """Words for a picture (base64), by ``clip`` or ``deepdanbooru``.

        Raises WrongResult when the host could not find any.
        """
        answer = self._tool("sdapi/v1/interrogate", {"image": image, "model": model}, timeout)
        caption = str(read(dict[str, Any], answer).get("caption", ""))
        if caption.endswith("<error>"):
            # The web UI answers 200 all the same, often because it does not have the models.
            raise WrongResult(
                "The SD host could not find words for the picture; its models may be missing."
            )
        return caption

    def detect_controlnet(
        self, request: DetectRequest | None = None, *, timeout: float | None = None, **fields: Any
    ) -> Detection:
        """Run a preprocessor on pictures. Raises NotSupported and UpstreamRejected."""
        request = request or DetectRequest.model_validate(fields)
        body = request.model_dump(exclude_unset=True)
        return read(Detection, self._tool("controlnet/detect", body, timeout))
