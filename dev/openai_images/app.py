"""The application of one stand-in, by its personality."""

from __future__ import annotations

import hmac
from typing import Any

from aiohttp import web

from dev.openai_images import drawing, fastapi, localai, openai, sd_server
from dev.openai_images.drawing import Refused
from dev.sd_host import admin
from dev.sd_host.options import Options
from dev.sd_host.state import Host, HostError
from dev.sd_host.wire import HOST, Handler, tracked

MODELS: dict[str, tuple[str, ...]] = {
    "vllm-omni": ("Qwen/Qwen-Image-Edit-2511",),
    "sglang": ("black-forest-labs/FLUX.1-Kontext-dev",),
    "localai": ("flux.1-dev", "stablediffusion", "flux.1-kontext-dev"),
    "sd-server": ("sd-cpp-local",),
    "openai": ("gpt-image-1", "gpt-image-2", "dall-e-2", "dall-e-3"),
}
PERSONALITIES = tuple(MODELS)
_MODULES: dict[str, Any] = {
    "vllm-omni": fastapi,
    "sglang": fastapi,
    "localai": localai,
    "sd-server": sd_server,
    "openai": openai,
}


def options(personality: str, **more: Any) -> Options:
    """The set-up of a stand-in with that personality's models."""
    given = {"name": personality, "checkpoints": MODELS[personality], **more}
    return Options(**given, personality=personality)


def application(options: Options) -> web.Application:
    """The web application of one host. ``options.api_auth`` is its API key, if it has one."""
    host = Host(options)
    module = _MODULES[options.personality]

    @web.middleware
    async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" or request.path.startswith("/_control/"):
            return await handler(request)
        try:
            key = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if options.api_auth and not hmac.compare_digest(key, options.api_auth):
                raise module.unauthorized()
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            answer: web.Response = module.not_found(error.status).answer
        except HostError as error:
            answer = module.failed(error).answer
        except Refused as error:
            answer = error.answer
        return answer

    made = web.Application(middlewares=[tracked, dressed], client_max_size=1 << 28)
    made[HOST], made[drawing.KEPT] = host, {}
    made.add_routes([*admin.routes(page=False), *module.routes(options.personality)])
    return made
