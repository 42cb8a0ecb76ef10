"""What the service adds to the first streamed token, and what a chain of responses saves."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.targets import AtLeast, AtMost
from dev import llm
from tests.local_stack import RunningStack

ROUNDS = 60
TURNS = 20
CHAT = {"model": "stand-in", "messages": [{"role": "user", "content": "hello"}], "stream": True}
TARGETS = {
    "chat: added at the median (ms)": AtMost(4),
    "chain: prompt tokens not evaluated again (%)": AtLeast(85),
}


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, llm.running() as upstream:
        environment = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_MODEL": "stand-in"}
        stack = RunningStack(Path(folder), environment)
        stack.start()
        try:
            with (
                httpx.Client(base_url=upstream.url, timeout=60) as direct,
                httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as through,
            ):
                return _measured(direct, through)
        finally:
            stack.stop()


def _measured(direct: httpx.Client, through: httpx.Client) -> dict[str, float]:
    first = through.post("/v1/responses", json={"input": "hello"}).raise_for_status().json()
    respond = {"input": "hello again", "stream": True}
    chained = {**respond, "previous_response_id": first["id"]}
    requests: dict[str, tuple[httpx.Client, str, dict[str, Any]]] = {
        "direct": (direct, "/v1/chat/completions", CHAT),
        "chat": (through, "/v1/chat/completions", CHAT),
        "responses": (through, "/v1/responses", respond),
        "continued": (through, "/v1/responses", chained),
    }
    times: dict[str, list[float]] = {name: [] for name in requests}
    for round_number in range(-5, ROUNDS):  # the first ones start processes and connections
        for name, request in requests.items():
            taken = _first_token(*request)
            if round_number >= 0:
                times[name].append(taken)
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    return {
        "direct, median (ms)": round(medians["direct"], 1),
        "chat: median (ms)": round(medians["chat"], 1),
        "chat: added at the median (ms)": round(medians["chat"] - medians["direct"], 1),
        "responses: median (ms)": round(medians["responses"], 1),
        "responses: added at the median (ms)": round(medians["responses"] - medians["direct"], 1),
        "continued: added at the median (ms)": round(medians["continued"] - medians["direct"], 1),
        "chain: prompt tokens not evaluated again (%)": _reused(through),
    }


def _first_token(client: httpx.Client, path: str, body: dict[str, Any]) -> float:
    """Seconds until the first piece of text is here; the stream is then read to its end."""
    taken = 0.0
    started = time.perf_counter()
    with client.stream("POST", path, json=body) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not taken and line.startswith("data: {") and _has_text(json.loads(line[6:])):
                taken = time.perf_counter() - started
    return taken


def _has_text(event: dict[str, Any]) -> bool:
    if event.get("type") == "response.output_text.delta":
        return True
    choices = event.get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


def _reused(client: httpx.Client) -> float:
    """The share of prompt tokens that the upstream's prompt cache had, over a chain of turns.

    The first turn is not counted: before it nothing was said.
    """
    asked = cached = 0
    previous = None
    for number in range(TURNS):
        body = {
            "input": f"This is what I say in turn {number} of our conversation, at some length.",
            "instructions": "Answer as you like, but always in whole sentences, and be kind.",
            "previous_response_id": previous,
        }
        made = client.post("/v1/responses", json=body).raise_for_status().json()
        if previous is not None:
            asked += made["usage"]["input_tokens"]
            cached += made["usage"]["input_tokens_details"]["cached_tokens"]
        previous = made["id"]
    return round(100 * cached / asked, 1)
