"""``make demo``: the main job, end to end, against the local stack.

A conversation of two turns ("a beach", then "at sunset") and an edit (an uploaded cat, then blue),
with progress bars; the pictures are saved in ``out/``. The stack is started if it does not run.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from dev.run import Options

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
BAR = 30


class DemoError(Exception):
    """The demo cannot go on; the message is one sentence for the user."""


@contextmanager
def running_stack() -> Iterator[dict[str, Any]]:
    """What stack.json says, of the stack that runs or of one that runs for this demo only."""
    file = Options.from_env(os.environ).state / "stack.json"
    if file.exists():
        yield json.loads(file.read_text())
        return
    print("No stack is running; starting one for the demo ...")
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.run"],
        cwd=ROOT,
        env={"LLM": "none", **os.environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise DemoError("The stack did not start.")
        yield json.loads(file.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main() -> int:
    try:
        with running_stack() as stack:
            headers = {"Authorization": f"Bearer {stack['api_key']}"}
            with httpx.Client(base_url=stack["api_url"], headers=headers, timeout=120) as client:
                show(client)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
        print(f"demo: the service does not answer ({error}).", file=sys.stderr)
        return 1
    return 0


def show(client: httpx.Client) -> None:
    """The demo itself."""
    OUT.mkdir(exist_ok=True)
    print("\nA conversation that draws (POST /v1/chat/text2image)")
    first = say(client, "text2image", message="I want to see a photo of a beach")
    save(client, first, "beach.png")
    second = say(
        client, "text2image", message="at sunset", conversation_id=first["conversation_id"]
    )
    save(client, second, "beach-at-sunset.png")

    print("\nA picture that is changed (POST /v1/chat/image2image)")
    upload = upload_image(client, a_cat(client))
    third = say(client, "image2image", message="can you make this cat blue?", image=upload)
    save(client, third, "blue-cat.png")
    print(f"\nThe pictures are in {OUT.name}/.")


def say(client: httpx.Client, how: str, **request: Any) -> dict[str, Any]:
    """Send a turn and follow its job to the end."""
    print(f'  you: "{request["message"]}"')
    answer = client.post(f"/v1/chat/{how}", json=request)
    job = checked(answer)
    while job["status"] in ("queued", "running"):
        bar(job)
        time.sleep(0.2)
        job = checked(client.get(job["links"]["self"]))
    bar(job, end="\n")
    if job["status"] != "succeeded":
        raise DemoError(f"the job {job['status']}: {job['error']['message']}")
    print(f'  drawn: "{job["prompt"]}"  (prompt written by: {job["prompt_source"]})')
    return job


def bar(job: dict[str, Any], end: str = "") -> None:
    """The job's progress, drawn over the line before."""
    done = round(BAR * job["progress"])
    state = job["reason"] or job["status"]
    line = f"  [{'#' * done}{'.' * (BAR - done)}] {job['progress']:4.0%} {state:<20}"
    print(f"\r{line}" if sys.stdout.isatty() or end else "", end=end, flush=True)


def a_cat(client: httpx.Client) -> bytes:
    """A photo of a cat, as a user would have one; drawn by Text2Image."""
    request = {"prompt": "a photo of a cat", "steps": 12, "seed": 7, "width": 512, "height": 512}
    answer = checked(client.post("/sdapi/v1/txt2img", json=request))
    data = base64.b64decode(answer["images"][0])
    (OUT / "cat.png").write_bytes(data)
    print("  a cat: out/cat.png (POST /sdapi/v1/txt2img)")
    return data


def upload_image(client: httpx.Client, data: bytes) -> str:
    """Put a picture where the service can read it; gives the upload's id."""
    announced = {"content_type": "image/png", "size": len(data)}
    upload = checked(client.post("/v1/uploads", json=announced))
    httpx.request(
        upload["method"], upload["url"], headers=upload["headers"], content=data
    ).raise_for_status()
    return str(upload["id"])


def save(client: httpx.Client, job: dict[str, Any], name: str) -> None:
    """Save the picture behind the job's link."""
    if not job["images"]:
        raise DemoError("the job drew no picture.")
    (OUT / name).write_bytes(httpx.get(job["images"][0]["url"]).raise_for_status().content)
    print(f"  saved: out/{name}")


def checked(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of an answer, unless it is an error."""
    if answer.is_error:
        raise DemoError(f"{answer.request.url} answered {answer.status_code}: {answer.text}")
    result: dict[str, Any] = answer.json()
    return result


if __name__ == "__main__":
    sys.exit(main())
