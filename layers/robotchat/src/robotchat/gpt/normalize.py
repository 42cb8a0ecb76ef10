"""Turning what upstreams really send into what the API promises.

Model servers differ in small ways that break clients: calls of tools without an index, content as
a list of parts, half characters at the edge of a chunk, a stream that ends without saying why.
What can only have meant one thing is mended, what is not known here is left alone, and what cannot
have meant anything raises UpstreamGarbage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from robotchat.errors import UpstreamGarbage
from robotchat.gpt.driver import Body
from robotchat.ids import new_id
from robotchat.text import MAX_DEPTH, mended_json

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH = re.compile("[\ud800-\udbff]\\Z")

_GROWING = ("content", "reasoning_content", "reasoning", "refusal", "text")
"""Fields of a delta or a choice whose pieces are put together."""


def garbage(what: str = "answer") -> UpstreamGarbage:
    return UpstreamGarbage(f"The language model's {what} is not what its API promises.")


# --- text -----------------------------------------------------------------------------------------


def whole_characters(text: str) -> str:
    """A text without half characters: surrogates that belong together joined, others replaced."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean(value: Any, depth: int = 0) -> Any:
    """A JSON value of an upstream, without half characters in any of its texts.

    Raises UpstreamGarbage for one that is nested too deeply.
    """
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, (dict, list)) and depth == MAX_DEPTH:
        raise garbage()
    if isinstance(value, dict):
        return {whole_characters(str(k)): clean(part, depth + 1) for k, part in value.items()}
    if isinstance(value, list):
        return [clean(part, depth + 1) for part in value]
    return value


class Pieces:
    """Joins characters that were cut in two at the edge of a piece, text by text."""

    def __init__(self) -> None:
        self._held: dict[Any, str] = {}

    def join(self, key: Any, piece: str) -> str:
        """The piece with the half character before it; one at its own end is kept for the next."""
        text = self._held.pop(key, "") + piece
        if _HIGH.search(text):
            self._held[key] = text[-1]
            text = text[:-1]
        return whole_characters(text)

    def rest(self, key: Any) -> str:
        """What is left at the end of a text: nothing, or a character for the half that is lost."""
        return REPLACEMENT if self._held.pop(key, "") else ""


def text_of(content: object) -> tuple[str, str] | None:
    """Text and reasoning of a content, a string or parts; None when it holds other things too."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        return None
    text = thought = ""
    for part in content:
        if isinstance(part, str):
            text += part
            continue
        if not isinstance(part, dict):
            return None
        match part.get("type", "text"):
            case "text" | "output_text" | "input_text" if isinstance(part.get("text"), str):
                text += part["text"]
            case "thinking" | "reasoning":
                inner = part.get("thinking", part.get("text", part.get("reasoning", "")))
                thought += "".join(text_of(inner) or ())
            case _:
                return None
    return text, thought


def written_json(text: str) -> Any:
    """The value of JSON that a model wrote, such as the arguments of a call. Raises ValueError."""
    try:
        return clean(mended_json(text))
    except UpstreamGarbage as error:
        raise ValueError(error.message) from error


def as_json_text(arguments: object) -> str:
    """The arguments of a call as the JSON text that the API has for them."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


# --- chat completions and completions -------------------------------------------------------------


def _mend_message(message: object, what: str) -> Body:
    """A message or a delta with content as text, and reasoning in a field of its own."""
    if message is None:
        return {}
    if not isinstance(message, dict):
        raise garbage(what)
    content = message.get("content")
    if isinstance(content, list):
        found = text_of(content)
        if found is None:
            return dict(message)
        text, thought = found
        mended = {**message, "content": text}
        if thought:
            mended["reasoning_content"] = f"{message.get('reasoning_content') or ''}{thought}"
            if not text:
                mended["content"] = None
        return mended
    if isinstance(content, (dict, bool, int, float)):
        raise garbage(what)
    return dict(message)


def _listed(value: object, what: str) -> list[Body]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise garbage(what)
    return value


def _choice_number(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else 0


def completion(answer: Mapping[str, Any]) -> Body:
    """A whole answer of chat or completions. Raises UpstreamGarbage when it holds no choices."""
    mended: Body = clean(dict(answer))
    choices = _listed(mended.get("choices"), "answer")
    if not choices:
        raise UpstreamGarbage("The language model's answer holds no choices.")
    mended["choices"] = [_mend_choice(choice) for choice in choices]
    return mended


def _mend_choice(choice: Body) -> Body:
    if "message" not in choice:
        return choice
    message = _mend_message(choice["message"], "answer")
    if "tool_calls" in message:
        calls = [
            _mend_call(call, index) for index, call in enumerate(_calls(message["tool_calls"]))
        ]
        message["tool_calls"] = calls
        if not calls:
            del message["tool_calls"]
    return {**choice, "message": message}


def _calls(value: object) -> list[Body]:
    return _listed([value] if isinstance(value, dict) else value, "call of a tool")


def _mend_call(call: Body, number: int) -> Body:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        if "function" not in call and isinstance(call.get("custom"), dict):
            return call
        raise garbage("call of a tool")
    arguments = as_json_text(function.get("arguments")) or "{}"
    identity = call.get("id")
    return {
        **call,
        "id": identity if isinstance(identity, str) and identity else new_id("call"),
        "type": "function",
        "function": {**function, "arguments": arguments},
    }


def chunks_of(answer: Mapping[str, Any]) -> Iterator[Body]:
    """A whole answer as the chunks of the stream that was asked for."""
    whole = completion(answer)
    head = {
        name: value for name, value in whole.items() if name not in ("choices", "usage", "object")
    }
    chat = any("message" in choice for choice in whole["choices"])
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    for number, choice in enumerate(whole["choices"]):
        rest = {name: value for name, value in choice.items() if name != "message"}
        rest.setdefault("index", number)
        if "message" in choice:
            delta = choice["message"]
            if "tool_calls" in delta:
                calls = enumerate(delta["tool_calls"])
                delta = {**delta, "tool_calls": [{**call, "index": i} for i, call in calls]}
            rest["delta"] = {"role": "assistant", **delta}
        reason = rest.get("finish_reason") or "stop"
        yield {**head, "choices": [{**rest, "finish_reason": None}]}
        end = {"index": rest["index"], "finish_reason": reason, "logprobs": None}
        yield {**head, "choices": [{**end, "delta": {}} if chat else {**end, "text": ""}]}
    if whole.get("usage") is not None:
        yield {**head, "choices": [], "usage": whole["usage"]}


class Chunks:
    """The chunks of one stream. ``expected`` is how many choices were asked for."""

    def __init__(self, expected: int = 1) -> None:
        self._expected = expected
        self._pieces = Pieces()
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._calling: set[int] = set()
        self._calls: dict[int, _Calls] = {}
        self._last: Body = {}

    @property
    def complete(self) -> bool:
        """Whether every choice that was asked for has said why it ended."""
        return len(self._finished) >= self._expected and self._begun <= self._finished

    @property
    def may_end(self) -> bool:
        """Whether this can be all, from an upstream that does not say why it ends."""
        calls = all(calls.whole for calls in self._calls.values())
        return bool(self._begun) and not self._finished and calls

    def feed(self, event: Mapping[str, Any]) -> Body:
        """A chunk as it should be. Raises UpstreamGarbage for what is none."""
        choices = _listed(event.get("choices"), "stream")
        mended = {name: clean(value) for name, value in event.items() if name != "choices"}
        if "choices" in event:
            mended["choices"] = [self._choice(choice) for choice in choices]
        self._last = {
            name: value for name, value in mended.items() if name not in ("choices", "usage")
        } or self._last
        return mended

    def ending(self) -> list[Body]:
        """Chunks that say of each choice which has not done so that it has ended."""
        made = []
        for number in sorted(self._begun - self._finished):
            reason = "tool_calls" if number in self._calling else "stop"
            choice: Body = {"index": number, "finish_reason": reason}
            if self._last.get("object") == "text_completion":
                choice["text"] = self._pieces.rest((number, "text"))
            else:
                choice["delta"] = {}
                self._rests(number, choice)
            self._finished.add(number)
            made.append({**self._last, "choices": [choice]})
        return made

    def _choice(self, given: Body) -> Body:
        rest = {name: value for name, value in given.items() if name not in ("delta", "text")}
        choice: Body = clean(rest)
        number = _choice_number(given)
        choice["index"] = number
        self._begun.add(number)
        if "text" in given:
            choice["text"] = given["text"]
            self._grow(number, choice, ("text",))
        if "delta" in given or "text" not in given:
            choice["delta"] = self._delta(number, given.get("delta"))
        if isinstance(choice.get("finish_reason"), str) and choice["finish_reason"]:
            self._finished.add(number)
            self._rests(number, choice)
        elif choice.get("finish_reason") is not None:
            choice["finish_reason"] = None
        return choice

    def _delta(self, number: int, given: object) -> Body:
        delta = _mend_message(given, "stream")
        rest = {name: value for name, value in delta.items() if name not in _GROWING}
        calls = rest.pop("tool_calls", None)
        mended: Body = clean(rest)
        for name in _GROWING:
            if name in delta:
                mended[name] = delta[name]
        self._grow(number, mended, _GROWING)
        if calls:
            self._calling.add(number)
            known = self._calls.setdefault(number, _Calls())
            mended["tool_calls"] = [self._call(number, known.mend(call)) for call in _calls(calls)]
        return mended

    def _grow(self, number: int, fields: Body, names: tuple[str, ...]) -> None:
        for name in names:
            value = fields.get(name)
            if isinstance(value, str):
                fields[name] = self._pieces.join((number, name), value)
            elif value is not None:
                fields[name] = clean(value)

    def _call(self, number: int, call: Body) -> Body:
        function = call.get("function")
        if not isinstance(function, dict):
            mended: Body = clean(call)
            return mended
        arguments = function.get("arguments", "")
        key = (number, "call", call["index"])
        return {
            **clean({name: value for name, value in call.items() if name != "function"}),
            "function": {**clean(function), "arguments": self._pieces.join(key, arguments)},
        }

    def _rests(self, number: int, choice: Body) -> None:
        """What is left of characters that were cut and never completed."""
        target = choice if "text" in choice else choice.setdefault("delta", {})
        for name in _GROWING:
            if rest := self._pieces.rest((number, name)):
                target[name] = f"{target.get(name) or ''}{rest}"
        for index in self._calls[number].indexes if number in self._calls else ():
            if rest := self._pieces.rest((number, "call", index)):
                more = {"index": index, "function": {"arguments": rest}}
                target.setdefault("tool_calls", []).append(more)


class _Calls:
    """Gives each call of a tool in a stream one index of its own.

    Upstreams leave the index out, send null, or send all calls under the same one and tell them
    apart by their ids, or only by their names.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._names: list[str] = []
        self._arguments: list[str] = []
        self._given: list[int | None] = []

    @property
    def indexes(self) -> range:
        return range(len(self._ids))

    @property
    def whole(self) -> bool:
        """Whether the arguments of every call are JSON so far."""
        return all(not text or _is_json(text) for text in self._arguments)

    def mend(self, call: Body) -> Body:
        function = call.get("function")
        if function is not None and not isinstance(function, dict):
            raise garbage("call of a tool")
        name = (function or {}).get("name")
        name = name if isinstance(name, str) else ""
        arguments = as_json_text((function or {}).get("arguments"))
        index, new = self._place(call, name, arguments)
        mended = {**call, "index": index}
        if function is not None:
            mended["function"] = {**function, "arguments": arguments}
        if new:
            if not name:
                raise UpstreamGarbage("The language model called a function without a name.")
            mended["id"] = self._ids[index]
            mended.setdefault("type", "function")
        self._arguments[index] += arguments
        return mended

    def _place(self, call: Body, name: str, arguments: str) -> tuple[int, bool]:
        """Which call a piece belongs to, and whether that one begins with it."""
        given, identity = call.get("index"), call.get("id")
        if isinstance(given, bool) or not isinstance(given, int):
            given = None
        if not isinstance(identity, str):
            identity = ""
        if identity and identity in self._ids:
            return self._ids.index(identity), False
        same = [index for index, before in enumerate(self._given) if before == given]
        last = same[-1] if same else len(self._ids) - 1 if given is None else -1
        if last >= 0 and (not name or (not identity and self._goes_on(last, name, arguments))):
            return last, False
        self._ids.append(identity or new_id("call"))
        self._names.append(name)
        self._arguments.append("")
        self._given.append(given)
        return len(self._ids) - 1, True

    def _goes_on(self, index: int, name: str, arguments: str) -> bool:
        """Whether a piece with a name is one more of the same call: some repeat it in each."""
        if name != self._names[index]:
            return False
        return not arguments or not _is_json(self._arguments[index])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# --- the Responses API ----------------------------------------------------------------------------


def response_events(response: Mapping[str, Any]) -> Iterator[Body]:
    """A whole response as the events of the stream that was asked for."""
    yield {"type": "response.created", "response": {**response, "output": []}}
    for index, item in enumerate(_listed(response.get("output"), "answer")):
        place = {"item_id": item.get("id"), "output_index": index}
        parts = _listed(item.get("content"), "answer")
        begun = {**item, "content": []} if "content" in item else item
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        for number, part in enumerate(parts):
            at = {**place, "content_index": number}
            yield {"type": "response.content_part.added", **at, "part": _emptied(part)}
            if (name := _PART_EVENTS.get(str(part.get("type")))) is not None:
                field = "refusal" if part["type"] == "refusal" else "text"
                text = str(part.get(field) or "")
                yield {"type": f"{name}.delta", **at, "delta": text, "logprobs": []}
                yield {"type": f"{name}.done", **at, field: text, "logprobs": []}
            yield {"type": "response.content_part.done", **at, "part": part}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response.get('status') or 'completed'}", "response": response}


_PART_EVENTS = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
}


def _emptied(part: Body) -> Body:
    return {**part, **{name: "" for name in ("text", "refusal") if name in part}}
