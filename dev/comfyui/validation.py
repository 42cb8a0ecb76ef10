"""Whether a graph is one that can be executed, in the real program's words.

Values are brought into their types in the graph itself, as there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dev.comfyui.nodes import KINDS, spec_of

Folder = Callable[[str], list[str]]
Exists = Callable[[str], bool]
Problem = dict[str, Any]
Validity = tuple[bool, list[Problem]]


class Invalid(Exception):
    """The answer to a prompt that is not executed."""

    def __init__(self, kind: str, message: str, details: str, nodes: Any = None) -> None:
        super().__init__(message)
        error = {"type": kind, "message": message, "details": details, "extra_info": {}}
        self.body: dict[str, Any] = {"error": error, "node_errors": nodes or {}}


def validate(prompt: Any, folder: Folder, exists: Exists, *, new: bool) -> tuple[list[str], Any]:
    """The outputs to execute, and what is wrong with the others.

    Raises Invalid when there are none, and the program's own exceptions for what it did not expect.
    """
    outputs = []
    for name in prompt:
        if "class_type" not in prompt[name]:
            title = prompt[name].get("_meta", {}).get("title")
            raise _no_class(name, None, title, new)
        kind = KINDS.get(prompt[name]["class_type"])
        if kind is None:
            title = prompt[name].get("_meta", {}).get("title")
            raise _no_class(name, prompt[name]["class_type"], title, new)
        if kind.output_node:
            outputs.append(name)
    if not outputs:
        raise Invalid("prompt_no_outputs", "Prompt has no outputs", "")
    checking = _Checking(prompt, folder, exists)
    good: list[str] = []
    node_errors: dict[str, Any] = {}
    told: list[str] = []
    for output in outputs:
        try:
            valid, reasons = checking.node(output)
        except Exception as error:  # noqa: BLE001 - as the real one does
            reasons = [
                _exception("exception_during_validation", "Exception when validating node", error)
            ]
            valid = False
            checking.validated[output] = (False, reasons)
        if valid:
            good.append(output)
            continue
        told += [f"{one['message']}: {one['details']}" for one in reasons]
        for name, (fine, why) in checking.validated.items():
            if not fine and why:
                entry = node_errors.setdefault(
                    name,
                    {
                        "errors": why,
                        "dependent_outputs": [],
                        "class_type": prompt[name]["class_type"],
                    },
                )
                entry["dependent_outputs"].append(output)
    if not good:
        raise Invalid(
            "prompt_outputs_failed_validation",
            "Prompt outputs failed validation",
            "\n".join(told),
            node_errors,
        )
    return good, node_errors


def _no_class(name: str, kind: str | None, title: str | None, new: bool) -> Invalid:
    details = f"Node ID '#{name}'"
    if not new:
        missing = "a node is missing the class_type property"
        absent = f"node {kind} does not exist"
        message = f"Cannot execute because {absent if kind else missing}."
        return Invalid("invalid_prompt", message, details)
    shown = title or kind
    message = (
        f"Node '{shown}' not found. The custom node may not be installed."
        if kind
        else f"Node '{title or f'ID #{name}'}' has no class_type. "
        "The workflow may be corrupted or a custom node is missing."
    )
    error = Invalid("missing_node_type", message, details)
    error.body["error"]["extra_info"] = {"node_id": name, "class_type": kind, "node_title": shown}
    return error


def _exception(kind: str, message: str, error: Exception, **extra: Any) -> Problem:
    told = {
        "exception_message": str(error),
        "exception_type": type(error).__name__,
        "traceback": ['  File "/srv/ComfyUI/execution.py", line 900, in validate_inputs\n'],
    }
    return {
        "type": kind,
        "message": message,
        "details": str(error),
        "extra_info": {**extra, **told},
    }


class _Checking:
    def __init__(self, prompt: Any, folder: Folder, exists: Exists) -> None:
        self._prompt, self._folder, self._exists = prompt, folder, exists
        self.validated: dict[str, Validity] = {}

    def node(self, name: str) -> Validity:
        """Whether a node and all that it is fed by are valid."""
        if name in self.validated:
            return self.validated[name]
        inputs = self._prompt[name]["inputs"]
        kind = KINDS[self._prompt[name]["class_type"]]
        problems: list[Problem] = []
        fine = True
        for title, spec in {**kind.required, **kind.optional}.items():
            described = spec_of(spec, self._folder)
            if title not in inputs:
                if title in kind.required:
                    problems.append(_problem("required_input_missing", title, title))
                continue
            if isinstance(inputs[title], list):
                problem, sound = self._link(title, described, inputs[title])
                fine = fine and sound
            else:
                problem = self._value(kind.validates, title, described, inputs)
            if problem:
                problems.append(problem)
        for title in kind.validates:
            if isinstance(inputs.get(title), str) and not self._exists(inputs[title]):
                details = f"{title} - Invalid image file: {inputs[title]}"
                problems.append(_problem("custom_validation_failed", title, details))
        self.validated[name] = (not problems and fine, problems)
        return self.validated[name]

    def _link(self, title: str, spec: list[Any], value: list[Any]) -> tuple[Problem | None, bool]:
        config = [spec[0], spec[1] if len(spec) > 1 else {}]
        more: dict[str, Any] = {"input_config": config, "received_value": value}
        if len(value) != 2:
            return _problem("bad_linked_input", title, title, **more), True
        source, output = value
        found = KINDS[self._prompt[source]["class_type"]].outputs[output]
        if found != spec[0]:
            details = f"{title}, received_type({found}) mismatch input_type({spec[0]})"
            more = {"input_config": config, "received_type": found, "linked_node": value}
            return _problem("return_type_mismatch", title, details, **more), True
        try:
            return None, self.node(source)[0]
        except Exception as error:  # noqa: BLE001 - as the real one does
            kind, message = (
                "exception_during_inner_validation",
                "Exception when validating inner node",
            )
            told = {"input_name": title, "input_config": config, "linked_node": value}
            self.validated[source] = (False, [_exception(kind, message, error, **told)])
            return None, False

    def _value(
        self, unchecked: tuple[str, ...], title: str, spec: list[Any], inputs: Any
    ) -> Problem | None:
        value, options = inputs[title], spec[1] if len(spec) > 1 else {}
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[title] = value["__value__"]
        config = [spec[0], options]
        types: dict[str, Any] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
        if not isinstance(spec[0], list) and spec[0] in types:
            try:
                value = inputs[title] = types[spec[0]](value)
            except Exception as error:  # noqa: BLE001 - as the real one does
                return _problem(
                    "invalid_input_type",
                    title,
                    f"{title}, {value}, {error}",
                    message=f"Failed to convert an input value to a {spec[0]} value",
                    input_config=config,
                    received_value=value,
                    exception_message=str(error),
                )
        if title in unchecked:
            return None
        more = {"input_config": config, "received_value": value}
        if "min" in options and value < options["min"]:
            said = f"Value {value} smaller than min of {options['min']}"
            return _problem("value_smaller_than_min", title, title, message=said, **more)
        if "max" in options and value > options["max"]:
            said = f"Value {value} bigger than max of {options['max']}"
            return _problem("value_bigger_than_max", title, title, message=said, **more)
        choices = spec[0] if isinstance(spec[0], list) else options.get("options")
        if isinstance(choices, list) and value not in choices:
            listed = f"(list of length {len(choices)})" if len(choices) > 20 else str(choices)
            if len(choices) > 20:
                more["input_config"] = None
            details = f"{title}: '{value}' not in {listed}"
            return _problem("value_not_in_list", title, details, **more)
        return None


_MESSAGES = {
    "required_input_missing": "Required input is missing",
    "bad_linked_input": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
    "return_type_mismatch": "Return type mismatch between linked nodes",
    "value_not_in_list": "Value not in list",
    "custom_validation_failed": "Custom validation failed for node",
}


def _problem(kind: str, title: str, details: str, message: str = "", **more: Any) -> Problem:
    return {
        "type": kind,
        "message": message or _MESSAGES[kind],
        "details": details,
        "extra_info": {"input_name": title, **more},
    }
