"""Streams through the service and through a LiteLLM proxy, side by side in one run.

Only where the proxy is installed: `litellm` on the PATH, or named by the variable LITELLM.
It may be in an environment of its own: `pip install 'litellm[proxy]'`.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.targets import AtMost
from dev import llm
from dev.stack.ports import free_port
from tests.local_stack import RunningStack

ROUNDS = 60
SAID = "hello there my friend how are you today"
CHAT = {"model": "stand-in", "messages": [{"role": "user", "content": SAID}], "stream": True}
TARGETS = {"first token / LiteLLM's": AtMost(0.5), "whole stream / LiteLLM's": AtMost(0.35)}
START_TIMEOUT = 180.0


def measure() -> dict[str, float]:
    program = os.environ.get("LITELLM") or shutil.which("litellm")
    if program is None:
        print("  not measured: there is no LiteLLM proxy here", flush=True)
        return {}
    with tempfile.TemporaryDirectory() as folder, llm.running() as upstream:
        environment = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_MODEL": "stand-in"}
        stack = RunningStack(Path(folder), environment)
        stack.start()
        port = free_port()
        proxy = _started(program, Path(folder), port, upstream.base_url)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(proxy, f"{address}/health/liveliness")
            with (
                httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as ours,
                httpx.Client(base_url=address, timeout=60) as theirs,
            ):
                return _measured(ours, theirs)
        finally:
            proxy.terminate()
            proxy.wait(30)
            stack.stop()


def _started(program: str, folder: Path, port: int, base_url: str) -> subprocess.Popen[bytes]:
    config = folder / "litellm.yaml"
    parameters = {"model": "openai/stand-in", "api_base": base_url, "api_key": "none"}
    models = [{"model_name": "stand-in", "litellm_params": parameters}]
    config.write_text(json.dumps({"model_list": models}), "utf-8")  # JSON is YAML
    return subprocess.Popen(
        [program, "--config", config, "--host", "127.0.0.1", "--port", str(port)],
        cwd=folder,
        env={**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(proxy: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until and proxy.poll() is None:
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise RuntimeError("The LiteLLM proxy does not start.")


def _measured(ours: httpx.Client, theirs: httpx.Client) -> dict[str, float]:
    taken: dict[httpx.Client, list[tuple[float, float]]] = {ours: [], theirs: []}
    for round_number in range(-5, ROUNDS):  # the first ones start processes and connections
        for client, times in taken.items():
            seconds = _streamed(client)
            if round_number >= 0:
                times.append(seconds)
    first = {c: statistics.median(begun for begun, _ in times) for c, times in taken.items()}
    whole = {c: statistics.median(ended for _, ended in times) for c, times in taken.items()}
    return {
        "first token, median (ms)": round(1000 * first[ours], 1),
        "whole stream, median (ms)": round(1000 * whole[ours], 1),
        "LiteLLM's first token, median (ms)": round(1000 * first[theirs], 1),
        "LiteLLM's whole stream, median (ms)": round(1000 * whole[theirs], 1),
        "first token / LiteLLM's": round(first[ours] / first[theirs], 2),
        "whole stream / LiteLLM's": round(whole[ours] / whole[theirs], 2),
    }


def _streamed(client: httpx.Client) -> tuple[float, float]:
    """Seconds until the first piece of text, and until the end."""
    begun = 0.0
    started = time.perf_counter()
    with client.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not begun and line.startswith("data: {"):
                choices = json.loads(line[6:]).get("choices") or [{}]
                if choices[0].get("delta", {}).get("content"):
                    begun = time.perf_counter() - started
    return begun, time.perf_counter() - started
