"""What can be drawn with on one ComfyUI host: workflows, and the checkpoint files they serve."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from robotchat.art.answers import Lora, Model, Sampler, Scheduler
from robotchat.art.workflows import Graph, Mode, Workflow
from robotchat.drivers.comfyui import graphs, names
from robotchat.drivers.comfyui.graphs import Classes, NodeClass

logger = logging.getLogger(__name__)

_ALWAYS = ("KSampler", "LoraLoader")
"""Classes whose choices are the host's samplers, schedules and LoRAs."""


@cache
def shipped() -> tuple[Workflow, ...]:
    """The workflows that come with this package."""
    folder = files("robotchat.drivers.comfyui") / "templates"
    texts = [folder.joinpath(f"{name}.json").read_text("utf-8") for name in ("sd", "flux")]
    return tuple(Workflow.model_validate(json.loads(text)) for text in texts)


@dataclass(frozen=True)
class Entry:
    """What a caller names as a checkpoint: a workflow, or a file that one draws with."""

    model: Model
    workflow: Workflow
    file: str | None = None


class Catalog:
    """The workflows that a host can draw, by the names that callers use."""

    def __init__(
        self, workflows: Sequence[Workflow], ask: Callable[[str], dict[str, Any] | None]
    ) -> None:
        """``ask`` gives what the host says of a class of nodes, None if it does not have it."""
        known = [*workflows, *shipped()]
        self.classes = _classes([*_ALWAYS, *_named(known)], ask)
        self.entries: dict[str, Entry] = {}
        for workflow in known:
            wrong = [text for _, text in problems(workflow, self.classes)]
            if wrong:
                if workflow not in shipped():
                    logger.warning("a host cannot draw %r: %s", workflow.name, wrong[0])
                continue
            for entry in _entries(workflow, self.classes):
                self.entries.setdefault(entry.model.alias, entry)

    def samplers(self) -> list[Sampler]:
        return names.samplers(self._choices("KSampler", "sampler_name"))

    def schedulers(self) -> list[Scheduler]:
        return names.schedulers(self._choices("KSampler", "scheduler"))

    def loras(self) -> list[Lora]:
        found = self._choices("LoraLoader", "lora_name")
        return [Lora(name=stem(file), alias=stem(file), path=file) for file in found]

    def _choices(self, kind: str, name: str) -> tuple[str, ...]:
        there = self.classes[kind].inputs.get(name) if kind in self.classes else None
        return (there.choices or ()) if there else ()


def _named(workflows: Iterable[Workflow]) -> list[str]:
    found = (graph for workflow in workflows for _, graph in workflow.graphs())
    return [node["class_type"] for graph in found for node in graph.nodes.values()]


def _classes(wanted: Iterable[str], ask: Callable[[str], dict[str, Any] | None]) -> Classes:
    told = {name: ask(name) for name in dict.fromkeys(wanted)}
    return {name: NodeClass.read(one) for name, one in told.items() if one is not None}


def problems(workflow: Workflow, classes: Classes) -> list[tuple[Mode, str]]:
    """What keeps a workflow from being drawn on a host that has these classes."""
    found = [
        (mode, text)
        for mode, graph in workflow.graphs()
        for text in graphs.problems(graph, classes)
    ]
    if not found and workflow.serves_files and not _served(workflow, classes):
        mode = next(iter(workflow.graphs()))[0]
        found.append((mode, f"no checkpoint fits {', '.join(workflow.files)}"))
    return found


def check(
    workflow: Workflow, ask: Callable[[str], dict[str, Any] | None]
) -> list[tuple[Mode, str]]:
    """What keeps a workflow from being drawn on a host."""
    return problems(workflow, _classes(_named([workflow]), ask))


def _served(workflow: Workflow, classes: Mapping[str, NodeClass]) -> list[str]:
    """The files that every graph of a workflow can draw with, in the host's order."""
    each = [
        set(graphs.choices(graph, place, classes))
        for _, graph in workflow.graphs()
        for place in graph.slots.checkpoint
    ]
    first = next(iter(workflow.graphs()))[1].slots.checkpoint[0]
    graph = next(iter(workflow.graphs()))[1]
    ordered = graphs.choices(graph, first, classes)
    common = set.intersection(*each)
    return [name for name in ordered if name in common and graphs.fits(name, workflow.files)]


def _entries(workflow: Workflow, classes: Classes) -> list[Entry]:
    if not workflow.serves_files:
        model = Model(title=workflow.name, model_name=workflow.name, filename=workflow.name)
        return [Entry(model, workflow)]
    return [
        Entry(Model(title=file, model_name=stem(file), filename=file), workflow, file)
        for file in _served(workflow, classes)
    ]


def stem(file: str) -> str:
    """A file's name without its folders and extension."""
    base = file.replace("\\", "/").rpartition("/")[2]
    return base.rpartition(".")[0] or base


def graph_for(workflow: Workflow, mode: Mode) -> Graph | None:
    """The graph that a workflow has for a way of drawing."""
    return dict(workflow.graphs()).get(mode)
