"""Tools of every type, over an upstream that only knows functions.

A tool such as ``custom`` or ``apply_patch`` goes to the upstream as a function. What the upstream
calls is given back as the item that the client expects for its tool, and what the client answers
goes to the upstream as the result of the function. Of the tools that OpenAI's servers run there is
``image_generation``, which this service runs itself; the others are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotchat.errors import InvalidRequest
from robotchat.gpt.driver import Body
from robotchat.gpt.normalize import written_json
from robotchat.gpt.responses import image_tool

LONGEST_NAME = 64
"""Characters of a function's name that upstreams take."""

CALLS = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
    }
)
"""Items in which a model calls a tool."""

OUTPUTS = frozenset({f"{kind}_output" for kind in CALLS})
"""Items in which a client says what came of a call."""

_SERVER_RUN = {
    "web_search": "web search",
    "web_search_preview": "web search",
    "file_search": "file search",
    "code_interpreter": "the code interpreter",
    "mcp": "MCP servers that OpenAI calls (let the client call them)",
    "computer": "computer use",
    "computer_use_preview": "computer use",
    "tool_search": "tool search",
}

_STRING: Body = {"type": "string"}
_STRINGS: Body = {"type": "array", "items": _STRING}


def _object(required: Sequence[str], **properties: Body) -> Body:
    return {"type": "object", "properties": properties, "required": list(required)}


_BUILT_IN: Mapping[str, Body] = {
    "local_shell": {
        "description": "Runs a command on the user's machine, and returns what it printed.",
        "parameters": _object(
            ["command"],
            command={**_STRINGS, "description": "The program and its arguments."},
            working_directory=_STRING,
            timeout_ms={"type": "integer"},
            env={"type": "object", "additionalProperties": _STRING},
        ),
    },
    "shell": {
        "description": "Runs shell commands on the user's machine, and returns what they printed.",
        "parameters": _object(
            ["commands"],
            commands=_STRINGS,
            timeout_ms={"type": "integer"},
            max_output_length={"type": "integer"},
        ),
    },
    "apply_patch": {
        "description": "Creates, updates or deletes one file. The diff of an update is in the V4A "
        "format: lines begin with a space, - or +, after a line with @@.",
        "parameters": _object(
            ["operation"],
            operation=_object(
                ["type", "path"],
                type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                path=_STRING,
                diff=_STRING,
            ),
        ),
    },
}


@dataclass(frozen=True)
class Tool:
    """A tool of a request. ``function`` is the name that the upstream knows it by."""

    kind: str
    name: str
    function: str
    namespace: str | None = None


def function_name(name: str, namespace: str | None = None) -> str:
    """What a tool is called at the upstream: the same for the same tool in every request."""
    full = f"{namespace}__{name}" if namespace else name
    if len(full) <= LONGEST_NAME:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:8]
    return f"{full[: LONGEST_NAME - 9]}_{digest}"


def check_tools(tools: Sequence[object]) -> None:
    """Raises InvalidRequest for a tool that cannot be had here, naming it."""
    seen: dict[str, str] = {}
    for index, tool in enumerate(tools):
        param = f"tools[{index}]"
        for known, _ in _parsed(tool, param):
            if known.function in seen:
                raise InvalidRequest(
                    f"Two tools have the name '{known.function}'.", param=f"{param}.name"
                )
            seen[known.function] = param


def check_choice(choice: object, tools: Sequence[Mapping[str, Any]]) -> None:
    """Whether a tool choice is one, and finds its tools. Raises InvalidRequest."""
    if choice is None or choice in ("none", "auto", "required"):
        return
    if not isinstance(choice, dict):
        raise InvalidRequest(
            "'tool_choice' must be none, auto, required or a tool.", param="tool_choice"
        )
    known = tools_by_function(tools)
    if choice.get("type") != "allowed_tools":
        _check_chosen(choice, known, "tool_choice")
        return
    if choice.get("mode", "auto") not in ("auto", "required"):
        raise InvalidRequest("mode must be auto or required.", param="tool_choice.mode")
    allowed = choice.get("tools")
    if not isinstance(allowed, list) or not allowed:
        raise InvalidRequest("Allowed tools must be listed.", param="tool_choice.tools")
    for index, tool in enumerate(allowed):
        _check_chosen(tool, known, f"tool_choice.tools[{index}]")


def _check_chosen(choice: object, known: Mapping[str, Tool], param: str) -> None:
    if not isinstance(choice, dict):
        raise InvalidRequest("A tool choice must be an object.", param=param)
    name = _chosen(choice)["function"]["name"]
    if name not in known:
        raise InvalidRequest(f"Tool choice '{name}' not found in 'tools' parameter.", param=param)


def chat_tools(tools: Sequence[Mapping[str, Any]]) -> list[Body]:
    """The functions that stand for a request's tools, as chat completions have them."""
    return [
        {"type": "function", "function": {"name": tool.function, **function}}
        for index, given in enumerate(tools)
        for tool, function in _parsed(given, f"tools[{index}]")
    ]


def tools_by_function(tools: Sequence[Mapping[str, Any]]) -> dict[str, Tool]:
    """A request's tools under the names by which the upstream calls them."""
    return {
        tool.function: tool
        for index, given in enumerate(tools)
        for tool, _ in _parsed(given, f"tools[{index}]")
    }


def chat_tool_choice(choice: str | Mapping[str, Any]) -> str | Body:
    """A choice of tools as chat completions have it."""
    if isinstance(choice, str):
        return choice
    if choice.get("type") == "allowed_tools":
        allowed = [_chosen(tool) for tool in choice.get("tools") or ()]
        mode = choice.get("mode", "auto")
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    return _chosen(choice)


def _chosen(choice: Mapping[str, Any]) -> Body:
    kind = choice.get("type")
    named_by_type = (*_BUILT_IN, image_tool.TOOL)
    if kind not in ("function", "custom", *named_by_type):
        raise InvalidRequest(
            f"A tool choice of type '{kind}' is not available here.", param="tool_choice"
        )
    name = kind if kind in named_by_type else choice.get("name")
    if not isinstance(name, str):
        raise InvalidRequest("A tool choice needs a 'name'.", param="tool_choice")
    namespace = choice.get("namespace")
    named = function_name(name, namespace if isinstance(namespace, str) else None)
    return {"type": "function", "function": {"name": named}}


def _parsed(tool: object, param: str, namespace: str | None = None) -> Iterator[tuple[Tool, Body]]:
    """The tools that one entry stands for, each with its description for the upstream."""
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise InvalidRequest("A tool is an object with a 'type'.", param=param)
    kind = tool["type"]
    if kind == "web_search" and tool.get("external_web_access") is False:
        # A client that forbids access to the web asks for a search that finds nothing new: the
        # model does as well without it, and agents send this by default.
        return
    if kind in _BUILT_IN and namespace is None:
        environment = tool.get("environment")
        if isinstance(environment, dict) and environment.get("type") not in (None, "local"):
            raise InvalidRequest(
                "A shell in OpenAI's containers is not available here: let the client run it, "
                "with an environment of type 'local'.",
                param=f"{param}.environment",
            )
        yield Tool(kind, kind, kind), dict(_BUILT_IN[kind])
        return
    if kind == image_tool.TOOL and namespace is None:
        yield Tool(kind, kind, kind), image_tool.function(tool)
        return
    name = tool.get("name")
    if kind in ("function", "custom", "namespace") and not (isinstance(name, str) and name):
        raise InvalidRequest(f"A {kind} tool needs a 'name'.", param=f"{param}.name")
    match kind:
        case "function":
            names = ("description", "parameters", "strict")
            function = {field: tool[field] for field in names if tool.get(field) is not None}
            yield Tool(kind, str(name), function_name(str(name), namespace), namespace), function
        case "custom":
            function = {"description": _custom_description(tool), "parameters": _CUSTOM}
            yield Tool(kind, str(name), function_name(str(name), namespace), namespace), function
        case "namespace" if namespace is None:
            inner = tool.get("tools")
            if not isinstance(inner, list):
                raise InvalidRequest("A namespace needs its 'tools'.", param=f"{param}.tools")
            for index, one in enumerate(inner):
                yield from _parsed(one, f"{param}.tools[{index}]", str(name))
        case _:
            what = _SERVER_RUN.get(kind, "it")
            raise InvalidRequest(
                f"Tools of type '{kind}' are not available here: switch {what} off in the client, "
                "which can run tools of its own ('function', 'custom', 'shell', 'apply_patch').",
                param=param,
            )


_CUSTOM = _object(["input"], input={"type": "string", "description": "The whole input, as text."})


def _custom_description(tool: Mapping[str, Any]) -> str:
    text = str(tool.get("description") or tool["name"])
    form = tool.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        syntax, grammar = form.get("syntax", "lark"), form.get("definition", "")
        text += f"\n\nThe input must match this grammar ({syntax}):\n{grammar}"
    return text


# --- what the model calls -------------------------------------------------------------------------


def call_fields(tool: Tool, arguments: str) -> Body:
    """What the item of a call holds, from the arguments with which its function was called.

    What does not fit the tool is given as far as it goes: the client tells the model, as it does
    with any other wrong call.
    """
    given = _parsed_arguments(arguments)
    match tool.kind:
        case "custom":
            text = given.get("input")
            return {"input": text if isinstance(text, str) else arguments}
        case "local_shell":
            env = given.get("env")
            action: Body = {
                "type": "exec",
                "command": _command(given.get("command", arguments)),
                "env": env if isinstance(env, dict) else {},
            }
            for name in ("timeout_ms", "user", "working_directory"):
                if given.get(name) is not None:
                    action[name] = given[name]
            return {"action": action}
        case "shell":
            commands = given.get("commands", given.get("command", arguments))
            limits = ("timeout_ms", "max_output_length")
            return {
                "action": {
                    "commands": _texts(commands),
                    **{name: _count(given.get(name)) for name in limits},
                }
            }
        case _:
            operation = given.get("operation", given)
            operation = operation if isinstance(operation, dict) else {}
            kind = operation.get("type")
            kind = kind if kind in ("create_file", "delete_file") else "update_file"
            made = {"type": kind, "path": str(operation.get("path", ""))}
            if kind != "delete_file":
                made["diff"] = str(operation.get("diff", "" if operation else arguments))
            return {"operation": made}


def _parsed_arguments(arguments: str) -> Body:
    try:
        given = written_json(arguments)
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def _command(given: object) -> list[str]:
    return ["bash", "-lc", given] if isinstance(given, str) else _texts(given)


def _texts(given: object) -> list[str]:
    return [str(one) for one in given] if isinstance(given, list) else [str(given)]


def _count(given: object) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) else None


# --- what is told of calls ------------------------------------------------------------------------


def called(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """Id, function and arguments of a call, as the upstream made it."""
    kind, call_id = item["type"], str(item["call_id"])
    namespace = item.get("namespace")
    space = namespace if isinstance(namespace, str) else None
    match kind:
        case "function_call":
            return call_id, function_name(item["name"], space), item["arguments"]
        case "custom_tool_call":
            arguments = _json({"input": item["input"]})
            return call_id, function_name(item["name"], space), arguments
        case "apply_patch_call":
            return call_id, "apply_patch", _json({"operation": item["operation"]})
        case _:
            action = {k: v for k, v in item["action"].items() if v is not None and k != "type"}
            return call_id, kind.removesuffix("_call"), _json(action)


def answered(item: Mapping[str, Any]) -> tuple[str, str | list[Body]]:
    """Id of a call, and what came of it: a text or parts of a content."""
    output = item.get("output")
    if item["type"] == "apply_patch_call_output":
        status = item.get("status") or "completed"
        output = f"{status}: {output}" if output else str(status)
    elif item["type"] == "shell_call_output":
        output = _json(output)
    return str(item["call_id"]), output if isinstance(output, (str, list)) else _json(output)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
