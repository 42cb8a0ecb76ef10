"""How often the walk of a chat image climbs: calls from a module into one that builds on it.

``python -m benchmarks.walk [SRC]`` follows a chat image from ``submit_chat_image`` to its stored
picture, over memory and a host that draws at once, and counts the calls between modules of the
package; ``SRC`` is the folder that has another version of the package. A call goes up when it goes
to a module that imports, by however many steps, the one that calls: such calls are what makes code
hard to follow from top to bottom.
"""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = "robotchat"
SOURCE = Path(__file__).parents[1] / "layers" / PACKAGE / "src"


def imports(source: Path) -> dict[str, set[str]]:
    """The modules of the package that each of them imports, in whatever way."""
    files = {_name(path, source): path for path in (source / PACKAGE).rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        tree = ast.parse(path.read_text("utf-8"))
        wanted: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found[name] = {one for one in wanted if one in files and one not in (name, PACKAGE)}
    return found


def above(direct: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """All that each module builds on, by however many steps."""
    reached: dict[str, set[str]] = {}
    for name in direct:
        seen: set[str] = set()
        todo = [name]
        while todo:
            for one in direct[todo.pop()] - seen:
                seen.add(one)
                todo.append(one)
        reached[name] = seen
    return reached


def walk(source: Path) -> dict[str, Any]:
    """The calls between modules on that walk, and those of them that climb."""
    sys.path.insert(0, str(source))
    from robotchat.conversation import ChatImageRequest
    from robotchat.drivers.fake import FakeArt
    from robotchat.robot import Robot

    builds_on = above(imports(source))
    between: Counter[tuple[str, str]] = Counter()

    def seen(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_back is not None:
            to = _name(Path(frame.f_code.co_filename), source)
            by = _name(Path(frame.f_back.f_code.co_filename), source)
            if to in builds_on and by in builds_on and to != by:
                between[by, to] += 1

    robot = Robot(art=FakeArt())
    robot.submit_chat_image(ChatImageRequest(message="a photo of a beach"))
    threading.setprofile(seen)
    sys.setprofile(seen)
    job = robot.submit_chat_image(ChatImageRequest(message="a photo of a cat"))
    sys.setprofile(None)
    threading.setprofile(None)
    if not job.status.final:
        job = robot.jobs.get(job.id, "local")
    assert job.images, job.status
    up = {
        f"{by} -> {to}": calls
        for (by, to), calls in between.most_common()
        if by in builds_on[to] and not to.startswith(f"{PACKAGE}.drivers.fake")
    }
    return {"calls": sum(between.values()), "up": sum(up.values()), "edges up": len(up), "by": up}


def _name(path: Path, source: Path) -> str:
    if not path.is_relative_to(source):
        return ""
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


if __name__ == "__main__":
    print(json.dumps(walk(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE), indent=1))
