"""A workflow's graph compared with what a host has, and filled with what a caller asks for.

Only values are put in. Nodes come from the operator's graph alone: one that is not needed (no LoRA,
no inverted mask) is taken out, and the LoRA node is there once for each LoRA.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from robotchat.art.workflows import Graph, Nodes, Slots, is_link, split
from robotchat.errors import NotSupported

_PLAIN = {"INT": (int, float), "FLOAT": (int, float), "STRING": (str,), "BOOLEAN": (bool,)}
"""Types of inputs that are values rather than links, and what JSON may hold for them."""
_WANTED = {
    **dict.fromkeys(("prompt", "negative"), ("STRING",)),
    **dict.fromkeys(("seed", "steps", "width", "height"), ("INT",)),
    **dict.fromkeys(("cfg", "guidance", "denoise"), ("FLOAT", "INT")),
    **dict.fromkeys(("sampler", "scheduler", "resize", "checkpoint"), ("COMBO", "STRING")),
    **dict.fromkeys(("image", "mask"), ("COMBO", "STRING")),
}
"""What the inputs of a slot may be typed as."""
_NEEDED = {
    "lora": ("lora_name", "strength_model"),
    "mask_blur": ("blur_radius", "sigma"),
    "mask_invert": (),
}
"""The inputs of nodes that are slots themselves."""
_NONCE = "robotchat_attempt"

MAX_LORAS = 10
LARGEST_BLUR = 10.0
"""ComfyUI's ImageBlur has no wider one."""


@dataclass(frozen=True)
class Input:
    """An input of a class of nodes; ``choices`` is None where any value of the type will do."""

    type: str
    required: bool
    choices: tuple[str, ...] | None = None
    uploads: bool = False
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class NodeClass:
    """What a host says of a class of nodes."""

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]
    is_output: bool

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> NodeClass:
        """As ``/object_info`` describes it, in the old form of lists and the new one."""
        inputs: dict[str, Input] = {}
        described = told.get("input")
        for category in ("required", "optional"):
            group = described.get(category) if isinstance(described, dict) else None
            for name, spec in (group if isinstance(group, dict) else {}).items():
                if isinstance(spec, list) and spec:
                    inputs[name] = _input(spec, category == "required")
        outputs = told.get("output")
        return cls(
            inputs=inputs,
            outputs=tuple(map(str, outputs)) if isinstance(outputs, list) else (),
            is_output=told.get("output_node") is True,
        )


def _input(spec: Sequence[Any], required: bool) -> Input:
    kind = spec[0]
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    least, most = options.get("min"), options.get("max")
    return Input(
        type="COMBO" if isinstance(kind, list) else str(kind),
        required=required,
        choices=tuple(map(str, choices)) if isinstance(choices, list) else None,
        uploads=bool(options.get("image_upload")),
        least=least if isinstance(least, int | float) else None,
        most=most if isinstance(most, int | float) else None,
    )


Classes = Mapping[str, NodeClass]


# --- against a host -------------------------------------------------------------------------------


def problems(graph: Graph, classes: Classes) -> Iterator[str]:
    """What keeps a graph from being drawn on a host that has these classes of nodes."""
    filled = {place for name in _WANTED for place in getattr(graph.slots, name)} | set(graph.pick)
    filled |= {f"{node}.lora_name" for node in graph.slots.lora}
    for name, node in graph.nodes.items():
        kind = classes.get(node["class_type"])
        if kind is None:
            yield f"node {name}: there is no class {node['class_type']!r}"
            continue
        for title, wanted in kind.inputs.items():
            if title not in node["inputs"]:
                if wanted.required:
                    yield f"node {name}: the input {title!r} is missing"
                continue
            value = node["inputs"][title]
            problem = (
                _wrong_link(wanted, graph.nodes[value[0]]["class_type"], value[1], classes)
                if is_link(value)
                else _wrong_value(wanted, value, given=f"{name}.{title}" in filled)
            )
            if problem:
                yield f"node {name}, input {title!r}: {problem}"
    yield from _wrong_slots(graph, classes)
    for place in graph.pick:
        if picked(graph, place, classes) is None:
            yield f"pick {place}: nothing that there is fits {', '.join(graph.pick[place])}"


def _wrong_link(wanted: Input, source: str, output: int, classes: Classes) -> str | None:
    kind = classes.get(source)
    if kind is None:
        return None  # said of its node
    if output >= len(kind.outputs):
        return f"{source} has no output {output}"
    there, here = set(kind.outputs[output].split(",")), set(wanted.type.split(","))
    if "*" in there | here or there & here or wanted.type.startswith("COMFY_"):
        return None
    return f"it takes {wanted.type}, and is linked to {kind.outputs[output]}"


def _wrong_value(wanted: Input, value: object, *, given: bool) -> str | None:
    if given or wanted.uploads:
        return None
    if wanted.choices is not None:
        if str(value) not in wanted.choices:
            return f"{value!r} is not among the choices"
        return None
    types = _PLAIN.get(wanted.type)
    if types is None:
        linked = wanted.type.isupper() and not wanted.type.startswith(("COMBO", "COMFY_"))
        return f"it must be a link to {wanted.type}" if linked else None
    if not isinstance(value, types):
        return f"{value!r} is not of the type {wanted.type}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if wanted.least is not None and value < wanted.least:
            return f"{value} is less than {wanted.least}"
        if wanted.most is not None and value > wanted.most:
            return f"{value} is more than {wanted.most}"
    return None


def _wrong_slots(graph: Graph, classes: Classes) -> Iterator[str]:
    for slot in Slots.model_fields:
        for place in getattr(graph.slots, slot):
            name, title = split(place) or (place, "")
            kind = classes.get(graph.nodes[name if slot not in _NEEDED else place]["class_type"])
            if kind is None:
                continue  # said of its node
            if slot in _NEEDED:
                missing = [one for one in _NEEDED[slot] if one not in kind.inputs]
                if missing:
                    yield f"slot {slot}: node {place} has no input {missing[0]!r}"
                continue
            there = kind.inputs.get(title)
            if there is None:
                yield f"slot {slot}: node {name} has no input {title!r}"
            elif there.type not in _WANTED[slot]:
                yield f"slot {slot}: {place} takes {there.type}"
    output = classes.get(graph.nodes[graph.output]["class_type"])
    if output is not None and not output.is_output:
        yield f"output: node {graph.output} gives no result"


def choices(graph: Graph, place: str, classes: Classes) -> tuple[str, ...]:
    """The values that an input may have on a host; empty where any will do."""
    name, title = split(place) or ("", "")
    kind = classes.get(graph.nodes[name]["class_type"]) if name in graph.nodes else None
    there = kind.inputs.get(title) if kind else None
    return (there.choices or ()) if there else ()


def picked(graph: Graph, place: str, classes: Classes) -> str | None:
    """The value of an input that is picked among those of the host."""
    return first_fit(choices(graph, place, classes), graph.pick[place])


def first_fit(names: Sequence[str], patterns: Sequence[str]) -> str | None:
    """The first name that fits the first pattern that any fits."""
    for pattern in patterns:
        for name in names:
            if fits(name, [pattern]):
                return name
    return None


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file's name, with its folders or without, is of one of these patterns."""
    plain = name.replace("\\", "/").lower()
    base = plain.rpartition("/")[2]
    return any(fnmatchcase(text, one.lower()) for one in patterns for text in (plain, base))


# --- with what is asked for -----------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """What to put into a graph. ``plain`` is by slot, ``loras`` are file names with strengths."""

    plain: Mapping[str, str | int | float]
    loras: Sequence[tuple[str, float]] = ()
    mask_blur: float | None = None
    """None: as in the graph."""
    mask_invert: bool = False


def filled(graph: Graph, classes: Classes, values: Values, prompt_id: str) -> Nodes:
    """The nodes to send, as one prompt. Raises NotSupported for what has no place."""
    nodes: Nodes = {
        name: {"class_type": node["class_type"], "inputs": copy.deepcopy(node["inputs"])}
        for name, node in graph.nodes.items()
    }
    for place in graph.pick:
        _put(nodes, place, picked(graph, place, classes) or "")
    for slot, value in values.plain.items():
        places = getattr(graph.slots, slot)
        if not places:
            raise NotSupported(f"The workflow has no place for {slot}.", param=slot)
        for place in places:
            _put(nodes, place, value)
    _fill_loras(nodes, graph, classes, values.loras)
    _fill_mask(nodes, graph, classes, values)
    inputs = nodes[graph.output]["inputs"]
    # An equal graph is answered with the files of the first, which may be gone by then.
    if "filename_prefix" in classes[nodes[graph.output]["class_type"]].inputs:
        inputs["filename_prefix"] = f"robotchat/{prompt_id}"
    else:
        inputs[_NONCE] = prompt_id
    return nodes


def _put(nodes: Nodes, place: str, value: str | int | float) -> None:
    name, title = split(place) or ("", "")
    nodes[name]["inputs"][title] = value


def _fill_loras(
    nodes: Nodes, graph: Graph, classes: Classes, loras: Sequence[tuple[str, float]]
) -> None:
    if not graph.slots.lora:
        if loras:
            raise NotSupported("The workflow has no place for LoRAs.", param="prompt")
        return
    if len(loras) > MAX_LORAS:
        raise NotSupported(f"At most {MAX_LORAS} LoRAs can be applied.", param="prompt")
    (name,) = graph.slots.lora
    kind = classes[nodes[name]["class_type"]]
    if not loras:
        _take_out(nodes, name, kind)
        return
    links = {
        title: index
        for index, output in enumerate(kind.outputs)
        if (title := _same_input(nodes[name], kind, output)) is not None
    }
    places = [name, *(f"robotchat_{name}_{number}" for number in range(1, len(loras)))]
    alone = nodes[name]
    for number, (file, strength) in enumerate(loras):
        inputs = {**alone["inputs"], "lora_name": file, "strength_model": strength}
        if "strength_clip" in kind.inputs:
            inputs["strength_clip"] = strength
        if number + 1 < len(places):
            # Each is fed by the next; the last by what fed the one that was there.
            inputs |= {title: [places[number + 1], index] for title, index in links.items()}
        nodes[places[number]] = {**alone, "inputs": inputs}


def _fill_mask(nodes: Nodes, graph: Graph, classes: Classes, values: Values) -> None:
    for name in graph.slots.mask_invert:
        if not values.mask_invert:
            _take_out(nodes, name, classes[nodes[name]["class_type"]])
    if values.mask_invert and not graph.slots.mask_invert:
        raise NotSupported("The workflow does not invert masks.", param="inpainting_mask_invert")
    blur = values.mask_blur
    if blur is None:
        return
    if not graph.slots.mask_blur:
        if blur:
            raise NotSupported("The workflow does not blur masks.", param="mask_blur")
        return
    (name,) = graph.slots.mask_blur
    if blur > LARGEST_BLUR:
        raise NotSupported(f"mask_blur can be {LARGEST_BLUR:g} at most.", param="mask_blur")
    if blur == 0:
        _take_out(nodes, name, classes[nodes[name]["class_type"]])
        return
    # As the web UI makes its kernel.
    nodes[name]["inputs"]["blur_radius"] = int(2.5 * blur + 0.5)
    nodes[name]["inputs"]["sigma"] = float(blur)


def _take_out(nodes: Nodes, name: str, kind: NodeClass) -> None:
    """Remove a node, and link what it fed to what it was fed with."""
    gone = nodes.pop(name)
    for node in nodes.values():
        for title, value in node["inputs"].items():
            if is_link(value) and value[0] == name:
                source = _same_input(gone, kind, kind.outputs[value[1]])
                if source is None:
                    raise NotSupported(f"Node {name} of the workflow cannot be left out.")
                node["inputs"][title] = gone["inputs"][source]


def _same_input(node: Mapping[str, Any], kind: NodeClass, output: str) -> str | None:
    """The linked input of a node that has the type of one of its outputs."""
    for title, wanted in kind.inputs.items():
        if wanted.type == output and is_link(node["inputs"].get(title)):
            return title
    return None


def is_stored(sent: Mapping[str, Any], stored: object) -> bool:
    """Whether a host's account of a prompt holds every node and value that it was sent.

    Values may have been brought into their types: a host reads ``"7"`` and ``7.9`` as 7.
    """
    if not isinstance(stored, dict):
        return False
    for name, node in sent.items():
        there = stored.get(name)
        if not isinstance(there, dict) or there.get("class_type") != node["class_type"]:
            return False
        inputs = there.get("inputs")
        if not isinstance(inputs, dict):
            return False
        for title, value in node["inputs"].items():
            if title not in inputs or not _same(value, inputs[title]):
                return False
    return True


def _same(sent: object, stored: object) -> bool:
    if sent == stored:
        return True
    if isinstance(sent, list) or isinstance(stored, list | dict) or stored is None:
        return False
    try:
        return bool(type(stored)(sent) == stored)  # type: ignore[call-arg]
    except (TypeError, ValueError):
        return False
