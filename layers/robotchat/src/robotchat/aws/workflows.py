"""Checking the workflows of a new configuration with the ComfyUI hosts that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from robotchat.aws.wiring import Deployment
from robotchat.config import ServiceConfig
from robotchat.errors import InvalidRequest, UpstreamError

_TOLD = 20
"""Problems of one workflow that are told."""


def check_workflows(here: Deployment, config: ServiceConfig) -> None:
    """Raises InvalidRequest for a workflow that no ComfyUI host is able to draw, of those that
    answer now. What is configured already is not asked about again, so that a host that changed
    keeps nobody from changing something else."""
    known = here.configuration.read().config.workflows
    fresh = [workflow for workflow in config.workflows if workflow not in known]
    if not fresh:
        return
    problems: dict[str, list[list[str]]] = {workflow.name: [] for workflow in fresh}
    for host in _hosts(here, config):
        try:
            if host.capabilities().kind != "comfyui":
                continue
            for workflow in fresh:
                problems[workflow.name].append(host.check(workflow))
        except UpstreamError:
            continue  # it is not there to be asked
        finally:
            host.close()
    for name, each in problems.items():
        if each and all(each):
            told = each[0][:_TOLD]
            raise InvalidRequest(
                f"No ComfyUI host can draw the workflow {name!r}: {told[0]}.",
                param="workflows",
                details={"workflow": name, "problems": told},
            )


def _hosts(here: Deployment, config: ServiceConfig) -> Iterator[Any]:
    """Drivers for the hosts that may be ComfyUI's."""
    from robotchat.drivers.hosts import host_driver
    from robotchat.drivers.webui import Timeouts

    timeouts = Timeouts(connect=3.0, answer=10.0)
    if config.sd_hosts is None:
        for address in here.environment.sd_hosts:
            yield host_driver(address, timeouts=timeouts)
        return
    stored = here.configuration.read()
    secrets = here.configuration.secrets(stored)
    for host in config.sd_hosts:
        if host.kind in (None, "comfyui"):
            password = secrets.get(host.secret_name) if host.password is None else host.password
            auth = (host.username, password or "") if host.username is not None else None
            yield host_driver(host.address, auth=auth, timeouts=timeouts)
