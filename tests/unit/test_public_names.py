"""The names that programs import from the package: to take one away breaks them."""

from __future__ import annotations

import subprocess
import sys

import robotchat

PUBLIC = {
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
}


EARLIER = {"Picture": "DrawnImage"}
"""Names that classes had before, by those that they have now."""


def test_the_public_names_are_these() -> None:
    assert set(robotchat.__all__) == PUBLIC
    assert len(robotchat.__all__) == len(PUBLIC)


def test_each_public_name_is_that_of_a_class_or_a_function() -> None:
    for name in PUBLIC:
        found = getattr(robotchat, name)
        assert isinstance(found, type) != name.islower()
        assert found.__name__ == EARLIER.get(name, name)


def test_a_star_import_gives_them() -> None:
    names: dict[str, object] = {}
    exec("from robotchat import *", names)  # noqa: S102 - not allowed in a function
    assert set(names) - {"__builtins__"} == PUBLIC


def test_no_other_name_is_made_up() -> None:
    assert not hasattr(robotchat, "Robots")


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, robotchat; print(*(name for name in sys.modules if 'robotchat.' in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
