"""``python -m dev.sam_local``: what ``sam local`` needs beside it, until Ctrl-C.

``sam local start-api`` runs the functions in Docker containers, and nothing else. This starts what
they work with: the embedded AWS with the template deployed into it, a stand-in SD host (unless
SD_HOSTS is set), and, while ``sam local start-lambda`` serves, what hands queue messages, stream
records and schedules to the functions. It writes ``env.json`` in its state folder, which
samconfig.toml names, and which tells the functions where all that is.

On Linux the servers listen on the address of Docker's bridge, which containers and this machine
reach, and no other machine. Docker Desktop's containers reach this machine's loopback by the name
host.docker.internal. The environment is that of `dev.run`; besides,

SAM_LAMBDA_PORT (3001) where ``sam local start-lambda`` listens, on 127.0.0.1
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import boto3

from dev.run import (
    ROOT,
    TENANT,
    Options,
    StartError,
    State,
    data_services,
    deploy_template,
    main,
    start_sd_host,
)
from dev.stack import ports
from dev.stack.aws import REGION, Deployment, Emulator
from dev.stack.poller import Poller
from dev.stack.ports import Address
from dev.stack.processes import Children
from dev.stack.runtime_api import FunctionError
from dev.stack.streams import Streams
from dev.template import Template

DESKTOP = Address(listen="127.0.0.1", name="host.docker.internal")
"""Docker Desktop: this machine's loopback, by the name that it has in containers."""

CREDENTIALS = ("defaultkey", "defaultsecret")
"""What the functions get from SAM when it finds no credentials on this machine."""

API_URL = "http://127.0.0.1:3000"
LOOK_EVERY = 0.5  # seconds between two looks whether start-lambda serves
LONGEST_RUN = 900.0  # of a function, in seconds

logger = logging.getLogger("dev.sam_local")


def docker_address() -> Address:
    """Where servers must listen for containers to reach them. Raises StartError without Docker."""
    inspect = ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    try:
        answer = subprocess.run(inspect, capture_output=True, text=True, timeout=30, check=True)
    except FileNotFoundError:
        raise StartError("sam local needs Docker: install it and start it.") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = (error.stderr or b"").strip() or "no answer"
        raise StartError(f"sam local needs Docker, and it does not run: {reason!s}.") from None
    for network in json.loads(answer.stdout) or ():
        gateway = network.get("Gateway") or _first_host(network["Subnet"])
        if ports.is_free(0, gateway):  # it is an address of this machine
            return Address(gateway, gateway)
    return DESKTOP


def _first_host(subnet: str) -> str:
    """The bridge's own address, where Docker does not tell it."""
    return str(next(ipaddress.ip_network(subnet).hosts()))


class SamFunctions:
    """The functions as ``sam local start-lambda`` runs them."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    def invoke(self, name: str, payload: bytes) -> _SamAnswer:
        """Start an invocation; it waits until start-lambda serves."""
        return _SamAnswer(self, name, payload)

    async def serves(self, wanted: bool = True) -> None:
        """Wait until start-lambda listens, or until it does not."""
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                listens = False
            else:
                writer.close()
                listens = True
            if listens == wanted:
                return
            await asyncio.sleep(LOOK_EVERY)

    async def call(self, name: str, payload: bytes) -> bytes:
        """Invoke a function. Raises FunctionError."""
        url = f"http://127.0.0.1:{self._port}/2015-03-31/functions/{name}/invocations"
        try:
            async with self._session.post(url, data=payload) as response:
                answer = await response.read()
        except aiohttp.ClientError as error:
            raise FunctionError("Unreachable", f"start-lambda has gone: {error}") from error
        # An error of the handler comes as if it were an answer.
        document = json.loads(answer or b"null")
        failed = isinstance(document, Mapping) and "errorMessage" in document
        if response.status != 200 or failed:
            raise FunctionError.from_payload(answer)
        return answer


class _SamAnswer:
    def __init__(self, functions: SamFunctions, name: str, payload: bytes) -> None:
        self._functions = functions
        self._name = name
        self._payload = payload

    async def payload_or_error(self) -> bytes:
        await self._functions.serves()
        return await self._functions.call(self._name, self._payload)


@asynccontextmanager
async def serving(options: Options, state: State) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """All that ``sam local`` needs; yields tasks, of which none ends as long as all is well.

    Raises StartError, ChildError, EmulatorError or TemplateError.
    """
    address = await asyncio.to_thread(docker_address)
    check_reachable(options.sd_hosts)
    async with AsyncExitStack() as stack:
        children = await stack.enter_async_context(Children())
        watched: list[asyncio.Task[Any]] = []

        def watch(name: str, end: Any) -> None:
            watched.append(asyncio.create_task(end, name=name))

        emulator = Emulator(
            state.folder / "aws", state.logs / "aws.log", address, credentials=CREDENTIALS
        )
        sd_hosts, child = await asyncio.gather(
            start_sd_host(options, state, children, watch, address), emulator.start(children)
        )
        watch(child.name, child.wait())
        deployment, template, webhook_secret = await asyncio.to_thread(
            deploy_template, options, state, emulator, sd_hosts
        )
        env_file = _write_environment(state, options, emulator, deployment)
        stack.callback(env_file.unlink, missing_ok=True)

        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONGEST_RUN + 60))
        )
        functions = SamFunctions(session, int(os.environ.get("SAM_LAMBDA_PORT") or 3001))
        streams = Streams(
            functions,
            endpoint=emulator.url,
            region=REGION,
            saved=state.folder / "aws" / "streams.json",
        )
        stack.push_async_callback(streams.save)
        stack.push_async_callback(streams.stop)
        watched += streams.start(template.stream_sources(), deployment.physical)
        watch("the queues", _hand_out(functions, template, deployment, emulator))
        state.publish(
            {
                "api_url": API_URL,
                "api_key": state.key(),
                "tenant": TENANT,
                "webhook_secret": webhook_secret,
                "aws_endpoint_url": emulator.url,
                "region": REGION,
                **data_services(template, deployment.physical),
                "sd_hosts": sd_hosts.replace(",", " ").split(),
            }
        )
        stack.callback(state.stack.unlink, missing_ok=True)
        print(
            f"ready for sam local: key {state.key()}  {options.llm}\n"
            f"  sam local start-api       the API on {API_URL}\n"
            "  sam local start-lambda    runs queued jobs, webhooks and schedules",
            flush=True,
        )
        if boto3.Session().get_credentials() is not None:
            print(
                "SAM gives its functions the AWS credentials of this machine, and the embedded AWS "
                "knows none: links to pictures will be refused. Start it with\n"
                f"  AWS_ACCESS_KEY_ID={CREDENTIALS[0]} AWS_SECRET_ACCESS_KEY={CREDENTIALS[1]}",
                flush=True,
            )
        try:
            yield watched
        finally:
            for task in watched:
                task.cancel()
            await asyncio.gather(*watched, return_exceptions=True)


def check_reachable(sd_hosts: str) -> None:
    """Refuse hosts that a container would look for in itself. Raises StartError."""
    for url in sd_hosts.replace(",", " ").split():
        host = urlsplit(url).hostname or ""
        loopback = host == "localhost"
        with contextlib.suppress(ValueError):  # a name
            loopback |= ipaddress.ip_address(host).is_loopback
        if loopback:
            raise StartError(
                f"SD_HOSTS: {url} is another place in a container: name the host by an "
                "address of this machine, and let it listen there (--listen)."
            )


def _write_environment(
    state: State, options: Options, emulator: Emulator, deployment: Deployment
) -> Any:
    """Write what the functions' variables are, in the form that ``--env-vars`` takes."""
    everywhere = {"AWS_ENDPOINT_URL": emulator.url, **options.function_environment}
    document = {
        function.name: {**function.environment, **everywhere} for function in deployment.functions
    }
    file = state.folder / "env.json"
    file.write_text(json.dumps(document, indent=2) + "\n")
    return file


async def _hand_out(
    functions: SamFunctions, template: Template, deployment: Deployment, emulator: Emulator
) -> None:
    """Poll the queues and keep the schedules while start-lambda serves; else leave them alone."""
    # A container that is kept warm takes one event at a time, and SAM keeps one per function.
    sources = [replace(source, concurrency=1) for source in template.queue_sources()]
    while True:
        await functions.serves()
        poller = Poller(functions, endpoint=emulator.url, region=REGION)
        tasks = poller.start(sources, deployment.physical, template.schedules())
        logger.info("start-lambda serves: the queues are polled")
        gone = asyncio.create_task(functions.serves(False))
        try:
            done, _ = await asyncio.wait({gone, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            gone.cancel()
            await poller.close()


if __name__ == "__main__":
    sys.exit(
        main(
            serving,
            "Run what `sam local` needs beside it.",
            ROOT / ".robotchat" / "sam-local",
        )
    )
