"""The routes of the A1111 web UI and of its Lora and ControlNet extensions."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from dev.sd_host import catalog, controlnet, extras, imaging, models
from dev.sd_host.generation import Generation, Rejected
from dev.sd_host.imaging import BadImage
from dev.sd_host.infotext import parameters_of
from dev.sd_host.models import Invalid, MalformedBody, Model, Unprocessable
from dev.sd_host.scripts import always_on, selectable
from dev.sd_host.state import Host, HostError
from dev.sd_host.wire import (
    HOST,
    SEEN,
    Handler,
    faults_of,
    host_error,
    json_answer,
    not_the_hosts,
    note_body,
    raise_planted,
)

API = "/sdapi/v1"
OPEN_TO_ALL = (f"{API}/loras", f"{API}/refresh-loras")
"""Routes of an extension: no auth, no thread."""
log = logging.getLogger("sd_host")
Answer = Callable[[web.Request, Host], Awaitable[Any]]


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body, which is an object; raises `Unprocessable`."""
    value = models.read_json(await request.read(), request.headers.get("Content-Type", ""))
    given = models.as_object(value)
    note_body(request, given)
    return given


async def read(request: web.Request, model: Model) -> dict[str, Any]:
    """The fields of the body with their defaults; raises `Unprocessable`."""
    return model.parse(await read_object(request))


def query_flag(request: web.Request, name: str, default: bool) -> bool:
    """A boolean of the query; raises `Unprocessable`."""
    if name not in request.query:
        return default
    try:
        return models.to_bool(request.query[name])
    except Invalid as error:
        entry = {"loc": ["query", name], "msg": error.msg, "type": error.kind}
        raise Unprocessable([entry]) from error


# Drawing


def drawing(kind: str, model: Model, generate: type[Generation] = Generation) -> Answer:
    """A handler that draws: the fields of ``model``, in the way of ``generate``."""

    async def answer(request: web.Request, host: Host) -> Any:
        given = await read_object(request)
        generation = generate(host, kind, model.parse(given), set(given), faults_of(request))
        request[SEEN]["task_id"] = generation.task
        return await generation.run()

    return answer


async def extra_single(request: web.Request, host: Host) -> Any:
    fields = await read(request, models.EXTRA_SINGLE)
    images, html = await extras.upscale(host, fields, [fields["image"]])
    return {"html_info": html, "image": images[0]}


async def extra_batch(request: web.Request, host: Host) -> Any:
    fields = await read(request, models.EXTRA_BATCH)
    sources = [item["data"] for item in fields["imageList"]]
    images, html = await extras.upscale(host, fields, sources)
    return {"html_info": html, "images": images}


async def interrogate(request: web.Request, host: Host) -> Any:
    fields = await read(request, models.INTERROGATE)
    image = extras.decoded(fields["image"])
    if fields["model"] not in ("clip", "deepdanbooru"):
        raise Rejected(404, "Model not found")
    async with host.turn():
        # Without its models the real one logs why, and answers this.
        return {"caption": extras.caption(image) if host.options.interrogator else "<error>"}


async def png_info(request: web.Request, host: Host) -> Any:
    fields = await read(request, models.PNG_INFO)
    text, items = imaging.written_infotext(extras.decoded(fields["image"].strip()))
    return {"info": text, "items": items, "parameters": parameters_of(text) if text else {}}


# What runs


async def progress(request: web.Request, host: Host) -> Any:
    skip = query_flag(request, "skip_current_image", False)
    return host.progress.report(skip_current_image=skip)


async def interrupt(request: web.Request, host: Host) -> Any:
    host.interrupt()
    return {}


async def skip(request: web.Request, host: Host) -> Any:
    host.skip()


async def internal_progress(request: web.Request, host: Host) -> Any:
    fields = await read(request, models.INTERNAL_PROGRESS)
    tasks, running, task = host.tasks, host.progress, fields["id_task"]
    answer: dict[str, Any] = {
        "active": task is not None and task == tasks.current,
        "queued": task in tasks.pending,
        "completed": task in tasks.finished,
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": -1,
        "textinfo": "Waiting...",
    }
    if not answer["active"]:
        if answer["queued"]:
            line = list(tasks.pending)
            answer["textinfo"] = f"In queue: {line.index(task) + 1}/{len(line)}"
        return answer
    share = min(running.share(), 1.0)
    elapsed = time.monotonic() - running.started
    answer |= {"progress": share, "eta": elapsed / share - elapsed if share else None}
    answer |= {"textinfo": None, "id_live_preview": fields["id_live_preview"]}
    if fields["live_preview"] and running.preview_id != fields["id_live_preview"]:
        preview = running.preview()
        if preview:
            answer["live_preview"] = f"data:image/png;base64,{preview}"
            answer["id_live_preview"] = running.preview_id
    return answer


async def pending_tasks(request: web.Request, host: Host) -> Any:
    return {"size": len(host.tasks.pending), "tasks": list(host.tasks.pending)}


async def ping(request: web.Request, host: Host) -> Any:
    return {}


# Settings and checkpoints


async def get_options(request: web.Request, host: Host) -> Any:
    try:
        return host.settings.shown()
    except TypeError as error:
        raise HostError("ValidationError", str(error)) from error


async def set_options(request: web.Request, host: Host) -> Any:
    wanted = await read_object(request)
    settings, checkpoint = host.settings, wanted.get("sd_model_checkpoint")
    if checkpoint is not None and host.find(checkpoint) is None:
        raise HostError("RuntimeError", f"model {checkpoint!r} not found")
    for key, value in wanted.items():
        old = settings.data.get(key)
        try:
            changed = settings.set(key, value)
        except KeyError as error:
            raise HostError("KeyError", repr(key)) from error
        if key == "sd_model_checkpoint" and changed:
            async with host.turn():
                try:
                    await host.load_configured(faults_of(request))
                except HostError as error:
                    log.warning("the checkpoint did not load, the old one stays: %s", error)
                    settings.data[key] = old
    # All that is set is saved, also what a running request has overridden.
    host.saved = dict(settings.data)


async def unload_checkpoint(request: web.Request, host: Host) -> Any:
    host.loaded = None
    return {}


async def reload_checkpoint(request: web.Request, host: Host) -> Any:
    await host.load_configured(faults_of(request))
    return {}


async def refresh_checkpoints(request: web.Request, host: Host) -> Any:
    async with host.turn():
        host.list_checkpoints()


async def refresh_others(request: web.Request, host: Host) -> Any:
    """VAEs and embeddings: nothing changes here, but it waits its turn like the real one."""
    async with host.turn():
        return None


async def refresh_loras(request: web.Request, host: Host) -> Any:
    host.list_loras()


# Lists


def listed(make: Callable[[Host], Any]) -> Answer:
    """A handler that answers what ``make`` says."""

    async def answer(request: web.Request, host: Host) -> Any:
        return make(host)

    return answer


def cmd_flags(host: Host) -> dict[str, Any]:
    return {
        "api": True,
        "api_auth": host.options.api_auth or None,
        "api_log": False,
        "api_server_stop": False,
        "nowebui": host.options.api_only,
        "listen": False,
        "port": None,
        "ckpt": None,
        "ckpt_dir": None,
        "lora_dir": f"{catalog.ROOT}/models/Lora",
        "data_path": catalog.ROOT,
        "models_path": f"{catalog.ROOT}/models",
        "medvram": False,
        "lowvram": False,
        "xformers": False,
        "no_half": False,
        "cors_allow_origins": None,
        "timeout_keep_alive": 30,
        "gradio_auth": None,
    }


def memory(host: Host) -> dict[str, Any]:
    total, used = 8 * 2**30, (2 if host.loaded else 0) * 2**30
    gauge = {"current": used, "peak": used}
    return {
        "ram": {"free": 12 * 2**30, "used": 4 * 2**30, "total": 16 * 2**30},
        "cuda": {
            "system": {"free": total - used, "used": used, "total": total},
            "active": gauge,
            "allocated": gauge,
            "reserved": gauge,
            "inactive": {"current": 0, "peak": 0},
            "events": {"retries": 0, "oom": 0},
        },
    }


def scripts(host: Host) -> dict[str, list[str]]:
    own = [*always_on(host), *selectable(host, "txt2img")]
    return {"txt2img": own, "img2img": [*always_on(host), *selectable(host, "img2img")]}


def script_info(host: Host) -> list[dict[str, Any]]:
    argument = {
        "label": None,
        "value": None,
        "minimum": None,
        "maximum": None,
        "step": None,
        "choices": None,
    }
    return [
        {
            "name": name,
            "is_alwayson": name in always_on(host),
            "is_img2img": kind == "img2img",
            "args": [argument] * (catalog.CONTROLNET_UNITS if name == "controlnet" else 1),
        }
        for kind, names in scripts(host).items()
        for name in names
    ]


# ControlNet: async routes with blocking work in them, so that all else waits for them


async def detect(request: web.Request, host: Host) -> Any:
    fields = await read(request, models.DETECT)
    try:
        return controlnet.detect(fields)
    except controlnet.DetectRefused as refused:
        raise Rejected(422, str(refused)) from refused
    except controlnet.ModelMissing as missing:
        raise HostError("URLError", str(missing)) from missing
    except BadImage as error:
        raise Rejected(500, "Invalid encoded image") from error


async def render_pose(request: web.Request, host: Host) -> Any:
    value = models.read_json(await request.read(), request.headers.get("Content-Type", ""))
    try:
        return controlnet.render_poses(models.to_list(value))
    except Invalid as error:
        entry = {"loc": ["body"], "msg": error.msg, "type": error.kind}
        raise Unprocessable([entry]) from error


GETS: dict[str, Answer] = {
    f"{API}/progress": progress,
    f"{API}/options": get_options,
    f"{API}/cmd-flags": listed(cmd_flags),
    f"{API}/samplers": listed(lambda host: [s.listed() for s in catalog.SAMPLERS]),
    f"{API}/schedulers": listed(lambda host: catalog.SCHEDULERS),
    f"{API}/upscalers": listed(lambda host: catalog.UPSCALERS),
    f"{API}/latent-upscale-modes": listed(lambda host: catalog.LATENT_UPSCALE_MODES),
    f"{API}/sd-models": listed(lambda host: [c.listed() for c in host.checkpoints]),
    f"{API}/sd-vae": listed(lambda host: catalog.VAES),
    f"{API}/hypernetworks": listed(lambda host: []),
    f"{API}/face-restorers": listed(lambda host: catalog.FACE_RESTORERS),
    f"{API}/realesrgan-models": listed(lambda host: catalog.REALESRGAN_MODELS),
    f"{API}/prompt-styles": listed(lambda host: catalog.PROMPT_STYLES),
    f"{API}/embeddings": listed(lambda host: catalog.EMBEDDINGS),
    f"{API}/loras": listed(lambda host: host.loras),
    f"{API}/memory": listed(memory),
    f"{API}/scripts": listed(scripts),
    f"{API}/script-info": listed(script_info),
    f"{API}/extensions": listed(lambda host: catalog.EXTENSIONS if host.has_controlnet else []),
    "/controlnet/version": listed(lambda host: {"version": 3}),
    "/controlnet/model_list": listed(lambda host: {"model_list": controlnet.MODELS}),
    "/controlnet/module_list": listed(lambda host: controlnet.module_list()),
    "/controlnet/control_types": listed(lambda host: controlnet.control_types()),
    "/controlnet/settings": listed(
        lambda host: {"control_net_unit_count": host.settings["control_net_unit_count"]}
    ),
    "/internal/pending-tasks": pending_tasks,
    "/internal/ping": ping,
}
POSTS: dict[str, Answer] = {
    f"{API}/txt2img": drawing("txt2img", models.TXT2IMG),
    f"{API}/img2img": drawing("img2img", models.IMG2IMG),
    f"{API}/extra-single-image": extra_single,
    f"{API}/extra-batch-images": extra_batch,
    f"{API}/png-info": png_info,
    f"{API}/interrogate": interrogate,
    f"{API}/interrupt": interrupt,
    f"{API}/skip": skip,
    f"{API}/options": set_options,
    f"{API}/refresh-checkpoints": refresh_checkpoints,
    f"{API}/refresh-vae": refresh_others,
    f"{API}/refresh-embeddings": refresh_others,
    f"{API}/refresh-loras": refresh_loras,
    f"{API}/unload-checkpoint": unload_checkpoint,
    f"{API}/reload-checkpoint": reload_checkpoint,
    "/controlnet/detect": detect,
    "/controlnet/render_openpose_json": render_pose,
    "/internal/progress": internal_progress,
}


def table(
    gets: Mapping[str, Answer], posts: Mapping[str, Answer]
) -> Callable[[Host], list[web.RouteDef]]:
    """The routes of a web UI that answers these."""

    def made(host: Host) -> list[web.RouteDef]:
        def wanted(path: str) -> bool:
            return not (host.options.api_only and path.startswith("/internal/"))

        found = [web.get(p, _handler(a), allow_head=False) for p, a in gets.items() if wanted(p)]
        return found + [web.post(p, _handler(a)) for p, a in posts.items() if wanted(p)]

    return made


routes = table(GETS, POSTS)
"""The routes of this personality."""


def _handler(answer: Answer) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        host = request.app[HOST]
        if request.path.startswith("/controlnet/") and not host.has_controlnet:
            raise web.HTTPNotFound
        raise_planted(request)
        if request.path in OPEN_TO_ALL or request.path.startswith("/controlnet/"):
            made = await answer(request, host)
        else:
            async with host.threads:
                made = await answer(request, host)
        return made if isinstance(made, web.StreamResponse) else json_answer(made)

    return handle


def rejected_answer(error: Rejected) -> web.Response:
    """An HTTPException, as the API's own middleware answers it."""
    body = {"error": "HTTPException", "detail": error.detail, "body": "", "errors": ""}
    return json_answer(body, error.status)


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Authorise, and give errors the host's shapes and answers their headers."""
    started = time.monotonic()
    if not_the_hosts(request):
        return await handler(request)
    try:
        answer = await answered(request, handler, rejected_answer)
    except HostError as error:
        return host_error(error)
    answer.headers["X-Process-Time"] = str(round(time.monotonic() - started, 4))
    return answer


async def answered(
    request: web.Request, handler: Handler, rejected: Callable[[Rejected], web.Response]
) -> web.StreamResponse:
    """What FastAPI answers: authorised, refusals in its shapes. Raises `HostError`."""
    try:
        if request.match_info.http_exception is None:
            _authorise(request, request.app[HOST])
        answer = await handler(request)
    except web.HTTPNotFound:
        answer = json_answer({"detail": "Not Found"}, 404)
    except web.HTTPMethodNotAllowed as error:
        allow = ", ".join(sorted(error.allowed_methods))
        answer = json_answer({"detail": "Method Not Allowed"}, 405, Allow=allow)
    except Unprocessable as error:
        answer = json_answer({"detail": error.detail}, 422)
    except MalformedBody:
        answer = json_answer({"detail": "There was an error parsing the body"}, 400)
    except Rejected as error:
        answer = rejected(error)
    return answer


def _authorise(request: web.Request, host: Host) -> None:
    """HTTP Basic on the API's own routes; raises `Rejected`."""
    users = host.options.api_auth
    if not users or not request.path.startswith(f"{API}/") or request.path in OPEN_TO_ALL:
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise Rejected(401, "Not authenticated")
    try:
        given = base64.b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Rejected(401, "Invalid authentication credentials") from error
    if not any(hmac.compare_digest(given.encode(), user.encode()) for user in users.split(",")):
        raise Rejected(401, "Incorrect username or password")
