"""What an SD host can be asked about itself."""

from __future__ import annotations

from typing import Any

from robotchat.art.answers import (
    ControlNetModules,
    ControlNetSettings,
    ControlType,
    Embeddings,
    Extension,
    Lora,
    Model,
    PngInfo,
    PromptStyle,
    Sampler,
    Scheduler,
    ScriptInfo,
    Scripts,
    Upscaler,
    Vae,
    read,
)
from robotchat.art.driver import ArtDriver, WebuiRoutes, webui_of
from robotchat.art.modules import vaes_among
from robotchat.errors import NotSupported, UpstreamGarbage


class Questions:
    """The questions to one SD host. All raise NotSupported when it does not have the function,
    and other UpstreamErrors."""

    driver: ArtDriver

    @property
    def _webui(self) -> WebuiRoutes:
        return webui_of(self.driver)

    def get_models(self) -> list[Model]:
        """The checkpoints that the host can draw with."""
        return self.driver.models()

    def get_samplers(self) -> list[Sampler]:
        """The samplers, by name and alias."""
        return self.driver.samplers()

    def get_schedulers(self) -> list[Scheduler]:
        """The noise schedules. Raises NotSupported with older hosts."""
        return self.driver.schedulers()

    def get_upscalers(self) -> list[Upscaler]:
        """The upscalers, without the latent ones."""
        return read(list[Upscaler], self._webui.get("sdapi/v1/upscalers"))

    def get_named(self, path: str) -> list[dict[str, Any]]:
        """Another list of objects with a ``name``: ``hypernetworks``, ``face-restorers`` ..."""
        found = read(list[dict[str, Any]], self._webui.get(f"sdapi/v1/{path}"))
        if not all(isinstance(item.get("name"), str) for item in found):
            raise UpstreamGarbage("The SD host's list holds something without a name.")
        return found

    def get_loras(self) -> list[Lora]:
        """The LoRAs that a prompt may name."""
        return self.driver.loras()

    def get_vaes(self) -> list[Vae]:
        """The VAEs that ``override_settings.sd_vae`` may name."""
        try:
            return read(list[Vae], self._webui.get("sdapi/v1/sd-vae"))
        except NotSupported:
            return vaes_among(self.get_modules())

    def get_modules(self) -> list[Vae]:
        """The VAEs and text encoders that ``override_settings.forge_additional_modules`` may name.
        Raises NotSupported with hosts other than Forge's kinds."""
        return read(list[Vae], self._webui.get("sdapi/v1/sd-modules"))

    def get_extensions(self) -> list[Extension]:
        """What is installed on the host beside the web UI."""
        return read(list[Extension], self._webui.get("sdapi/v1/extensions"))

    def get_embeddings(self) -> Embeddings:
        """The learnt words that a prompt may use."""
        return read(Embeddings, self._webui.get("sdapi/v1/embeddings"))

    def get_prompt_styles(self) -> list[PromptStyle]:
        """The texts that ``styles`` may name."""
        return read(list[PromptStyle], self._webui.get("sdapi/v1/prompt-styles"))

    def get_scripts(self) -> Scripts:
        """The names of the scripts, for both ways of drawing."""
        return read(Scripts, self._webui.get("sdapi/v1/scripts"))

    def get_script_info(self) -> list[ScriptInfo]:
        """The scripts with their arguments."""
        return read(list[ScriptInfo], self._webui.get("sdapi/v1/script-info"))

    def get_cmd_flags(self) -> dict[str, Any]:
        """The host's command-line flags; secrets of the host may be among them."""
        return read(dict[str, Any], self._webui.get("sdapi/v1/cmd-flags"))

    def get_memory(self) -> dict[str, Any]:
        """Use of the host's memory and of its GPU's, in bytes."""
        return read(dict[str, Any], self._webui.get("sdapi/v1/memory"))

    def get_options(self) -> dict[str, Any]:
        """The host's settings."""
        return read(dict[str, Any], self._webui.get("sdapi/v1/options"))

    def png_info(self, image: str) -> PngInfo:
        """What the host reads out of a picture (base64) that was drawn by the web UI."""
        return read(PngInfo, self._webui.post("sdapi/v1/png-info", {"image": image}))

    def get_controlnet_models(self, *, update: bool = False) -> list[str]:
        """ControlNet's models; ``update`` has the host look for new ones. Raises NotSupported."""
        query = {"update": "true"} if update else {}
        answer = self._webui.get("controlnet/model_list", **query)
        return read(dict[str, list[str]], answer).get("model_list", [])

    def get_controlnet_modules(self, *, alias_names: bool = False) -> ControlNetModules:
        """ControlNet's preprocessors. Raises NotSupported."""
        query = {"alias_names": "true"} if alias_names else {}
        return read(ControlNetModules, self._webui.get("controlnet/module_list", **query))

    def get_controlnet_control_types(self) -> dict[str, ControlType]:
        """Which preprocessors and models go together, by kind. Raises NotSupported."""
        answer = read(dict[str, Any], self._webui.get("controlnet/control_types"))
        return read(dict[str, ControlType], answer.get("control_types"))

    def get_controlnet_version(self) -> int:
        """The version of ControlNet's API. Raises NotSupported."""
        return read(dict[str, int], self._webui.get("controlnet/version")).get("version", 0)

    def get_controlnet_settings(self) -> ControlNetSettings:
        """How many units a request may have. Raises NotSupported."""
        return read(ControlNetSettings, self._webui.get("controlnet/settings"))
