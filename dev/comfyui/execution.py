"""One prompt from the queue to the history: what is answered from the cache, what is executed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import struct
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dev.comfyui.nodes import KINDS, Images
from dev.comfyui.state import Comfy, Item, timestamp
from dev.sd_host import imaging
from dev.sd_host.faults import OUT_OF_MEMORY, of_kind

DRAWING = "/execution/2img"
"""The path by which faults find an execution."""
PREVIEWS = ("auto", "latent2rgb", "taesd")


class Interrupted(Exception):
    """The prompt was stopped."""


class Execution:
    """Runs one prompt on a host."""

    def __init__(self, host: Comfy, item: Item) -> None:
        self.host, self.item = host, item
        self.faults = host.faults.take(DRAWING)
        self.success = False
        self._node = ""
        self._messages: list[list[Any]] = []
        self._outputs: dict[str, Any] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._results: dict[str, Any] = {}

    def entry(self) -> dict[str, Any]:
        """What the history keeps of it."""
        meta = {
            name: {"node_id": name, "display_node": name, "parent_node": None, "real_node_id": name}
            for name in self._outputs
        }
        return {
            "prompt": self.item.shown(),
            "outputs": self._outputs,
            "status": {
                "status_str": "success" if self.success else "error",
                "completed": self.success,
                "messages": self._messages,
            },
            "meta": meta,
        }

    async def run(self) -> None:
        """Execute; how it went is in ``success`` and the messages."""
        host, prompt = self.host, self.item.prompt
        host.interrupting = False
        host.client_id = self.item.extra.get("client_id")
        self._tamper()
        self._message("execution_start")
        signatures = {name: self._signature(name) for name in prompt}
        for old in set(host.cache) - set(signatures.values()):
            del host.cache[old]
        cached = [name for name in prompt if signatures[name] in host.cache]
        self._message("execution_cached", nodes=cached)
        order: list[str] = []
        for output in self.item.outputs:
            self._ordered(output, order)
        done: list[str] = []
        kind = "img2img" if any(n["class_type"] == "LoadImage" for n in prompt.values()) else ""
        host.stats.add(f"generations_{kind or 'txt2img'}")
        try:
            for name in order:
                if name in cached and not KINDS[prompt[name]["class_type"]].output_node:
                    self._results[name], _ = host.cache[signatures[name]]
                    continue
                self._node = name
                await self._execute(name, signatures[name])
                done.append(name)
        except Interrupted:
            self._message("execution_interrupted", broadcast=True, **self._where(done))
        except Exception as error:  # noqa: BLE001 - as the real one does
            self._failed(error, done)
        else:
            self.success = True
            self._message("execution_success")
        host.last_node = None

    def _tamper(self) -> None:
        """Change the prompt, as a custom node may do that handles prompts when they come."""
        changes = {
            "ckpt_name": of_kind(self.faults, "wrong_model"),
            "unet_name": of_kind(self.faults, "wrong_model"),
            "sampler_name": of_kind(self.faults, "wrong_sampler"),
        }
        for node in self.item.prompt.values():
            for name, fault in changes.items():
                if fault and name in node["inputs"]:
                    folder = {"ckpt_name": "checkpoints", "unet_name": "diffusion_models"}.get(name)
                    known = self.host.folder(folder) if folder else ["heun", "euler"]
                    given = fault.extra.get("checkpoint", fault.extra.get("sampler"))
                    others = [one for one in known if one != node["inputs"][name]] or known
                    node["inputs"][name] = f"{given}.safetensors" if given and folder else others[0]

    # Order and cache

    def _ordered(self, name: str, order: list[str]) -> None:
        if name in order:
            return
        for value in self.item.prompt[name]["inputs"].values():
            if isinstance(value, list) and value[0] in self.item.prompt:
                self._ordered(value[0], order)
        order.append(name)

    def _signature(self, name: str) -> Any:
        """What a node's results follow from: its class, its inputs, also those that it does not
        know, and all that it is fed by."""
        node = self.item.prompt[name]
        kind = KINDS[node["class_type"]]
        parts: list[Any] = [node["class_type"]]
        if kind.changes:
            parts.append(object())
        for title, value in sorted(node["inputs"].items()):
            if isinstance(value, list):
                parts.append((title, self._signature(value[0]), value[1]))
            else:
                parts.append((title, json.dumps(value)))
        for title in kind.validates:
            data = self.host.annotated(str(node["inputs"].get(title))) or b""
            parts.append(hashlib.sha256(data).hexdigest())
        return tuple(parts)

    async def _execute(self, name: str, signature: Any) -> None:
        host, node = self.host, self.item.prompt[name]
        kind = KINDS[node["class_type"]]
        if signature in host.cache:
            self._results[name], shown = host.cache[signature]
            if kind.output_node:
                self._executed(name, shown)
            self._state(name, 1, 1, "finished")
            return
        self._state(name, 0, 1, "running")
        host.last_node = name
        if host.client_id is not None:
            told = {"node": name, "display_node": name, "prompt_id": self.item.prompt_id}
            host.tell("executing", told, host.client_id)
        inputs = {}
        for title, value in node["inputs"].items():
            if isinstance(value, list):
                inputs[title] = self._results[value[0]][value[1]]
            elif title in kind.required or title in kind.optional:
                inputs[title] = value
        result = await kind.run(self, **inputs)
        shown = result if kind.output_node else {}
        self._results[name] = () if kind.output_node else result
        host.cache[signature] = (self._results[name], shown)
        if kind.output_node and shown:
            self._executed(name, shown)
        most = self._states[name]["max"]
        self._state(name, most, most, "finished")
        await asyncio.sleep(0)
        if host.interrupting:
            host.interrupting = False
            raise Interrupted

    def _executed(self, name: str, shown: Any) -> None:
        if shown:
            self._outputs[name] = shown
        host = self.host
        if host.client_id is not None:
            told = {"node": name, "display_node": name, "output": shown or None}
            host.tell("executed", {**told, "prompt_id": self.item.prompt_id}, host.client_id)

    # What nodes do

    async def load(self, name: str) -> None:
        """Bring a checkpoint into memory."""
        if self.host.in_memory == name:
            return
        slow = of_kind(self.faults, "slow_load")
        seconds = float(slow.extra.get("seconds", 5)) if slow else self.host.options.load_seconds
        await asyncio.sleep(seconds)
        if of_kind(self.faults, "load_error"):
            raise RuntimeError(f"Error(s) in loading state_dict for {name}")
        self.host.in_memory = name
        self.host.stats.add("model_switches")

    async def sample(self, steps: int, pixel_steps: float, image: Image.Image) -> None:
        """Go through the steps in the time that they take."""
        host, clock = self.host, asyncio.get_running_loop().time
        seconds = host.options.duration(pixel_steps)
        started, paused = clock(), 0.0
        previews = self.item.extra.get("preview_method") in PREVIEWS
        due = {kind: of_kind(self.faults, kind) for kind in _IN_A_STEP}
        for step in range(1, steps + 1):
            await asyncio.sleep(max(0.0, started + paused + seconds * step / steps - clock()))
            host.stats.set("sampling_step", step)
            shown = imaging.partial(image, step / steps, 0) if previews else None
            await self.told_step(step, steps, shown, "JPEG")
            hit = {
                kind: fault
                for kind, fault in due.items()
                if fault is not None and step == min(fault.at_step, steps)
            }
            before = clock()
            if "hold" in hit:
                await host.pause(deaf=False)
            if "stall" in hit:
                await host.pause(deaf=True, seconds=hit["stall"].extra.get("seconds"))
            paused += clock() - before
            if "disconnect" in hit:
                for socket in list(host.sockets.values()):
                    await socket.close()
            if "restart" in hit:
                host.restart(float(hit["restart"].extra.get("seconds", 0)))
                await asyncio.sleep(0)
            if "error" in hit:
                fault = hit["error"]
                kind = str(fault.extra.get("error", "OutOfMemoryError"))
                raise type(kind, (RuntimeError,), {"__module__": "torch"})(
                    fault.extra.get("errors", OUT_OF_MEMORY)
                )
            if host.interrupting:
                host.interrupting = False
                raise Interrupted

    async def told_step(self, step: int, steps: int, image: Image.Image | None, kind: str) -> None:
        """Tell of a step, with the picture as it is then."""
        host, sid = self.host, self.host.client_id
        told = {"value": step, "max": steps, "prompt_id": self.item.prompt_id, "node": self._node}
        self._state(self._node, step, steps, "running")
        flagged = host.flags.get(sid or "", {}).get("supports_preview_metadata")
        if image is None or not flagged:
            host.tell("progress", told, sid)
        if image is None:
            return
        data = _encoded(image, kind)
        if flagged:
            names = ("node_id", "display_node_id", "real_node_id")
            more: dict[str, Any] = dict.fromkeys(names, self._node)
            more["parent_node_id"] = None
            more |= {"prompt_id": self.item.prompt_id, "image_type": f"image/{kind.lower()}"}
            head = json.dumps(more).encode()
            host.tell_bytes(4, struct.pack(">I", len(head)) + head + data, sid)
            host.tell("progress", told, sid)
        else:
            host.tell_bytes(1, struct.pack(">I", {"JPEG": 1, "PNG": 2}[kind]) + data, sid)

    def counted(self, images: Images) -> Images:
        """The pictures that a node gives, as faults would have it."""
        count, size = of_kind(self.faults, "wrong_count"), of_kind(self.faults, "wrong_size")
        if size:
            images = tuple(one.resize((one.width // 2, one.height // 2)) for one in images)
        if count:
            wanted = int(count.extra.get("count", len(images) - 1))
            images = tuple(images[index % len(images)] for index in range(wanted))
        return images

    def saved(self, kind: str, prefix: str, images: Images) -> dict[str, Any]:
        """Write pictures, named as the next ones with that prefix."""
        files, garbage = self.host.files[kind], of_kind(self.faults, "garbage")
        folder, _, name = prefix.replace("\\", "/").rpartition("/")
        if ".." in folder.split("/") or folder.startswith("/"):
            raise Exception("**** ERROR: Saving image outside the output folder is not allowed.")
        place = f"{folder}/" if folder else ""
        taken = [one for one in files if one.startswith(f"{place}{name}_")]
        results = []
        for number, image in enumerate(self.counted(images), len(taken) + 1):
            file = f"{name}_{number:05}_.png"
            data = _encoded(image, "PNG", prompt=json.dumps(self.item.prompt))
            files[place + file] = _spoiled(data, garbage.extra["what"]) if garbage else data
            results.append({"filename": file, "subfolder": folder, "type": kind})
        if garbage and garbage.extra["what"] == "no_images":
            return {"text": ["nothing"]}
        return {"images": results}

    # What it tells

    def _message(self, kind: str, *, broadcast: bool = False, **data: Any) -> None:
        told = {"prompt_id": self.item.prompt_id, **data, "timestamp": timestamp()}
        self._messages.append([kind, told])
        if self.host.client_id is not None or broadcast:
            self.host.tell(kind, told, self.host.client_id)

    def _where(self, done: list[str]) -> dict[str, Any]:
        kind = self.item.prompt[self._node]["class_type"]
        return {"node_id": self._node, "node_type": kind, "executed": done}

    def _failed(self, error: Exception, done: list[str]) -> None:
        kind = type(error)
        named = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        self._message(
            "execution_error",
            **self._where(done),
            exception_message=f"{error}\n",
            exception_type=named,
            traceback=['  File "/srv/ComfyUI/execution.py", line 496, in execute\n'],
            current_inputs={},
            current_outputs=done,
        )

    def _state(self, name: str, value: int, most: int, state: str) -> None:
        more: dict[str, Any] = {"node_id": name, "display_node_id": name}
        more |= {"prompt_id": self.item.prompt_id, "parent_node_id": None, "real_node_id": name}
        self._states[name] = {"value": value, "max": most, "state": state, **more}
        told = {"prompt_id": self.item.prompt_id, "nodes": dict(self._states)}
        self.host.tell("progress_state", told, self.host.client_id)


_IN_A_STEP = ("hold", "stall", "disconnect", "restart", "error")


def _encoded(image: Image.Image, kind: str, prompt: str = "") -> bytes:
    out, notes = io.BytesIO(), PngInfo()
    if prompt:
        notes.add_text("prompt", prompt)
    if kind == "PNG":
        image.save(out, "PNG", pnginfo=notes, compress_level=1)
    else:
        image.convert("RGB").save(out, kind, quality=95)
    return out.getvalue()


def _spoiled(data: bytes, what: str) -> bytes:
    return data[: len(data) // 2] if what == "truncated_png" else b"this is not a picture"
