"""What must agree: folders, template, events, code and OpenAPI document.

``python -m dev.checks.contract`` prints what does not. Each check takes the root of a repository
and returns what is wrong with it, a sentence each.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from dev.checks import layering, openapi, privileges
from dev.checks.deployed import (
    environments_fit,
    integrations_outlast_functions,
    log_levels_are_lambdas,
    preflights_are_answered,
    queues_outlast_functions,
    quotas_leave_room,
    streaming_functions_stream,
    wrong_methods_reach_a_function,
)
from dev.checks.words import names_say_image
from dev.template import FUNCTION, Route, Template

FAMILIES = ("sd", "controlnet", "gpt", "chat", "jobs", "admin", "workers")
LOCKS = {
    "layers/robotchat/constraints.txt": "",
    "dev/requirements.txt": "dev/requirements.in",
    "dev/requirements-sam.txt": "dev/requirements-sam.in",
    "dev/requirements-policies.txt": "dev/requirements-policies.in",
}
"""The locks, and from which list each is made; the layer's is made from its project."""

ARCHITECTURE = Path("docs/architecture.md")

OPERATIONS = Path("docs/operations.md")
"""Has a table of those environment variables that the template does not set."""


def logical_id(endpoint: str) -> str:
    """The template's name of an endpoint folder: ``chat_text2image`` is ``ChatText2Image``."""
    return endpoint.title().replace("_", "")


def endpoint_folders(root: Path) -> list[Path]:
    """Every ``functions/<family>/<endpoint>``."""
    found = (path for path in root.glob("functions/*/*") if path.is_dir())
    return sorted(path for path in found if "__pycache__" not in path.parts)


def folders_are_functions(root: Path) -> list[str]:
    """Every folder is one function of the template and the other way round, under its name."""
    wrong = []
    deployed = {
        name: folder.relative_to(root.resolve())
        for name, folder in Template(root / "template.yaml").folders().items()
    }
    seen: dict[str, Path] = {}
    for folder in endpoint_folders(root):
        here, name = folder.relative_to(root), logical_id(folder.name)
        if folder.parent.name not in FAMILIES:
            wrong.append(f"{here}: there is no family {folder.parent.name}.")
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", folder.name):
            wrong.append(f"{here}: a folder's name is in snake_case.")
        if name in seen:
            wrong.append(f"{here}: {seen[name]} has the same name.")
        elif name not in deployed:
            wrong.append(f"{here}: the template has no function {name}.")
        elif deployed[name] != here:
            wrong.append(f"{here}: the template's {name} is in {deployed[name]}.")
        seen[name] = here
    return wrong + [
        f"template.yaml: {name} has no folder." for name in sorted(set(deployed) - set(seen))
    ]


def folders_hold_one_file(root: Path) -> list[str]:
    """An endpoint's folder holds its ``app.py``, which begins with its route, and nothing else.

    Further routes stand each in a line of its own."""
    wrong = []
    routes = _routes(root)
    for folder in endpoint_folders(root):
        here = folder.relative_to(root)
        files = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
        if files != ["app.py"]:
            wrong.append(f"{here}: holds {', '.join(files) or 'nothing'}, not just app.py.")
            continue
        said = ast.get_docstring(ast.parse((folder / "app.py").read_text("utf-8"))) or ""
        for number, route in enumerate(routes.get(logical_id(folder.name), [])):
            line = f"{route.method} {route.path}: "
            if not said.startswith(line) if number == 0 else f"\n{line}" not in said:
                where = "have a line" if number else "begin"
                wrong.append(f"{here}/app.py: does not {where} '{line}...'.")
    return wrong


def events_are_functions(root: Path) -> list[str]:
    """Every endpoint has an event file of its name that fits its route, and there is no other."""
    wrong = []
    folders = {path.relative_to(root / "functions") for path in endpoint_folders(root)}
    events = {
        path.relative_to(root / "events").with_suffix("") for path in root.glob("events/*/*.json")
    }
    wrong += [f"functions/{name}: there is no events/{name}.json." for name in folders - events]
    wrong += [f"events/{name}.json: there is no functions/{name}." for name in events - folders]
    routes = _routes(root)
    for name in folders & events:
        event = json.loads((root / f"events/{name}.json").read_text("utf-8"))
        known = [(route.method, route.path) for route in routes.get(logical_id(name.name), [])]
        if known and (event.get("httpMethod"), event.get("resource")) not in known:
            wrong.append(f"events/{name}.json: is not for {known[0][0]} {known[0][1]}.")
    return sorted(wrong)


def document_is_current(root: Path) -> list[str]:
    """The committed OpenAPI document is what template and code make together."""
    try:
        text = openapi.written(root)
    except openapi.Disagreement as error:
        return [str(error)]
    committed = root / openapi.COMMITTED
    if not committed.exists() or committed.read_text("utf-8") != text:
        return [f"{openapi.COMMITTED}: is not current; run `python -m dev.checks.openapi --write`."]
    return []


def functions_import_only_the_package(root: Path) -> list[str]:
    """An endpoint knows robotchat and a few modules of the standard library, and nothing else."""
    return [
        f"{path.relative_to(root)}: imports {name}, not just robotchat."
        for path in sorted(root.glob("functions/*/*/*.py"))
        for name in layering.imported(ast.parse(path.read_text("utf-8")))
        if not layering.within(name, "robotchat", "typing", "collections", "__future__", "datetime")
    ]


def settings_can_be_found(root: Path) -> list[str]:
    """What the settings are read from is set by the template, or told in the documented list."""
    read = _variables(root / layering.PACKAGE / "settings.py")
    listed = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", (root / OPERATIONS).read_text("utf-8"), re.M))
    deployed = {
        name
        for _, properties in Template(root / "template.yaml").resources(FUNCTION)
        for name in (properties.get("Environment") or {}).get("Variables") or {}
    }
    wrong = [
        f"settings.py: reads {name}, which is neither in template.yaml nor in {OPERATIONS}."
        for name in sorted(read - listed - deployed)
    ]
    wrong += [f"{OPERATIONS}: lists {name}, which nobody reads." for name in sorted(listed - read)]
    foreign = (name for name in deployed if not name.startswith(("AWS_", "POWERTOOLS_")))
    return wrong + [
        f"template.yaml: sets {name}, which nobody reads." for name in sorted({*foreign} - read)
    ]


def layer_is_pinned(root: Path) -> list[str]:
    """The layers' versions are those that the tests run with, and none is left open."""
    tested = _pins(root / "dev/requirements.txt")
    wrong = [
        f"{path.relative_to(root)}: {name} is {version}, but tested as {tested[name]}."
        for path in sorted(root.glob("layers/*/constraints.txt"))
        for name, version in _pins(path).items()
        if tested.get(name, version) != version
    ]
    shipped = _pins(root / "layers/robotchat/constraints.txt")
    project = tomllib.loads((root / openapi.PROJECT).read_text("utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["aws"]
    for requirement in wanted:
        name = re.split(r"[^A-Za-z0-9_-]", requirement, maxsplit=1)[0].lower()
        if name not in shipped:
            wrong.append(f"layers/robotchat/constraints.txt: {name} is not pinned.")
    return wrong


def locks_are_whole(root: Path) -> list[str]:
    """What development asks for is pinned, and every pin of every lock has the files' hashes."""
    wrong = []
    for lock, asked in LOCKS.items():
        names = _asked(root / asked) if asked else set()
        missing = sorted(names - _pins(root / lock).keys())
        wrong += [f"{lock}: {name} is not pinned; run `make locks`." for name in missing]
        pins = re.split(r"^(?=\S)", (root / lock).read_text("utf-8"), flags=re.M)
        wrong += [
            f"{lock}: {pin.split()[0]} has no hash; run `make locks`."
            for pin in pins
            if "==" in pin and "--hash=sha256:" not in pin
        ]
    return wrong


def the_map_is_current(root: Path) -> list[str]:
    """Every module that the architecture page names is there."""
    text = (root / ARCHITECTURE).read_text("utf-8")
    known = [path.relative_to(root) for path in root.glob("*/**/*.py") if ".venv" not in path.parts]
    # A name is the end of a path: `jobs/job.py`, or `tools.py` beside another of its folder.
    ends = {"/".join(path.parts[at:]) for path in known for at in range(len(path.parts))}
    named = sorted(set(re.findall(r"`([a-z0-9_/]+\.py)`", text)))
    return [f"{ARCHITECTURE}: there is no {name}." for name in named if name not in ends]


CHECKS: tuple[Callable[[Path], list[str]], ...] = (
    folders_are_functions,
    folders_hold_one_file,
    events_are_functions,
    functions_import_only_the_package,
    layering.imports_point_down,
    layering.imports_go_in_no_circle,
    layering.modules_import_alone,
    layering.environment_is_read_in_few_places,
    settings_can_be_found,
    streaming_functions_stream,
    integrations_outlast_functions,
    preflights_are_answered,
    wrong_methods_reach_a_function,
    quotas_leave_room,
    environments_fit,
    log_levels_are_lambdas,
    queues_outlast_functions,
    privileges.grants_are_used_by_code,
    document_is_current,
    layer_is_pinned,
    locks_are_whole,
    the_map_is_current,
    names_say_image,
)


def _pins(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    found = (re.match(r"([A-Za-z0-9_.-]+)==([^ ;]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def _asked(path: Path) -> set[str]:
    """The names in a list of what is wanted."""
    lines = path.read_text("utf-8").splitlines()
    found = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines)
    return {match[0].lower() for match in found if match}


def _routes(root: Path) -> dict[str, list[Route]]:
    routes: dict[str, list[Route]] = {}
    for route in Template(root / "template.yaml").api().routes:
        routes.setdefault(route.function, []).append(route)
    return routes


def _variables(settings: Path) -> set[str]:
    """The environment variables that ``Settings.from_env`` asks for."""
    [read] = [
        node
        for node in ast.walk(ast.parse(settings.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "from_env"
    ]
    asked = (node.args[0] for node in ast.walk(read) if isinstance(node, ast.Call) and node.args)
    names = (node.value for node in asked if isinstance(node, ast.Constant))
    return {name for name in names if isinstance(name, str) and re.fullmatch("[A-Z0-9_]+", name)}


def main() -> int:
    """Print what does not agree."""
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of its own switches
    root = Path(__file__).parents[2]
    wrong = [complaint for check in CHECKS for complaint in check(root)]
    for complaint in wrong:
        print(complaint)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
