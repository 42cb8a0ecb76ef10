"""``robotchat``: pictures for a person at a terminal (`robotchat.terminal`), and what an operator
does with a deployment.

The operator's commands use the deployment's table and queues with the operator's own AWS
credentials, or the local stack's. The result of a command goes to standard output, all else to
standard error, so that ``KEY=$(robotchat keys create --tenant acme)`` holds the key and nothing
more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotchat.errors import RobotchatError
from robotchat.ids import TENANT_RULE, is_tenant
from robotchat.terminal.commands import add_commands
from robotchat.terminal.commands import run as run_at_terminal
from robotchat.text import shown

if TYPE_CHECKING:
    from robotchat.aws.dead_letters import DeadLetters
    from robotchat.aws.keys import ApiKey
    from robotchat.jobs.limits import Limits
    from robotchat.records import Records

SCOPES = ("images", "chat", "jobs:read", "admin")
"""What keys can be made for; ``*`` is all of it."""

LONGEST_DRAWING = 6 * 3600.0
"""Seconds that a picture may take where no function waits for it."""

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SIZES = {"": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


class _Problem(Exception):
    """Why a command failed, in a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, 1 for failure, 2 for wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that lacks a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.at_terminal:
        return run_at_terminal(asked, os.environ)
    if asked.run is _complete:
        from robotchat.terminal.completion import script

        print(script(parser, asked.shell), end="")
        return 0
    try:
        from robotchat.aws.operator import Unreachable, explained
    except ModuleNotFoundError as error:
        print(
            f"robotchat: {error.name} is missing: pip install boto3 'robotchat[aws]'",
            file=sys.stderr,
        )
        return 1
    try:
        with explained():
            if asked.run is _work:
                status: int = _work(asked)
                return status
            asked.run(asked, _dead_letters(asked) if asked.run is _redrive else _table(asked))
    except (Unreachable, _Problem, RobotchatError) as error:
        print(f"robotchat: {shown(str(error), 500)}", file=sys.stderr)
        return 1
    return 0


def _table(asked: argparse.Namespace) -> Records:
    from robotchat.aws.operator import deployed_table, local_table

    if asked.local is not None:
        return local_table(asked.local)
    return deployed_table(
        table=asked.table or os.environ.get("TABLE_NAME") or None,
        stack=asked.stack_name,
        region=asked.region,
        profile=asked.profile,
    )


def _dead_letters(asked: argparse.Namespace) -> DeadLetters:
    from robotchat.aws.operator import deployed_dead_letters, local_dead_letters

    if asked.local is not None:
        return local_dead_letters(asked.local)
    return deployed_dead_letters(stack=asked.stack_name, region=asked.region, profile=asked.profile)


# --- keys -----------------------------------------------------------------------------------------


def _create_key(asked: argparse.Namespace, records: Records) -> None:
    from robotchat.aws.keys import create_key

    secret, key = create_key(
        records,
        asked.tenant,
        scopes=asked.scopes,
        name=asked.name,
        expires_at=asked.expires and datetime.now(UTC) + asked.expires,
    )
    _show_secret(asked, secret, key)


def _list_keys(asked: argparse.Namespace, records: Records) -> None:
    from robotchat.aws.keys import list_keys

    keys = list(list_keys(records, asked.tenant))
    if asked.json:
        print(json.dumps([_key(key) for key in keys], indent=2))
        return
    rows = [("KEY", "STATE", "SCOPES", "CREATED", "EXPIRES", "NAME")]
    for key in keys:
        fields = _key(key)
        rows.append(
            (
                key.key_id,
                fields["state"],
                ",".join(key.scopes),
                f"{key.created_at:%Y-%m-%d %H:%M}",
                f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
                key.name,
            )
        )
    _print_table(rows)


def _revoke_key(asked: argparse.Namespace, records: Records) -> None:
    from robotchat.aws.keys import revoke_key

    key = revoke_key(records, asked.tenant, asked.key_id)
    print(f"{key.key_id} is revoked; it stops working within half a minute.", file=sys.stderr)


def _rotate_key(asked: argparse.Namespace, records: Records) -> None:
    from robotchat.aws.keys import rotate_key

    secret, new, old = rotate_key(records, asked.tenant, asked.key_id, grace=asked.grace)
    _show_secret(asked, secret, new)
    print(f"{old.key_id} works until {old.expires_at:%Y-%m-%d %H:%M} UTC.", file=sys.stderr)


def _show_secret(asked: argparse.Namespace, secret: str, key: ApiKey) -> None:
    if asked.json:
        print(json.dumps({**_key(key), "secret": secret}, indent=2))
        return
    until = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "without end"
    print(
        f"{key.key_id} of {key.tenant}, for {', '.join(key.scopes)}, {until}. "
        "Its secret is shown only now:",
        file=sys.stderr,
    )
    print(secret)


def _key(key: ApiKey) -> dict[str, Any]:
    now = datetime.now(UTC)
    state = "valid" if key.valid(now) else "revoked" if key.revoked_at else "expired"
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "state": state,
        "scopes": list(key.scopes),
        "name": key.name,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }


# --- tenants --------------------------------------------------------------------------------------


def _show_tenant(asked: argparse.Namespace, records: Records) -> None:
    from robotchat.clock import SystemClock
    from robotchat.jobs.limits import Ledger

    ledger = Ledger(records, SystemClock())
    own, usage = ledger.own_limits(asked.tenant), ledger.usage(asked.tenant)
    if asked.json:
        document = {
            "tenant": asked.tenant,
            "limits": own.model_dump(exclude_unset=True),
            "now": usage.now.model_dump(mode="json"),
            "today": usage.today.model_dump(mode="json"),
        }
        print(json.dumps(document, indent=2))
        return
    used: dict[str, object] = {
        "active_jobs": usage.now.active_jobs,
        "waiting_requests": usage.now.waiting_requests,
        "images_per_day": usage.today.images,
        "stored_bytes": usage.now.stored_bytes,
    }
    rows = [("LIMIT", "VALUE", "USED")]
    for name in type(own).model_fields:
        rows.append((name, _limit(own, name), str(used.get(name, ""))))
    _print_table(rows)
    print(f"cost today: {usage.today.cost:g}", file=sys.stderr)


def _limit(own: Limits, name: str) -> str:
    if name not in own.model_fields_set:
        return "default"
    value = getattr(own, name)
    if isinstance(value, list):
        return ", ".join(value)
    return "unlimited" if value is None else str(value)


def _set_tenant(asked: argparse.Namespace, records: Records) -> None:
    from robotchat.clock import SystemClock
    from robotchat.jobs.limits import Ledger, Limits

    ledger = Ledger(records, SystemClock())
    fields = ledger.own_limits(asked.tenant).model_dump(exclude_unset=True)
    given = {name: getattr(asked, name) for name in Limits.model_fields}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise _Problem("Nothing to set: name a limit, as in --active-jobs 5.")
    for name, value in changes.items():
        if value == "default":
            fields.pop(name, None)
        else:
            fields[name] = None if value == "unlimited" else value
    ledger.set_limits(asked.tenant, Limits.model_validate(fields))
    print(f"The limits of {asked.tenant} are set; they hold within half a minute.", file=sys.stderr)


# --- dead letters ---------------------------------------------------------------------------------


def _redrive(asked: argparse.Namespace, letters: DeadLetters) -> None:
    found, stayed = (letters.look(), 0) if asked.list else letters.redrive()
    if stayed:
        print(f"{stayed} could not be put back, and stay where they are", file=sys.stderr)
    if asked.json:
        print(json.dumps([vars(letter) for letter in found], default=str))
        return
    if found:
        _print_table(
            [("MESSAGE", "SENT", "RECEIVED", "TENANT", "JOB", "WHY")]
            + [
                (
                    letter.id,
                    f"{letter.sent_at:%Y-%m-%d %H:%M:%S}",
                    f"{letter.receives} x",
                    letter.tenant or "-",
                    letter.job_id or "-",
                    letter.reason,
                )
                for letter in found
            ]
        )
    done = "dead" if asked.list else "back on the queue"
    print(f"{len(found)} message{'' if len(found) == 1 else 's'} {done}", file=sys.stderr)


# --- the pull worker ------------------------------------------------------------------------------


def _work(asked: argparse.Namespace) -> int:
    """Draw the deployment's pictures on hosts beside this machine, until it is told to stop."""
    import signal

    if asked.local is not None:
        from robotchat.aws.operator import local_environment

        os.environ.update(local_environment(asked.local))
        asked.stack_name = os.environ["ROBOTCHAT_STACK"]
    for variable, value in (
        ("AWS_DEFAULT_REGION", asked.region or os.environ.get("AWS_REGION")),
        ("AWS_PROFILE", asked.profile),
    ):
        if value:
            os.environ[variable] = value
    from robotchat.art.workflows import read_folder
    from robotchat.aws.pull import AwsClock, PullWorker, environment_of, own_hosts

    own_from_here = os.environ.get("SD_HOSTS", "")  # not the stack's, which Lambda reaches
    # Nor what is the longest for a function, which may run for 15 minutes only.
    longest = asked.longest_drawing or os.environ.get("RUN_TIMEOUT_SECONDS") or LONGEST_DRAWING
    # What is set here counts more: this machine may have another way to the language model.
    for name, value in environment_of(asked.stack_name).items():
        os.environ.setdefault(name, value)

    from robotchat.aws.log import logger
    from robotchat.aws.wiring import Deployment, serving
    from robotchat.settings import Settings

    given = asked.host or [host for host in re.split(r"[,\s]+", own_from_here) if host]
    logger()
    own = {"SD_HOSTS": "", "RUN_TIMEOUT_SECONDS": str(longest)}
    environment = Settings.from_env({**os.environ, **own})
    clock = AwsClock()
    workflows = read_folder(asked.workflows) if asked.workflows else []
    hosts = own_hosts(given, local=environment.local, workflows=workflows)
    if not hosts:
        raise _Problem("Name a host, as in --host http://127.0.0.1:7860.")
    deployment = Deployment(environment, own_hosts=hosts, clock=clock)
    clock.watch(deployment.client("sqs"))
    deployment.job_queue.of_pool(asked.pool).counts()  # whether it is there
    with serving(deployment):
        worker = PullWorker(deployment, pool=asked.pool, ahead=asked.ahead, drain=asked.drain)

        def stop(number: int, frame: Any) -> None:
            worker.leave(at_once=bool(stopping))  # asked twice, it does not wait
            stopping.append(number)

        stopping: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        where = f"the pool {asked.pool}" if asked.pool else "the queue of all jobs"
        done = worker.run(
            lambda names: print(
                f"robotchat worker is ready: {', '.join(names) or 'no host answers yet'}; "
                f"takes jobs from {where}",
                file=sys.stderr,
                flush=True,
            )
        )
    return 0 if done else 1


def _complete() -> None:
    """Stands for the command ``completion``, which needs the parser and nothing else."""


# --- reading the command line ---------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="robotchat", description="Draw, talk, and operate a robotchat deployment."
    )
    parser.add_argument("--version", action="version", version=version("robotchat"))
    parser.set_defaults(at_terminal=False)
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    add_commands(groups)
    completion = groups.add_parser("completion", help="print what a shell completes this with")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_complete)

    keys = groups.add_parser("keys", help="make, list, revoke and rotate API keys")
    commands = keys.add_subparsers(required=True, metavar="ACTION")
    create = _command(commands, "create", _create_key, "make a key; its secret is shown once")
    _tenant_option(create)
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=SCOPES[:3],
        metavar="SCOPE,...",
        help=f"what it is for: of {', '.join(SCOPES)}, or * (default: all but admin)",
    )
    create.add_argument("--name", default="", help="a note to recognise it by")
    create.add_argument(
        "--expires", type=_lifetime, metavar="TIME", help="90d, 12h, or never (default)"
    )
    listing = _command(commands, "list", _list_keys, "list a tenant's keys, without their secrets")
    _tenant_option(listing)
    revoke = _command(commands, "revoke", _revoke_key, "make a key useless, within half a minute")
    revoke.add_argument("key_id", metavar="KEY_ID")
    _tenant_option(revoke)
    rotate = _command(
        commands, "rotate", _rotate_key, "make a key like another, which then runs out"
    )
    rotate.add_argument("key_id", metavar="KEY_ID")
    _tenant_option(rotate)
    rotate.add_argument(
        "--grace",
        type=_duration,
        default=timedelta(days=1),
        metavar="TIME",
        help="how long the old key goes on working (default: 1d)",
    )

    tenants = groups.add_parser("tenants", help="show and set what a tenant may use")
    commands = tenants.add_subparsers(required=True, metavar="ACTION")
    show = _command(commands, "show", _show_tenant, "show a tenant's own limits and its usage")
    show.add_argument("tenant", type=_tenant)
    setting = _command(
        commands, "set", _set_tenant, "set limits; 'default' and 'unlimited' are values"
    )
    setting.add_argument("tenant", type=_tenant)
    for option, read, metavar, said in (
        ("--active-jobs", _count, "N", "jobs queued or running at the same time"),
        ("--waiting-requests", _count, "N", "requests that wait or follow at the same time"),
        ("--images-per-day", _count, "N", "pictures asked for in a day (UTC)"),
        ("--work-per-request", _count, "N", "pixels x steps x pictures of one request"),
        ("--stored-bytes", _size, "SIZE", "stored pictures and uploads, as in 50GB"),
        ("--checkpoints", _names, "NAME,...", "the only ones it may use, the default first"),
    ):
        setting.add_argument(option, type=read, metavar=metavar, help=said)

    redrive = _command(
        groups, "redrive", _redrive, "put the jobs' dead letters back on their queue"
    )
    redrive.add_argument("--list", action="store_true", help="only show what is there")

    worker = _command(
        groups, "worker", _work, "draw on SD hosts that only this machine reaches, until SIGTERM"
    )
    worker.add_argument(
        "--host",
        action="append",
        metavar="[NAME=]URL",
        help="an SD host; several times for several (default: $SD_HOSTS, safer for passwords)",
    )
    worker.add_argument(
        "--pool", type=_pool, metavar="NAME", help="take jobs from this pool's own queue"
    )
    worker.add_argument(
        "--workflows",
        type=Path,
        metavar="DIR",
        help="a folder of workflows for ComfyUI hosts, a JSON file each",
    )
    worker.add_argument(
        "--ahead",
        type=_ahead,
        default=1,
        metavar="N",
        help="jobs to take up beside those that are drawn (default: 1)",
    )
    worker.add_argument(
        "--drain",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="time from SIGTERM to the end; what is not drawn by then is given back (default: 60)",
    )
    worker.add_argument(
        "--longest-drawing",
        type=_seconds,
        metavar="SECONDS",
        help="after which a host is taken for stuck (default: $RUN_TIMEOUT_SECONDS, or 6 hours)",
    )
    return parser


def _command(commands: Any, name: str, run: Any, said: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=said, description=said)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON")
    place = parser.add_argument_group("which deployment")
    place.add_argument(
        "--local",
        nargs="?",
        type=Path,
        const=Path(".robotchat"),
        metavar="STATE",
        help="the local stack that runs here, or on this state folder",
    )
    place.add_argument(
        "--stack-name", default="robotchat", help="the CloudFormation stack (default: robotchat)"
    )
    place.add_argument("--table", help="the table itself (default: $TABLE_NAME, or the stack's)")
    place.add_argument("--region", help="the AWS region")
    place.add_argument("--profile", help="the AWS profile")
    return parser


def _tenant_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", type=_tenant, required=True, help="whose it is")


def _pool(text: str) -> str:
    from robotchat.hosts.pulled import POOL_RULE, is_pool

    if not is_pool(text):
        raise argparse.ArgumentTypeError(POOL_RULE)
    return text


def _ahead(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise argparse.ArgumentTypeError("must be a number from 0 to 99")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return float(text)


def _tenant(text: str) -> str:
    if not is_tenant(text):
        raise argparse.ArgumentTypeError(TENANT_RULE)
    return text


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for scope in scopes:
        if scope not in (*SCOPES, "*"):
            raise argparse.ArgumentTypeError(
                f"there is no scope {scope!r}; there are {', '.join(SCOPES)} and *"
            )
    if not scopes:
        raise argparse.ArgumentTypeError("name a scope")
    return scopes


def _lifetime(text: str) -> timedelta | None:
    return None if text == "never" else _duration(text)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError("a time is a number and m, h, d or w, as in 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _count(text: str) -> int | str:
    if text in ("default", "unlimited"):
        return text
    if not re.fullmatch(r"[0-9_]{1,18}", text):
        raise argparse.ArgumentTypeError("must be a number, 'unlimited' or 'default'")
    return int(text)


def _size(text: str) -> int | str:
    match = re.fullmatch(r"([0-9]{1,15})\s*(|KB|MB|GB|TB)", text.strip().upper())
    return _count(text) if match is None else int(match[1]) * _SIZES[match[2]]


def _names(text: str) -> list[str] | str:
    if text in ("default", "unlimited"):
        return text
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise argparse.ArgumentTypeError("name a checkpoint")
    return names


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    rows = [tuple(shown(cell, 80) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
