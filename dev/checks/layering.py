"""How the modules of the package may depend on one another: rooms in an order, and no way up.

A room is a folder of the package, or a module that lies beside them. Each may import what is below
it, and nothing beside or above it; within a room, modules may import one another as long as they
go in no circle. Imports inside functions and imports for types count as well: they tie modules
together just as the others do, and only hide it. Why the rooms are so is told in
``docs/decisions/0010-rooms.md``.

The checks take the root of a repository and return what is wrong with it, a sentence each.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import NoReturn

PACKAGE = Path("layers/robotchat/src/robotchat")

LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "clock", "correlation", "periodic", "text"),
    ("ids", "images", "records", "marking", "pixels"),
    ("net", "prompt"),
    ("art",),
    ("jobs",),
    ("settings", "conversation"),
    ("gpt", "hosts"),
    ("config", "views"),
    ("events",),
    ("lifecycle",),
    ("robot",),
    ("drivers",),
    ("__init__",),
    ("aws", "terminal"),
    ("cli",),
)
"""The rooms from low to high. Those of one level do not know each other. ``__init__`` is the
package itself, that is, its public names."""

ONLY: Mapping[str, tuple[str, ...]] = {
    "drivers": ("errors", "clock", "text", "images", "pixels", "art", "gpt"),
}
"""Rooms that may import no more than these of those below them: a driver speaks to a model, and
knows nothing of jobs."""

#: Only these may read the environment; all others are given what they need.
READ_ENVIRONMENT = ("aws.wiring", "aws.runtime", "cli")

#: Only robotchat.aws may import these, so that everything else runs without AWS.
AWS_LIBRARIES = ("boto3", "botocore", "aws_lambda_powertools", "awslambdaric")

OUTSIDE = ("functions", "dev", "tests", "benchmarks")
"""What does not ship with the package."""


class Modules:
    """The modules of the package, by their names without ``robotchat.``; the package itself is
    ``__init__``."""

    def __init__(self, root: Path) -> None:
        self.package = root / PACKAGE
        self.paths: dict[str, Path] = {}
        for path in sorted(self.package.rglob("*.py")):
            parts = path.relative_to(self.package).with_suffix("").parts
            if parts[-1] == "__init__" and len(parts) > 1:
                parts = parts[:-1]
            self.paths[".".join(parts)] = path

    def tree(self, module: str) -> ast.Module:
        """The source of a module, parsed."""
        return ast.parse(self.paths[module].read_text("utf-8"))

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Which modules of the package each module imports, wherever in it and whatever for."""
        return {module: set(self._own(module)) - {module} for module in self.paths}

    def _own(self, module: str) -> Iterator[str]:
        for name in imported(self.tree(module)):
            if name != "robotchat" and not name.startswith("robotchat."):
                continue
            inner = name.removeprefix("robotchat").removeprefix(".")
            while inner and inner not in self.paths:
                inner = inner.rpartition(".")[0]
            yield inner or "__init__"


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names of all that is imported anywhere in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import could go round the rooms unseen; it is named as it is written.
            within = "." * node.level + (node.module or "")
            yield from (f"{within}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The room that a module is in."""
    return module.partition(".")[0]


def imports_point_down(root: Path) -> list[str]:
    """Every import goes to a lower room, or stays in its own."""
    modules = Modules(root)
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
    wrong = [
        f"{path.relative_to(root)}: the room {room_of(module)} has no level in {__name__}."
        for module, path in modules.paths.items()
        if room_of(module) not in level
    ]
    if wrong:
        return wrong
    for module, path in modules.paths.items():
        room, place = room_of(module), path.relative_to(root)
        for other in sorted(modules.imports[module]):
            there = room_of(other)
            if there == room:
                continue
            if level[there] >= level[room]:
                wrong.append(f"{place}: imports {other}, and {there} is not below {room}.")
            elif room in ONLY and there not in ONLY[room]:
                wrong.append(f"{place}: imports {other}; {room} may only know {ONLY[room]}.")
        for name in sorted(set(imported(modules.tree(module)))):
            if room != "aws" and within(name, *AWS_LIBRARIES):
                wrong.append(f"{place}: imports {name}; only robotchat.aws may.")
            if within(name, *OUTSIDE):
                wrong.append(f"{place}: imports {name}, which does not ship.")
            if name.startswith("."):
                wrong.append(f"{place}: imports {name}; imports are absolute here.")
    return wrong


def imports_go_in_no_circle(root: Path) -> list[str]:
    """No module imports, by however many others, itself."""
    imports = Modules(root).imports
    wrong: list[str] = []
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        if module in way:
            circle = (*way[way.index(module) :], module)
            wrong.append(f"{PACKAGE}: a circle of imports: {' -> '.join(circle)}.")
        elif module not in done:
            for other in sorted(imports[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in imports:
        visit(module, ())
    return wrong


def modules_import_alone(root: Path) -> list[str]:
    """Every module can be the first that a program imports."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(root)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return [f"{PACKAGE}: cannot be imported: {done.stderr.strip()}"]
    return done.stdout.splitlines()


def environment_is_read_in_few_places(root: Path) -> list[str]:
    """Nothing looks into the process's environment but the few modules that start it."""
    modules = Modules(root)
    wrong = []
    for module, path in modules.paths.items():
        if module in READ_ENVIRONMENT:
            continue
        tree = modules.tree(module)
        names = {f"os.{node.attr}" for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names.update(imported(tree))
        for name in sorted(names & {"os.environ", "os.environb", "os.getenv", "os.putenv"}):
            wrong.append(f"{path.relative_to(root)}: uses {name}; settings are handed to it.")
    return wrong


def within(name: str, *packages: str) -> bool:
    """Whether a name is one of these packages, or in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _import_each_alone(root: Path) -> None:
    """Print which modules cannot be imported first, and why.

    A process for each module, that has imported nothing of the package. A new interpreter for
    each would take a minute; so they are forks of this one, which has loaded the libraries.
    """
    modules = Modules(root)
    sys.path.insert(0, str(modules.package.parent))
    for name in sorted({name for module in modules.paths for name in _libraries(modules, module)}):
        import_module(name)
    mine = [name for name in sys.modules if within(name, "robotchat")]
    if mine:
        raise RuntimeError(f"{mine} are loaded already")
    sys.stdout.flush()
    running = 0
    for module, path in modules.paths.items():
        if running >= (os.cpu_count() or 1):
            os.wait()
            running -= 1
        if os.fork() == 0:
            _import_first(module, path.relative_to(root))
        running += 1
    for _ in range(running):
        os.wait()


def _import_first(module: str, place: Path) -> NoReturn:
    """Import a module in this process, which ends then, and tell if that fails."""
    try:
        import_module("robotchat" if module == "__init__" else f"robotchat.{module}")
    except BaseException:  # noqa: BLE001 - told by the line that is printed
        why = traceback.format_exc().splitlines()[-1]
        print(f"{place}: cannot be imported first: {why}", flush=True)
    finally:
        os._exit(0)


def _libraries(modules: Modules, module: str) -> Iterator[str]:
    """The modules from elsewhere that a module imports as it is loaded."""
    for node in modules.tree(module).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        else:
            continue
        yield from (name for name in names if not within(name, "robotchat", *OUTSIDE))


if __name__ == "__main__":
    _import_each_alone(Path(sys.argv[1]))
