"""The routes, with ``/api`` before them and without."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from dev.comfyui import state
from dev.comfyui.nodes import KINDS
from dev.comfyui.state import SENSITIVE, Comfy, Item
from dev.comfyui.validation import Invalid, validate
from dev.sd_host.wire import HOST, Handler, note_body

Answer = Callable[[web.Request, Comfy], Awaitable[web.StreamResponse]]
MAX_BODY = 100 * 1024 * 1024
FEATURES = {"supports_preview_metadata": True, "max_upload_size": MAX_BODY}
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
FOLDERS = ("checkpoints", "loras", "diffusion_models", "text_encoders", "vae", "embeddings")


async def _json(request: web.Request) -> Any:
    """The body; what is none is an exception nobody expects, as there."""
    body = json.loads(await request.text())
    note_body(request, body)
    return body


# Prompts


async def post_prompt(request: web.Request, host: Comfy) -> web.StreamResponse:
    body = await _json(request)
    version = host.options.number
    if not isinstance(body, dict):
        body = {}  # it only looks for names in it
    if "number" in body:
        number = float(body["number"])
    else:
        number = -host.count if body.get("front") else host.count
        host.count += 1
    if "prompt" not in body:
        text = "No prompt provided"
        return web.json_response(Invalid("no_prompt", text, text).body, status=400)
    prompt_id = body.get("prompt_id")
    if version < state.OWN_ID or prompt_id is None:
        prompt_id = state.new_id()
    elif version < state.CHECKED_ID:
        prompt_id = str(prompt_id)
    elif not isinstance(prompt_id, str) or not _is_id(prompt_id):
        form = "a UUID string in canonical lowercase hyphenated form"
        text = f"prompt_id must be {form}; omit it to let the server generate one"
        wrong = Invalid("invalid_prompt_id", "prompt_id must be a valid UUID", text)
        return web.json_response(wrong.body, status=400)
    new = version >= state.JOBS
    try:
        for node in body["prompt"].values():
            if isinstance(node, dict) and node.get("class_type") in host.options.lacks:
                node["class_type"] += " (missing)"
        outputs, errors = validate(
            body["prompt"], host.folder, lambda name: host.annotated(name) is not None, new=new
        )
    except Invalid as error:
        return web.json_response(error.body, status=400)
    if version >= state.UNIQUE_ID and host.known(prompt_id):
        return web.json_response({"error": "prompt_id already exists"}, status=409)
    extra = dict(body.get("extra_data") or {})
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    if new:
        extra["create_time"] = int(time.time() * 1000)
    host.put(Item(number, prompt_id, body["prompt"], extra, outputs))
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": errors})


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


async def get_prompt(request: web.Request, host: Comfy) -> web.StreamResponse:
    return web.json_response(host.remaining())


async def get_history(request: web.Request, host: Comfy) -> web.StreamResponse:
    name = request.match_info.get("prompt_id")
    if name is None:
        return web.json_response(host.history)
    return web.json_response({name: host.history[name]} if name in host.history else {})


async def post_history(request: web.Request, host: Comfy) -> web.StreamResponse:
    body = await _json(request)
    if body.get("clear"):
        host.history = {}
    for name in body.get("delete", ()):
        host.history.pop(name, None)
    return web.Response()


async def get_queue(request: web.Request, host: Comfy) -> web.StreamResponse:
    def shown(item: Item) -> list[Any]:
        extra = {name: value for name, value in item.extra.items() if name not in SENSITIVE}
        return [item.number, item.prompt_id, item.prompt, extra, item.outputs]

    running = [shown(host.current)] if host.current else []
    pending = [shown(item) for item in host.queue]
    return web.json_response({"queue_running": running, "queue_pending": pending})


async def post_queue(request: web.Request, host: Comfy) -> web.StreamResponse:
    body = await _json(request)
    if body.get("clear"):
        host.clear()
    for name in body.get("delete", ()):
        host.delete(name)
    return web.Response()


async def post_interrupt(request: web.Request, host: Comfy) -> web.StreamResponse:
    try:
        body = await _json(request)
    except ValueError:
        body = {}
    named = body.get("prompt_id") if host.options.number >= state.TARGETED else None
    if named:
        host.interrupt_if_running(named)
    else:
        host.interrupt()
    return web.Response()


async def post_free(request: web.Request, host: Comfy) -> web.StreamResponse:
    if (await _json(request)).get("unload_models"):
        host.in_memory = None
    return web.Response()


# Jobs


def _job(name: str, host: Comfy) -> dict[str, Any] | None:
    entry = host.history.get(name)
    if entry is not None:
        return _ended(name, entry)
    for item in host.everything():
        if item.prompt_id == name:
            return {
                "id": name,
                "status": "in_progress" if item is host.current else "pending",
                "priority": item.number,
                "create_time": item.extra.get("create_time"),
                "outputs_count": 0,
                "previewable_outputs_count": 0,
            }
    return None


def _ended(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    number, _, prompt, extra, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    status, error = "completed", messages.get("execution_error")
    if entry["status"]["status_str"] != "success":
        status = "cancelled" if "execution_interrupted" in messages else "failed"
    ends = [messages[one]["timestamp"] for one in _ENDS if one in messages]
    images = [
        {**image, "nodeId": node, "mediaType": "images"}
        for node, told in entry["outputs"].items()
        for image in told.get("images", ())
    ]
    return {
        "id": name,
        "status": status,
        "priority": number,
        "create_time": extra.get("create_time"),
        "execution_start_time": messages["execution_start"]["timestamp"],
        **({"execution_end_time": ends[0]} if ends else {}),
        **({"execution_error": error} if error else {}),
        "outputs_count": len(images),
        "previewable_outputs_count": len(images),
        **({"preview_output": images[0]} if images else {}),
        "outputs": entry["outputs"],
        "execution_status": entry["status"],
        "workflow": {"prompt": prompt, "extra_data": extra},
    }


async def get_jobs(request: web.Request, host: Comfy) -> web.StreamResponse:
    names = [*(item.prompt_id for item in host.everything()), *host.history]
    jobs = [_job(name, host) for name in names]
    page = {"offset": 0, "limit": None, "total": len(jobs), "has_more": False}
    return web.json_response({"jobs": jobs, "pagination": page})


async def get_job(request: web.Request, host: Comfy) -> web.StreamResponse:
    job = _job(request.match_info["job_id"], host)
    if job is None:
        return web.json_response({"error": "Job not found"}, status=404)
    return web.json_response(job)


def _cancel(name: str, host: Comfy) -> bool:
    return host.interrupt_if_running(name) or host.delete(name)


async def cancel_job(request: web.Request, host: Comfy) -> web.StreamResponse:
    return web.json_response({"cancelled": _cancel(request.match_info["job_id"], host)})


async def cancel_jobs(request: web.Request, host: Comfy) -> web.StreamResponse:
    try:
        body = await _json(request)
    except ValueError:
        return web.json_response({"error": "Request body must be valid JSON"}, status=400)
    names = body.get("job_ids") if isinstance(body, dict) else None
    if not isinstance(names, list):
        return web.json_response({"error": "job_ids must be a list"}, status=400)
    wrong = [name for name in names if not isinstance(name, str) or not _is_id(name)]
    if wrong:
        told = {"error": "job_ids contains invalid id(s)", "invalid_ids": wrong}
        return web.json_response(told, status=400)
    cancelled = [_cancel(name, host) for name in names]  # all of them, also after the first
    return web.json_response({"cancelled": any(cancelled)})


# Files and lists


async def upload_image(request: web.Request, host: Comfy) -> web.StreamResponse:
    form = await request.post()
    image, kind = form.get("image"), str(form.get("type") or "input")
    if not isinstance(image, web.FileField) or not image.filename:
        return web.Response(status=400)
    if kind not in host.files:
        raise LookupError(kind)
    folder = str(form.get("subfolder") or "").strip("/")
    name, data = image.filename, image.file.read()
    if ".." in f"{folder}/{name}".split("/"):
        return web.Response(status=400)
    files, place = host.files[kind], f"{folder}/" if folder else ""
    stem, dot, extension = name.rpartition(".")
    number = 1
    while str(form.get("overwrite")) not in ("true", "1") and place + name in files:
        if files[place + name] == data:
            break
        name = f"{stem} ({number}){dot}{extension}"
        number += 1
    files[place + name] = data
    return web.json_response({"name": name, "subfolder": folder, "type": kind})


async def view(request: web.Request, host: Comfy) -> web.StreamResponse:
    query = request.query
    name, kind = query.get("filename", ""), query.get("type", "output")
    if not name:
        return web.Response(status=404)
    if name.startswith("/") or ".." in name or kind not in host.files:
        return web.Response(status=400)
    folder = query.get("subfolder", "")
    if ".." in folder.split("/"):
        return web.Response(status=403)
    data = host.files[kind].get(f"{folder}/{name}" if folder else name)
    if data is None:
        return web.Response(status=404)
    kinds = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
    content_type = kinds.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    headers = {"Content-Disposition": f'filename="{name}"'}
    return web.Response(body=data, content_type=content_type, headers=headers)


async def models(request: web.Request, host: Comfy) -> web.StreamResponse:
    folder = request.match_info.get("folder")
    if folder is None:
        return web.json_response(FOLDERS)
    if folder not in FOLDERS:
        return web.Response(status=404)
    return web.json_response(host.folder(folder))


async def embeddings(request: web.Request, host: Comfy) -> web.StreamResponse:
    return web.json_response([])


async def object_info(request: web.Request, host: Comfy) -> web.StreamResponse:
    name = request.match_info.get("name")
    told: dict[str, Any] = {}
    for one in KINDS if name is None else [name]:
        told |= host.node_info(one)
    return web.json_response(told)


async def system_stats(request: web.Request, host: Comfy) -> web.StreamResponse:
    gib = 1024**3
    memory = {"vram_total": gib, "vram_free": gib, "torch_vram_total": gib, "torch_vram_free": gib}
    return web.json_response(
        {
            "system": {
                "os": "linux",
                "ram_total": 32 * gib,
                "ram_free": 16 * gib,
                "comfyui_version": host.options.version,
                "python_version": "3.12.9",
                "pytorch_version": "2.9.0+cpu",
                "embedded_python": False,
                "argv": ["/srv/ComfyUI/main.py", "--listen"],
            },
            "devices": [{"name": host.options.device, "type": "cpu", "index": None, **memory}],
        }
    )


async def features(request: web.Request, host: Comfy) -> web.StreamResponse:
    return web.json_response(FEATURES)


# The socket


async def socket(request: web.Request, host: Comfy) -> web.StreamResponse:
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    sid = request.query.get("clientId") or uuid.uuid4().hex
    host.sockets[sid], host.flags[sid] = answer, {}
    host.stats.set("sockets", len(host.sockets))
    host.tell("status", {"status": host.remaining(), "sid": sid}, sid)
    if host.client_id == sid and host.last_node is not None:
        host.tell("executing", {"node": host.last_node}, sid)
    first = True
    try:
        async for message in answer:
            if message.type == WSMsgType.TEXT:
                told = json.loads(message.data)
                if first and told.get("type") == "feature_flags":
                    host.flags[sid] = told.get("data", {})
                    host.tell("feature_flags", FEATURES, sid)
                first = False
    finally:
        if host.sockets.pop(sid, None) is not None:
            host.stats.set("sockets", len(host.sockets))
        host.flags.pop(sid, None)
    return answer


# All of it


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Foreign pages are kept out, and exceptions are a text."""
    origin, here = request.headers.get("Origin"), request.host.partition(":")[0]
    if origin and here in ("127.0.0.1", "localhost") and urlsplit(origin).hostname != here:
        return web.Response(status=403)
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return web.Response(status=403)
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, it becomes this text
        text = "500 Internal Server Error\n\nServer got itself in trouble"
        return web.Response(text=text, status=500)


def routes(host: Comfy) -> list[web.RouteDef]:
    """What this version has."""

    def bound(answer: Answer) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await answer(request, host)

        return handle

    get: dict[str, Answer] = {
        "/ws": socket,
        "/prompt": get_prompt,
        "/history": get_history,
        "/history/{prompt_id}": get_history,
        "/queue": get_queue,
        "/view": view,
        "/models": models,
        "/models/{folder}": models,
        "/embeddings": embeddings,
        "/object_info": object_info,
        "/object_info/{name}": object_info,
        "/system_stats": system_stats,
        "/features": features,
    }
    post: dict[str, Answer] = {
        "/prompt": post_prompt,
        "/history": post_history,
        "/queue": post_queue,
        "/interrupt": post_interrupt,
        "/free": post_free,
        "/upload/image": upload_image,
    }
    made = []
    for prefix in ("", "/api"):
        made += [web.get(prefix + path, bound(answer)) for path, answer in get.items()]
        made += [web.post(prefix + path, bound(answer)) for path, answer in post.items()]
    if host.options.number >= state.JOBS:
        made += [
            web.get("/api/jobs", bound(get_jobs)),
            web.get("/api/jobs/{job_id}", bound(get_job)),
        ]
    if host.options.number >= state.JOBS_CANCEL:
        made.append(web.post("/api/jobs/cancel", bound(cancel_jobs)))
        made.append(web.post("/api/jobs/{job_id}/cancel", bound(cancel_job)))
    return made


async def lose_files(request: web.Request) -> web.Response:
    """Delete all pictures that were made."""
    host: Any = request.app[HOST]
    host.files["output"], host.files["temp"] = {}, {}
    return web.json_response({})


async def files(request: web.Request) -> web.Response:
    """The names of all files that there are, by folder."""
    host: Any = request.app[HOST]
    return web.json_response({kind: sorted(there) for kind, there in host.files.items()})
