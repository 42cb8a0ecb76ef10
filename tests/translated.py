"""The template as CloudFormation gets it: after SAM has translated it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from samtranslator.translator.transform import transform  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"
CODE = "s3://bucket/code"


class _NoManagedPolicies:
    def load(self) -> dict[str, str]:
        return {}


@cache
def _translated(parameters: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    template = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = CODE
    with mock.patch.dict("os.environ", {"AWS_DEFAULT_REGION": "us-east-1"}):
        document: dict[str, Any] = transform(template, dict(parameters), _NoManagedPolicies())
    return document


def translated(**parameters: str) -> dict[str, Any]:
    """The CloudFormation template, with these parameters and else the defaults.

    Resources and outputs whose condition is not met are left out.
    """
    document = copy.deepcopy(_translated(tuple(sorted(parameters.items()))))
    values = {name: one.get("Default", "") for name, one in document["Parameters"].items()}
    values |= parameters
    for section in ("Resources", "Outputs"):
        document[section] = {
            name: one
            for name, one in document[section].items()
            if "Condition" not in one or _met(document, one["Condition"], values)
        }
    return document


def _met(document: dict[str, Any], condition: Any, values: Mapping[str, Any]) -> bool:
    """Whether a condition, or the name of one, is met."""
    if isinstance(condition, str):
        return _met(document, document["Conditions"][condition], values)
    ((kind, operands),) = condition.items()
    if kind == "Condition":
        return _met(document, operands, values)
    if kind == "Fn::Equals":
        one, other = (_value(operand, values) for operand in operands)
        return one == other
    met = [_met(document, operand, values) for operand in operands]
    return {"Fn::And": all(met), "Fn::Or": any(met), "Fn::Not": not met[0]}[kind]


def _value(operand: Any, values: Mapping[str, Any]) -> str:
    if isinstance(operand, Mapping):
        if "Fn::Join" in operand:
            separator, parts = operand["Fn::Join"]
            value = values[parts["Ref"]] if isinstance(parts, Mapping) else parts
            return str(separator).join(value if isinstance(value, list) else [value])
        return str(values[operand["Ref"]])
    return str(operand)
