"""ComfyUI hosts: an operator's workflows, drawn as if they were checkpoints."""

from robotchat.drivers.comfyui.driver import ComfyUI

__all__ = ["ComfyUI"]
