"""``python -m dev.run``: the whole service on this machine, until Ctrl-C.

Starts the embedded AWS, deploys the template into it, starts a stand-in SD host (unless SD_HOSTS
is set), the Lambda host, the gateway and the poller; prints one line when everything serves. What
it is told by the environment:

PORT (8080)            where the API listens
HOST (127.0.0.1)       on which address; 0.0.0.0 lets containers and other machines in: to the
                       API and, for the pictures' links, to the embedded AWS
ROBOTCHAT_STATE        where state is kept; by default .robotchat, or .robotchat/PORT
WORKERS (lambda)       pull: a `robotchat worker` draws, and no function reaches the SD hosts;
                       it is started again when `/_dev/kill` kills it as `Worker`
SD_HOSTS               Stable Diffusion hosts to use instead of the stand-in
OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL    the language model; without it a small one starts
LLM                    none: no language model at all
PROMPT_WRITER          auto, llm or fallback (the rules, which also write for the small model)

and, for tests and benchmarks:

ROBOTCHAT_TEMPLATE     another template
ROBOTCHAT_PARAMETERS   template parameters, as in "RetryBaseSeconds=0.1 WorkerConcurrency=20"
ROBOTCHAT_FUNCTION_ENV more variables for the functions, in the same form
ROBOTCHAT_SD_ARGS      options of the stand-in SD host
ROBOTCHAT_LEAVING      untold: a streaming function is not told that its client has left, as on AWS
ROBOTCHAT_RECORD       a folder in which to note what each function asks of AWS
ROBOTCHAT_STREAM_IDLE  seconds of silence after which a stream is cut, in place of API Gateway's
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import fcntl
import ipaddress
import json
import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import aiohttp

from dev.llm import beside
from dev.stack import ports
from dev.stack.aws import (
    REGION,
    STACK,
    Deployment,
    Emulator,
    EmulatorError,
    deploy,
    store_openai_key,
)
from dev.stack.gateway import Gateway
from dev.stack.lambda_host import LambdaHost, Layer
from dev.stack.poller import Poller
from dev.stack.ports import EVERYWHERE, LOOPBACK, Address, own_address
from dev.stack.processes import Child, ChildError, Children
from dev.stack.streams import Streams
from dev.template import PULL_WORKER, Template, TemplateError

ROOT = Path(__file__).resolve().parent.parent
TENANT = "dev"
SD_GRACE = 2.0
WORKER_GRACE = 8.0
HOSTS_TIMEOUT = 60.0

logger = logging.getLogger("dev.run")


class StartError(Exception):
    """The stack cannot run; the message is one sentence for the user."""


@dataclass(frozen=True)
class Options:
    """What the environment asks for."""

    port: int
    host: Address
    state: Path
    template: Path
    sd_hosts: str
    sd_args: tuple[str, ...]
    parameters: Mapping[str, str]
    function_environment: Mapping[str, str]
    openai_base_url: str
    openai_api_key: str
    openai_model: str
    small_llm: bool
    prompt_writer: str
    tells_leaving: bool
    stream_idle: float | None
    record: Path | None
    pull: bool

    @classmethod
    def from_env(cls, env: Mapping[str, str], default_state: Path | None = None) -> Options:
        """Read the environment. Raises StartError."""
        text = env.get("PORT") or "8080"
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise StartError(f"PORT must be a number from 1 to 65535, not {text!r}.")
        idle = env.get("ROBOTCHAT_STREAM_IDLE", "").strip()
        try:
            stream_idle = float(idle) if idle else None
        except ValueError:
            raise StartError("ROBOTCHAT_STREAM_IDLE must be a number of seconds.") from None
        leaving = env.get("ROBOTCHAT_LEAVING", "").strip() or "told"
        if leaving not in ("told", "untold"):
            raise StartError("ROBOTCHAT_LEAVING must be told or untold.")
        workers = env.get("WORKERS", "").strip() or "lambda"
        if workers not in ("lambda", "pull"):
            raise StartError("WORKERS must be lambda or pull.")
        llm = env.get("LLM", "").strip()
        if llm not in ("", "none"):
            raise StartError("LLM can only be none: a model is named by OPENAI_BASE_URL.")
        writer = env.get("PROMPT_WRITER", "").strip()
        if writer not in ("", "auto", "llm", "fallback"):
            raise StartError("PROMPT_WRITER must be auto, llm or fallback.")
        named = env.get("OPENAI_BASE_URL", "").strip() or env.get("OPENAI_API_KEY", "").strip()
        default = ROOT / ".robotchat" if text == "8080" else ROOT / ".robotchat" / text
        return cls(
            port=int(text),
            host=_host(env.get("HOST", "").strip() or LOOPBACK.listen),
            state=Path(env.get("ROBOTCHAT_STATE") or default_state or default).resolve(),
            template=Path(env.get("ROBOTCHAT_TEMPLATE") or ROOT / "template.yaml").resolve(),
            sd_hosts=env.get("SD_HOSTS", "").strip(),
            sd_args=tuple(shlex.split(env.get("ROBOTCHAT_SD_ARGS", ""))),
            parameters=_pairs(env, "ROBOTCHAT_PARAMETERS"),
            function_environment=_pairs(env, "ROBOTCHAT_FUNCTION_ENV"),
            openai_base_url=env.get("OPENAI_BASE_URL", "").strip(),
            openai_api_key=env.get("OPENAI_API_KEY", "").strip(),
            openai_model=env.get("OPENAI_MODEL", "").strip(),
            small_llm=not named and not llm,
            prompt_writer=writer,
            tells_leaving=leaving == "told",
            stream_idle=stream_idle,
            record=Path(env["ROBOTCHAT_RECORD"]) if env.get("ROBOTCHAT_RECORD") else None,
            pull=workers == "pull",
        )

    @property
    def api_url(self) -> str:
        """Where this machine finds the API."""
        own = LOOPBACK if self.host.listen == EVERYWHERE else self.host
        return f"http://{own.name}:{self.port}"

    @property
    def llm(self) -> str:
        """The language model, in words."""
        if self.openai_base_url or self.openai_api_key:
            return f"LLM {self.openai_base_url or 'https://api.openai.com/v1'}"
        return "no LLM (set OPENAI_BASE_URL, OPENAI_API_KEY): prompts are written by rules"


def _host(text: str) -> Address:
    """The address to listen on, and where clients elsewhere find it. Raises StartError."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise StartError(f"HOST must be an IPv4 address, such as 0.0.0.0, not {text!r}.") from None
    return Address(text, own_address() if str(address) == EVERYWHERE else text)


def _pairs(env: Mapping[str, str], name: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(env.get(name, ""))]
    if not all(separator for _, separator, _ in pairs):
        raise StartError(f"{name} must be NAME=VALUE words.")
    return {key: value for key, _, value in pairs}


class State:
    """The state folder: locked while a stack runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.stack = folder / "stack.json"
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Take the folder. Raises StartError when another stack runs on it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"A stack is running on {self.folder}: stop it first, or choose another PORT."
            ) from None

    def reset(self) -> None:
        """Forget everything but other stacks, which have folders in this one."""
        for path in self.folder.iterdir():
            if path.is_dir() and not (path / "lock").exists():
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()

    def key(self) -> str:
        """The dev API key, which is made once and then kept."""
        file = self.folder / "key"
        with suppress(FileNotFoundError):
            return file.read_text().strip()
        key = f"rk_{secrets.token_urlsafe(32)}"
        file.touch(mode=0o600)
        file.write_text(key + "\n")
        return key

    def publish(self, document: Mapping[str, Any]) -> None:
        """Write stack.json, so that nobody ever reads a part of it."""
        draft = self.stack.with_suffix(".tmp")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(document, indent=2) + "\n")
        draft.replace(self.stack)


@asynccontextmanager
async def serving(options: Options, state: State) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """The running stack; yields tasks, of which none ends as long as all is well.

    Raises StartError, ChildError, EmulatorError or TemplateError.
    """
    listener = _listener(options.port, options.host.listen)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        children = await stack.enter_async_context(Children())
        watched: list[asyncio.Task[Any]] = []

        def watch(name: str, end: Any) -> None:
            watched.append(asyncio.create_task(end, name=name))

        # Links to pictures lead into it, so that whoever reaches the API must reach it too.
        emulator = Emulator(state.folder / "aws", state.logs / "aws.log", options.host)
        sd_hosts, child, (options, llm) = await asyncio.gather(
            start_sd_host(options, state, children, watch),
            emulator.start(children),
            _with_llm(options, state, children, watch),
        )
        watch(child.name, child.wait())
        deployment, template, webhook_secret = await asyncio.to_thread(
            deploy_template, options, state, emulator, sd_hosts
        )

        host = LambdaHost(
            deployment.functions,
            layer=Layer(template.layer() or ROOT / "layers" / "robotchat"),
            children=children,
            log_dir=state.logs,
            environment={
                "AWS_ENDPOINT_URL": emulator.url,
                "ROBOTCHAT_LOCAL": "1",
                **options.function_environment,
            },
            record=options.record,
        )
        streams = Streams(
            host, endpoint=emulator.url, region=REGION, saved=state.folder / "aws" / "streams.json"
        )
        # In this order at the end: nothing is handed out, nothing writes, what is left is saved.
        stack.push_async_callback(streams.save)
        stack.push_async_callback(host.close)
        stack.push_async_callback(streams.stop)
        poller = Poller(host, endpoint=emulator.url, region=REGION)
        stack.push_async_callback(poller.close)
        api = template.api()
        if options.stream_idle is not None:
            api = replace(api, stream_idle=options.stream_idle)
        gateway = Gateway(api, host, region=REGION, tells_leaving=options.tells_leaving)
        stack.push_async_callback(gateway.close)

        watched += poller.start(template.queue_sources(), deployment.physical, template.schedules())
        watched += streams.start(template.stream_sources(), deployment.physical)
        try:
            await gateway.start(listener)
        except OSError as error:
            raise StartError(_port_taken(options.port)) from error
        api_url = options.api_url
        if options.pull:
            kept = Kept(lambda: start_worker(options, state, children, emulator, sd_hosts))
            worker = await kept.start()
            watch(worker.name, kept.wait())
            gateway.beside["Worker"] = kept.kill
            await _wait_for_hosts(api_url, worker)
        await _check_health(api_url, state)
        document = {
            "api_url": api_url,
            "api_key": state.key(),
            "tenant": TENANT,
            "webhook_secret": webhook_secret,
            "aws_endpoint_url": emulator.url,
            "region": REGION,
            **data_services(template, deployment.physical),
            "sd_hosts": sd_hosts.replace(",", " ").split(),
        }
        state.publish(document)
        stack.callback(state.stack.unlink, missing_ok=True)
        print(
            f"robotchat is ready: {api_url}  key {state.key()}  "
            f"page {api_url}/#key={state.key()}  {llm}",
            flush=True,
        )
        try:
            yield watched
        finally:
            for task in watched:
                task.cancel()


def _listener(port: int, host: str) -> socket.socket:
    try:
        return ports.bind(port, host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(_port_taken(port)) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(f"This machine does not have the address {host}.") from error
        raise StartError(f"Port {port} cannot be used: {error.strerror}.") from error


def _port_taken(port: int) -> str:
    return (
        f"Port {port} is in use: stop what uses it, or choose another, as in `make run PORT=8090`."
    )


async def _with_llm(
    options: Options, state: State, children: Children, watch: Callable[[str, Any], None]
) -> tuple[Options, str]:
    """The options with the language model that is used, and which that is, in words."""
    if not options.small_llm:
        return options, options.llm
    other = await beside.found(options.port)
    if not beside.installed():
        return options, f"{beside.NONE_HERE}{f'; {other}' if other else ''}"
    url = await beside.start(state.folder, state.logs, children, watch)
    said = f"LLM {url} (small: it answers, and leaves prompts to the rules; LLM=none: without)"
    told = {"OpenaiContextWindow": str(beside.CONTEXT), **options.parameters}
    options = replace(
        options,
        openai_base_url=url,
        prompt_writer=options.prompt_writer or "fallback",
        parameters=told,
    )
    return options, f"{said}{f'; {other}' if other else ''}"


async def start_sd_host(
    options: Options,
    state: State,
    children: Children,
    watch: Callable[[str, Any], None],
    address: Address = LOOPBACK,
) -> str:
    """The SD hosts: those that are set, or else a stand-in, which is started."""
    if options.sd_hosts:
        return options.sd_hosts
    port = ports.remembered_port(state.folder / "sd_host.port", address.listen)
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    child = await children.start(
        "the stand-in SD host",
        [
            *(sys.executable, "-m", "dev.sd_host", "--host", address.listen, "--port", str(port)),
            *options.sd_args,
        ],
        env=environment,
        cwd=ROOT,
        log=state.logs / "sd_host.log",
        grace=SD_GRACE,
    )
    await child.wait_until_listening(port, address.listen)
    watch(child.name, child.wait())
    return f"http://{address.name}:{port}"


class Kept:
    """A process that is started again when it was killed, as by systemd."""

    def __init__(self, begin: Callable[[], Awaitable[Child]]) -> None:
        self._begin = begin
        self._child: Child | None = None
        self._killed = False

    async def start(self) -> Child:
        self._killed = False
        self._child = await self._begin()
        return self._child

    async def wait(self) -> int:
        """Wait for an end that is its own."""
        while True:
            child = self._child or await self.start()
            status = await child.wait()
            if not self._killed:
                return status
            await self.start()

    def kill(self) -> list[int]:
        """Kill it as it is; gives its process id."""
        if self._child is None or self._killed:
            return []
        self._killed = True
        self._child.kill()
        return [self._child.pid]


async def start_worker(
    options: Options, state: State, children: Children, emulator: Emulator, sd_hosts: str
) -> Child:
    """A pull worker beside the SD hosts, as an operator would start it."""
    # What is its own is found there, and nothing else of this machine's.
    environment = {
        name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ
    }
    if options.record is not None:
        environment |= {
            "PYTHONPATH": str(ROOT / "dev" / "stack" / "recorder"),
            "ROBOTCHAT_RECORD": str(options.record),
            "ROBOTCHAT_RECORD_AS": PULL_WORKER,
        }
    return await children.start(
        "the pull worker",
        [
            *(sys.executable, "-m", "robotchat.cli", "worker", "--stack-name", STACK),
            *("--drain", f"{WORKER_GRACE - 1}"),
        ],
        env={
            **environment,
            **emulator.environment,
            "ROBOTCHAT_LOCAL": "1",
            **options.function_environment,
            "SD_HOSTS": sd_hosts,
        },
        cwd=ROOT,
        log=state.logs / "Worker.log",
        grace=WORKER_GRACE,
    )


async def _wait_for_hosts(api_url: str, worker: Child) -> None:
    """Wait until the service knows the worker's hosts. Raises ChildError."""
    deadline = asyncio.get_running_loop().time() + HOSTS_TIMEOUT
    async with aiohttp.ClientSession() as session:
        while asyncio.get_running_loop().time() < deadline:
            if worker.returncode is not None:
                raise ChildError(f"{worker.name} ended at once; see {worker.log}.")
            async with session.get(f"{api_url}/health") as response:
                if response.status == 200 and (await response.json())["hosts"]:
                    return
            await asyncio.sleep(0.2)
    raise ChildError(f"{worker.name} has no host that answers; see {worker.log}.")


def deploy_template(
    options: Options, state: State, emulator: Emulator, sd_hosts: str
) -> tuple[Deployment, Template, str | None]:
    """Deploy the template with the parameters of this run, and see to the tenant's secrets."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        parameters = {"SdHosts": sd_hosts, "OpenaiBaseUrl": options.openai_base_url}
        if options.pull:
            parameters |= {"SdHosts": "", "Workers": "pull"}
        if options.prompt_writer:
            parameters["PromptWriter"] = options.prompt_writer
        if options.openai_model:
            parameters["OpenaiModel"] = options.openai_model
        if options.openai_api_key:
            parameters["OpenaiSecretArn"] = store_openai_key(emulator, options.openai_api_key)
        template = Template(options.template, {**parameters, **options.parameters})
        deployment = deploy(emulator, template)
        webhook_secret = _seed(state, emulator, deployment)
    except (BotoCoreError, ClientError) as error:
        raise EmulatorError(f"The embedded AWS failed: {error}") from error
    return deployment, template, webhook_secret


def _seed(state: State, emulator: Emulator, deployment: Deployment) -> str | None:
    """Make the dev key known to the service; returns what its webhooks are signed with."""
    from robotchat.aws.keys import ensure_key
    from robotchat.aws.queues import SqsDeliveries
    from robotchat.aws.stores import DynamoRecords
    from robotchat.clock import SystemClock
    from robotchat.events.webhooks import Webhooks

    physical = deployment.physical
    records = DynamoRecords(emulator.client("dynamodb"), physical["Table"])
    ensure_key(records, state.key(), TENANT, name="make run")
    if "Webhooks" not in physical:
        return None
    queue = SqsDeliveries(emulator.client("sqs"), physical["Webhooks"])
    return Webhooks(records, SystemClock(), queue, local=True).secret(TENANT).secret


def data_services(template: Template, physical: Mapping[str, str]) -> dict[str, str | None]:
    """The names by which tools reach the data services; the account's own bus if there is none."""
    buses = [name for name, _ in template.resources("AWS::Events::EventBus")]
    return {
        "queue_url": physical.get("Requests") or physical.get("Jobs"),
        "jobs_queue_url": physical.get("Jobs"),
        "dead_letter_queue_url": physical.get("DeadLetters"),
        "bucket": physical.get("Bucket"),
        "table": physical.get("Table"),
        "event_bus": physical[buses[0]] if buses else "default",
    }


async def _check_health(api_url: str, state: State) -> None:
    """Call GET /health once, which also warms it up; say so if it is not well."""
    async with aiohttp.ClientSession() as session, session.get(f"{api_url}/health") as response:
        if response.status != 200:
            logger.error("GET /health answers %d; see %s", response.status, state.logs)


Serving = Callable[[Options, State], AbstractAsyncContextManager[list[asyncio.Task[Any]]]]
"""A running stack; gives tasks, of which none ends as long as all is well."""


async def run(serving: Serving, options: Options, state: State) -> int:
    """Serve until a signal or until a part dies; returns the exit status."""
    stop = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, _set, stop)
    serve = asyncio.create_task(_serve(serving, options, state))
    await asyncio.wait({serve, stop}, return_when=asyncio.FIRST_COMPLETED)
    serve.cancel()
    try:
        dead = await serve
    except asyncio.CancelledError:
        return 0
    print(f"robotchat: {dead}. Everything is stopped.", file=sys.stderr)
    return 1


def _set(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)


async def _serve(serving: Serving, options: Options, state: State) -> str:
    """Serve until a part dies; says which."""
    async with serving(options, state) as watched:
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        part = done.pop()
        failure = part.exception()
        if failure is not None:
            logger.error("%s failed", part.get_name(), exc_info=failure)
            return f"{part.get_name()} failed ({failure!r}); see {state.logs}"
        return f"{part.get_name()} ended (status {part.result()}); see {state.logs}"


def _set_up_logging(state: State) -> None:
    """Everything to logs/stack.log, errors also to the terminal."""
    state.logs.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(state.logs / "stack.log")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.ERROR)
    terminal.setFormatter(logging.Formatter("robotchat: %(message)s"))
    for name in ("dev", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.INFO)
        for handler in (file, terminal):
            logging.getLogger(name).addHandler(handler)


def main(serving: Serving, description: str, default_state: Path | None = None) -> int:
    """The command: read the environment, serve until the end, say in one sentence what failed.

    ``default_state`` is where state is kept unless ROBOTCHAT_STATE says where.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--reset", action="store_true", help="clear the state and end")
    given = parser.parse_args()
    try:
        options = Options.from_env(os.environ, default_state)
        state = State(options.state)
        state.lock()
        if given.reset:
            state.reset()
            return 0
        state.stack.unlink(missing_ok=True)
        _set_up_logging(state)
        return asyncio.run(run(serving, options, state))
    except (StartError, ChildError, EmulatorError, TemplateError) as error:
        print(f"robotchat: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(serving, "Run the whole service on this machine."))
