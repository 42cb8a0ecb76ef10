"""GPT chat and Stable Diffusion pictures, as a library.

    from robotchat import Robot, WebUI

    robot = Robot(art=WebUI("http://127.0.0.1:7861"))
    beach = robot.chat_text2image("I want to see a photo of a beach")
    sunset = robot.chat_text2image("at sunset", beach.conversation_id)

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robotchat.art.bot import ArtBot
    from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
    from robotchat.art.results import Drawing, DrawnImage, Picture
    from robotchat.conversation import ChatEditRequest, ChatImageRequest, Conversation
    from robotchat.drivers.comfyui import ComfyUI
    from robotchat.drivers.hosts import host_driver
    from robotchat.drivers.openai import OpenAIChat
    from robotchat.drivers.webui import WebUI
    from robotchat.errors import RobotchatError
    from robotchat.gpt.bot import ChatBot, Session
    from robotchat.gpt.responses.engine import Responses
    from robotchat.images import FolderImages, MemoryImages
    from robotchat.jobs.job import Job, JobKind, JobStatus
    from robotchat.prompt.writer import PromptWriter
    from robotchat.robot import Robot
    from robotchat.settings import Settings

_HOMES = {
    "ArtBot": "robotchat.art.bot",
    "ChatBot": "robotchat.gpt.bot",
    "ChatEditRequest": "robotchat.conversation",
    "ChatImageRequest": "robotchat.conversation",
    "ComfyUI": "robotchat.drivers.comfyui",
    "Conversation": "robotchat.conversation",
    "Drawing": "robotchat.art.results",
    "DrawnImage": "robotchat.art.results",
    "FolderImages": "robotchat.images",
    "Image2ImageRequest": "robotchat.art.requests",
    "Job": "robotchat.jobs.job",
    "JobKind": "robotchat.jobs.job",
    "JobStatus": "robotchat.jobs.job",
    "MemoryImages": "robotchat.images",
    "OpenAIChat": "robotchat.drivers.openai",
    "Picture": "robotchat.art.results",
    "PromptWriter": "robotchat.prompt.writer",
    "Responses": "robotchat.gpt.responses.engine",
    "Robot": "robotchat.robot",
    "RobotchatError": "robotchat.errors",
    "Session": "robotchat.gpt.bot",
    "Settings": "robotchat.settings",
    "Text2ImageRequest": "robotchat.art.requests",
    "WebUI": "robotchat.drivers.webui",
    "host_driver": "robotchat.drivers.hosts",
}

__all__ = [
    "ArtBot",
    "ChatBot",
    "ChatEditRequest",
    "ChatImageRequest",
    "ComfyUI",
    "Conversation",
    "Drawing",
    "DrawnImage",
    "FolderImages",
    "Image2ImageRequest",
    "Job",
    "JobKind",
    "JobStatus",
    "MemoryImages",
    "OpenAIChat",
    "Picture",
    "PromptWriter",
    "Responses",
    "Robot",
    "RobotchatError",
    "Session",
    "Settings",
    "Text2ImageRequest",
    "WebUI",
    "host_driver",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'robotchat' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
