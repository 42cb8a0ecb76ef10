"""The commands ``draw``, ``chat`` and ``jobs``: what they are asked, and what they do.

What is made goes to files and to standard output, all else to standard error. With ``--json`` the
output is the job as the API gives it (of ``chat``, a line for each turn), with ``files`` beside.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from robotchat.errors import RobotchatError
from robotchat.images import encode_base64
from robotchat.terminal.screen import Screen
from robotchat.terminal.service import InProcess, Refused, Remote, Service, Unreachable, View
from robotchat.text import shown

DONE, FAILED, WRONG_USAGE, UNREACHABLE, REFUSED, STOPPED = 0, 1, 2, 3, 4, 130
"""Exit statuses: the job failed; the command line is wrong; nobody answers; the service refused the
request; the person pressed Ctrl-C."""

STATUSES = """\
exit status: 0 done, 1 the job failed, 2 wrong usage, 3 nobody answers at the URL, 4 the service
refused the request, 130 stopped by Ctrl-C (the job is canceled)"""

_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


class _WrongUsage(Exception):
    """What the command line lacks, in a sentence."""


def add_commands(groups: Any) -> None:
    """Add the commands to the parser of the command line."""
    draw = _command(groups, "draw", _draw, "draw a picture from words, or change one")
    draw.add_argument("prompt", help="what to draw")
    _output(
        draw, "the file to write (default: picture.png); of several pictures, picture-1.png ..."
    )
    draw.add_argument("--image", type=Path, metavar="FILE", help="the picture to change")
    draw.add_argument("--strength", type=float, metavar="0..1", help="how much to change it")
    _settings(draw)
    draw.add_argument("-n", type=int, metavar="N", help="how many pictures")

    chat = _command(groups, "chat", _chat, "talk, and get a picture of what was said, turn by turn")
    chat.add_argument(
        "message", nargs="?", help="one turn; without it, lines are read until the end"
    )
    chat.add_argument("--conversation", metavar="ID", help="the conversation to go on with")
    chat.add_argument("--image", type=Path, metavar="FILE", help="a picture to change in this turn")
    _output(chat, "the file of each turn (default: turn.png), numbered: turn-1.png, turn-2.png ...")
    _settings(chat)

    jobs = _command(
        groups, "jobs", _jobs, "list jobs, or show, stop, retry or delete one", host=False
    )
    jobs.add_argument("job", nargs="?", metavar="JOB_ID", help="only this one")
    what = jobs.add_mutually_exclusive_group()
    what.add_argument("--cancel", action="store_true", help="stop it")
    what.add_argument("--retry", action="store_true", help="run it again, if it failed")
    what.add_argument("--delete", action="store_true", help="delete its pictures and words")
    what.add_argument("-o", "--output", type=Path, metavar="FILE", help="save its pictures")
    jobs.add_argument("--status", help="only those of this status")
    jobs.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: 20)")


def run(asked: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Do what the command line asks; returns the exit status."""
    screen = Screen(sys.stderr, environment)
    try:
        with closing(_service(asked, environment)) as service:
            status: int = asked.run(asked, service, screen)
            return status
    except _WrongUsage as error:
        return _sorry(screen, error, WRONG_USAGE)
    except Unreachable as error:
        return _sorry(screen, error, UNREACHABLE)
    except Refused as error:
        return _sorry(screen, error, REFUSED)
    except (RobotchatError, OSError, ValueError) as error:
        return _sorry(screen, error, FAILED)
    except KeyboardInterrupt:
        return _sorry(screen, "stopped", STOPPED)


def _sorry(screen: Screen, error: object, status: int) -> int:
    screen.clear()
    print(f"robotchat: {shown(str(error), 500)}", file=sys.stderr)
    return status


def _service(asked: argparse.Namespace, environment: Mapping[str, str]) -> Service:
    if getattr(asked, "host", None):
        return InProcess(asked.host)
    url = asked.url or environment.get("ROBOTCHAT_URL")
    key = asked.key or environment.get("ROBOTCHAT_KEY")
    if not url and (local := _local_stack()):
        stack = json.loads(local.read_text("utf-8"))
        url, key = stack["api_url"], key or stack["api_key"]
    if not url:
        raise _WrongUsage(
            "Name a service (--url and --key, or ROBOTCHAT_URL and ROBOTCHAT_KEY), "
            "or an SD host (--host http://127.0.0.1:7860)."
        )
    if not key:
        raise _WrongUsage("A key is needed: --key, or ROBOTCHAT_KEY.")
    return Remote(url, key)


def _local_stack() -> Path | None:
    """What `make run` serves from this folder: on its own port, or else on another one."""
    folder = Path(".robotchat")
    if (usual := folder / "stack.json").exists():
        return usual
    others = sorted(folder.glob("*/stack.json"))
    if len(others) > 1:
        ports = ", ".join(other.parent.name for other in others)
        raise _WrongUsage(
            f"Several services run here (ports {ports}): name one with --url and --key."
        )
    return others[0] if others else None


# --- what they do ---------------------------------------------------------------------------------


def _draw(asked: argparse.Namespace, service: Service, screen: Screen) -> int:
    request = {"prompt": asked.prompt, **_given(asked)}
    if asked.n is not None:
        request["n_iter"] = asked.n
    if asked.image is not None:
        request["init_images"] = [encode_base64(asked.image.read_bytes())]
        if asked.strength is not None:
            request["denoising_strength"] = asked.strength
    elif asked.strength is not None:
        raise _WrongUsage("--strength needs a picture to change: --image FILE.")
    job = _ended(service.draw(request), screen)
    return _finish(job, asked, service, screen, asked.output or Path("picture.png"))


def _chat(asked: argparse.Namespace, service: Service, screen: Screen) -> int:
    conversation, image, worst = asked.conversation, asked.image, DONE
    output = asked.output or Path("turn.png")
    for number, line in enumerate(_lines(asked), start=1):
        job = _ended(service.say(line, conversation, image, _given(asked)), screen)
        conversation, image = job["conversation_id"], None
        if not asked.json and job.get("prompt"):
            print(f"drawn: {shown(job['prompt'], 2000)}", file=sys.stderr)
        if not asked.json and job.get("reply"):
            print(shown(job["reply"], 2000), file=sys.stderr)
        numbered = output.with_stem(f"{output.stem}-{number}") if asked.message is None else output
        worst = max(worst, _finish(job, asked, service, screen, numbered))
    if conversation and not asked.json:
        print(f"to go on: robotchat chat --conversation {conversation}", file=sys.stderr)
    return worst


def _lines(asked: argparse.Namespace) -> Iterator[str]:
    """What the person says, turn by turn."""
    if asked.message is not None:
        yield asked.message
        return
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _jobs(asked: argparse.Namespace, service: Remote, screen: Screen) -> int:
    if asked.job is None:
        if asked.cancel or asked.retry or asked.delete or asked.output:
            raise _WrongUsage("Name the job.")
        filters = {"limit": asked.limit} | ({"status": asked.status} if asked.status else {})
        _list(service.ask("GET", "/v1/jobs", params=filters), asked)
        return DONE
    path = f"/v1/jobs/{asked.job}"
    if asked.delete:
        _say(service.ask("DELETE", path), f"{asked.job} is deleted", asked)
    elif asked.cancel or asked.retry:
        job = service.ask("POST", f"{path}/{'cancel' if asked.cancel else 'retry'}")
        _say(job, f"{job['id']} is {job['status']}", asked)
    elif asked.output:
        return _finish(service.ask("GET", path), asked, service, screen, asked.output)
    else:
        print(json.dumps(service.ask("GET", path), indent=2, ensure_ascii=False))
    return DONE


def _list(found: View, asked: argparse.Namespace) -> None:
    if asked.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for job in found["data"]:
        drawn = job.get("prompt") or job.get("request", {}).get("prompt")
        said = job.get("message") or drawn or ""
        why = job["error"]["code"] if job.get("error") else job.get("reason") or ""
        line = (
            f"{job['id']}  {job['created_at'][:19]}  {job['status']:<9}  {job['progress']:4.0%}  "
        )
        print(f"{line}{why:<16}  {shown(said, 60)}".rstrip())


def _say(answer: View, sentence: str, asked: argparse.Namespace) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False) if asked.json else sentence)


def _ended(jobs: Generator[View], screen: Screen) -> View:
    """The job at its end; shows how far it is on the way."""
    job: View = {}
    with closing(jobs):
        for job in jobs:
            screen.progress(job)
    screen.clear()
    return job


def _finish(
    job: View, asked: argparse.Namespace, service: Service, screen: Screen, output: Path
) -> int:
    """Write a job's pictures, show them, say what became of it; gives the exit status."""
    files = []
    if job["status"] == "succeeded":
        images = service.images(job)
        for number, (data, kind) in enumerate(images, start=1):
            path = output.with_stem(f"{output.stem}-{number}") if len(images) > 1 else output
            if not asked.output or not path.suffix:
                path = path.with_suffix(_ENDINGS.get(kind, ".png"))
            path.write_bytes(data)
            files.append(str(path))
            screen.image(data, content_type=kind)
    if asked.json:
        print(json.dumps({**job, "files": files}, ensure_ascii=False))
    else:
        for name in files:
            print(name)
    if job["status"] == "succeeded":
        return DONE
    error = job.get("error") or {}
    said = f": {error['code']}, {error['message']}" if error else ""
    print(f"robotchat: job {job['status']}{shown(said, 500)}", file=sys.stderr)
    return FAILED


# --- what they are asked --------------------------------------------------------------------------


def _command(
    groups: Any, name: str, do: Callable[..., int], said: str, *, host: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = groups.add_parser(
        name,
        help=said,
        description=f"{said[0].upper()}{said[1:]}.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=do, at_terminal=True)
    parser.add_argument("--json", action="store_true", help="print the job as JSON")
    place = parser.add_argument_group("who draws")
    place.add_argument("--url", help="the service (default: $ROBOTCHAT_URL, or `make run` here)")
    place.add_argument("--key", help="an API key (default: $ROBOTCHAT_KEY)")
    if host:
        place.add_argument(
            "--host", metavar="URL", help="no service at all: this process, on this SD host"
        )
    return parser


def _output(parser: argparse.ArgumentParser, said: str) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=said)


def _settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is drawn")
    group.add_argument("--negative", metavar="WORDS", help="what to keep out")
    group.add_argument("--size", type=_size, metavar="WxH", help="in pixels, as in 768x512")
    group.add_argument("--steps", type=int, metavar="N")
    group.add_argument("--seed", type=int, metavar="N")
    group.add_argument("--sampler", metavar="NAME")
    group.add_argument("--model", metavar="NAME", help="the checkpoint")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError("a size is WIDTHxHEIGHT, as in 768x512")
    return int(width), int(height)


def _given(asked: argparse.Namespace) -> View:
    """The fields of the web UI's API that the options stand for."""
    fields: View = {
        "negative_prompt": asked.negative,
        "steps": asked.steps,
        "seed": asked.seed,
        "sampler_name": asked.sampler,
    }
    if asked.size:
        fields["width"], fields["height"] = asked.size
    if asked.model:
        fields["override_settings"] = {"sd_model_checkpoint": asked.model}
    return {name: value for name, value in fields.items() if value is not None}
