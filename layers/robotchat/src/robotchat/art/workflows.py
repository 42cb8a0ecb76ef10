"""ComfyUI workflows as an operator names them: graphs, and where in them a request's fields go.

A graph is what ComfyUI exports as "API format": nodes by their ids, each with its class and its
inputs, which are values or links (``["4", 0]`` is the first output of node 4). Slots say which
inputs a caller's fields are put into: ``{"prompt": ["6.text"]}``. Callers fill values; what the
nodes are, and how they hang together, is the operator's alone.

Here a workflow is checked as far as that takes no host; ``drivers.comfyui`` compares it with what a
host has, and draws with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from robotchat.errors import Misconfigured
from robotchat.text import check_json, read_json

MAX_NODES = 200
MAX_WORKFLOW_BYTES = 64 * 1024
MAX_WORKFLOWS_BYTES = 192 * 1024
"""Of all workflows of a configuration together, which is one item of a table that allows 400 KB."""

Mode = Literal["text2image", "image2image", "inpaint"]
MODES: Final[tuple[Mode, ...]] = ("text2image", "image2image", "inpaint")

_INPUT = re.compile(r"([^.\s]{1,100})\.(\S{1,100})")

Nodes = dict[str, Any]
"""A graph: nodes by id, as ComfyUI's API takes them."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Places = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=201)]],
    BeforeValidator(_one_or_several),
    Field(max_length=20),
]
_TEXT: Final = {"prompt", "negative", "sampler", "scheduler", "resize", "checkpoint"}
_IMAGES: Final = {"image", "mask"}
_WHOLE: Final = {"seed", "steps", "width", "height"}
_NUMBERS: Final = {"cfg", "guidance", "denoise"}
_NODES: Final = {"lora", "mask_blur", "mask_invert"}


class Slots(_Part):
    """Where in a graph the fields of a request go; a field without a place is refused.

    A place is ``node.input``, as in ``6.text``; for the last three it is the id of a node.
    """

    prompt: Places = Field(min_length=1, description="The prompt.", examples=[["6.text"]])
    negative: Places = Field(default=[], description="`negative_prompt`.")
    seed: Places = Field(min_length=1, description="`seed`.", examples=[["3.seed"]])
    width: Places = Field(min_length=1, description="`width`, a multiple of 8.")
    height: Places = Field(min_length=1, description="`height`, a multiple of 8.")
    steps: Places = Field(default=[], description="`steps`.")
    cfg: Places = Field(default=[], description="`cfg_scale`.")
    guidance: Places = Field(default=[], description="`distilled_cfg_scale` (Flux).")
    sampler: Places = Field(default=[], description="`sampler_name`, by ComfyUI's own name.")
    scheduler: Places = Field(default=[], description="`scheduler`, by ComfyUI's own name.")
    denoise: Places = Field(default=[], description="`denoising_strength`.")
    image: Places = Field(default=[], description="Inputs of LoadImage: the picture to start from.")
    mask: Places = Field(default=[], description="Inputs of LoadImage: the mask.")
    resize: Places = Field(
        default=[], description="`resize_mode`: inputs that take `disabled` (0) or `center` (1)."
    )
    checkpoint: Places = Field(
        default=[],
        description="The file name of the checkpoint. With it, the workflow draws with every "
        "such file of the host that `files` allows, and goes by their names instead of its own.",
    )
    lora: Places = Field(
        default=[],
        max_length=1,
        description="Id of a node like LoraLoader; it is there once for each LoRA of the prompt.",
    )
    mask_blur: Places = Field(
        default=[], max_length=1, description="Id of an ImageBlur node that blurs the mask."
    )
    mask_invert: Places = Field(
        default=[], max_length=1, description="Id of a node that is there if the mask is inverted."
    )


class Graph(_Part):
    """A graph with its slots, and the node whose pictures are the result."""

    nodes: Nodes = Field(
        description="ComfyUI's API format: `{id: {class_type, inputs}}`, as the menu item "
        "Export (API) writes it."
    )
    slots: Slots
    output: str = Field(
        max_length=100,
        description="Id of the node that gives the picture: PreviewImage, which leaves a file "
        "until the host's next start, SaveImageWebsocket, which leaves none, or SaveImage.",
        examples=["9"],
    )
    pick: dict[str, list[str]] = Field(
        default={},
        max_length=20,
        description="Inputs whose value is the first of the host's choices that fits a pattern: "
        '`{"10.vae_name": ["ae.*"]}`.',
    )

    @model_validator(mode="after")
    def _sound(self) -> Graph:
        problem = next(_problems(self), None)
        if problem is not None:
            raise PydanticCustomError("value_error", "{problem}", {"problem": problem})
        return self


class Workflow(_Part):
    """A way to draw on ComfyUI hosts, which callers name as they name a checkpoint."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\s\[\]<>:]+( [^\s\[\]<>:]+)*$")
    files: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=["*"],
        max_length=50,
        description="Patterns of the checkpoint files that it is for, if it has the slot "
        "`checkpoint`; case does not matter.",
        examples=[["*xl*.safetensors"]],
    )
    text2image: Graph | None = Field(default=None, description="Draws from words alone.")
    image2image: Graph | None = Field(default=None, description="Draws from a picture.")
    inpaint: Graph | None = Field(default=None, description="Draws from a picture with a mask.")

    @model_validator(mode="after")
    def _sound(self) -> Workflow:
        graphs = dict(self.graphs())
        if not graphs:
            raise _refused(f"has none of {', '.join(MODES)}")
        for mode, graph in graphs.items():
            for slot, wanted in (("image", mode != "text2image"), ("mask", mode == "inpaint")):
                if bool(getattr(graph.slots, slot)) != wanted:
                    needs = "needs the slot" if wanted else "cannot have the slot"
                    raise _refused(f"{mode} {needs} {slot}")
        if len({bool(graph.slots.checkpoint) for graph in graphs.values()}) > 1:
            raise _refused("has the slot checkpoint in some of its graphs only")
        check_json(self.model_dump(mode="json"))
        if self.size > MAX_WORKFLOW_BYTES:
            raise _refused(f"has more than {MAX_WORKFLOW_BYTES} bytes")
        return self

    @property
    def size(self) -> int:
        """Bytes of its JSON, without what is there by default."""
        return len(self.model_dump_json(exclude_defaults=True).encode())

    @property
    def serves_files(self) -> bool:
        """Whether it goes by the names of checkpoint files."""
        return any(graph.slots.checkpoint for _, graph in self.graphs())

    def graphs(self) -> Iterator[tuple[Mode, Graph]]:
        """The graphs that it has, by what they draw from."""
        for mode in MODES:
            graph: Graph | None = getattr(self, mode)
            if graph is not None:
                yield mode, graph


def read_folder(folder: Path) -> list[Workflow]:
    """The workflows in a folder's JSON files; one without a name goes by its file's.

    Raises Misconfigured, naming the file and what is wrong with it.
    """
    found = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
        for path in paths:
            found.append(_read(path))
    except OSError as error:
        raise Misconfigured(f"The workflows in {folder} cannot be read: {error}.") from error
    names = [workflow.name for workflow in found]
    if len(names) != len(set(names)):
        raise Misconfigured(f"The workflows in {folder} have a name twice.")
    return found


def _read(path: Path) -> Workflow:
    try:
        fields = read_json(path.read_bytes())
        if isinstance(fields, dict):
            fields.setdefault("name", path.stem)
        return Workflow.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Misconfigured(f"{path.name}: {where}: {first['msg']}") from error
    except ValueError as error:
        raise Misconfigured(f"{path.name} is not JSON: {error}") from error


def _refused(problem: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{problem}", {"problem": f"the workflow {problem}"})


def split(place: str) -> tuple[str, str] | None:
    """``6.text`` as node and input; None for what is not of that form."""
    found = _INPUT.fullmatch(place)
    return (found[1], found[2]) if found else None


def is_link(value: object) -> bool:
    """Whether an input's value is a link to another node's output."""
    return isinstance(value, list)


def _problems(graph: Graph) -> Iterator[str]:
    """What is wrong with a graph, whatever the host."""
    nodes = graph.nodes
    if isinstance(nodes.get("nodes"), list):
        yield "nodes: this is the editor's format; export the workflow with Export (API)"
        return
    if not 1 <= len(nodes) <= MAX_NODES:
        yield f"nodes: a graph has 1 to {MAX_NODES} nodes"
        return
    for name, node in nodes.items():
        yield from _problems_of_node(name, node, nodes)
    if graph.output not in nodes:
        yield f"output: there is no node {graph.output!r}"
    for slot in Slots.model_fields:
        for place in getattr(graph.slots, slot):
            yield from (f"slots.{slot}: {text}" for text in _problems_of_place(slot, place, nodes))
    for place, patterns in graph.pick.items():
        if not patterns:
            yield f"pick.{place}: it needs a pattern"
        yield from (f"pick.{place}: {text}" for text in _problems_of_place("resize", place, nodes))


def _problems_of_node(name: str, node: object, nodes: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        yield f"nodes.{name}: a node is an object with class_type and inputs"
        return
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        yield f"nodes.{name}.inputs: must be an object"
        return
    for title, value in inputs.items():
        if is_link(value) and not (
            len(value) == 2 and value[0] in nodes and isinstance(value[1], int) and value[1] >= 0
        ):
            yield f"nodes.{name}.inputs.{title}: a link is [id of a node, number of its output]"


def _problems_of_place(slot: str, place: str, nodes: Mapping[str, Any]) -> Iterator[str]:
    if slot in _NODES:
        if place not in nodes:
            yield f"there is no node {place!r}"
        return
    parts = split(place)
    if parts is None:
        yield f"{place!r} is not of the form node.input"
        return
    inputs = nodes[parts[0]]["inputs"] if parts[0] in nodes else {}
    if parts[1] not in inputs:
        yield f"there is no input {place!r}"
        return
    value = inputs[parts[1]]
    texts = slot in _TEXT or slot in _IMAGES
    kinds: tuple[type, ...] = (str,) if texts else (int,) if slot in _WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        yield f"{place!r} is not an input for a {'text' if texts else 'number'}"
