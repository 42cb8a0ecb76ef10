"""Words from a language model: the ``ChatBot``, and what it needs of a driver.

A driver speaks OpenAI's own request and response bodies, as plain dictionaries: what this package
does not know passes through unchanged, in both directions. ``ChatBot`` puts a small Python face
on it; the GPT endpoints of the service use the very same methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from robotchat.errors import UpstreamError, UpstreamGarbage

if TYPE_CHECKING:
    from robotchat.gpt.responses.engine import Responses
from robotchat.gpt.driver import AnswerStream, Body, ChatDriver


@dataclass(frozen=True)
class Completion:
    """The continuation of a prompt. ``raw`` is the upstream's whole answer."""

    text: str
    finish_reason: str | None
    usage: Body | None
    raw: Body = field(repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ChatCompletion:
    """The model's answer to a list of messages. ``raw`` is the upstream's whole answer.

    ``tool_calls`` is what the model wants to have called, in OpenAI's shape; ``text`` is then
    often empty.
    """

    text: str
    tool_calls: Sequence[Body]
    finish_reason: str | None
    usage: Body | None
    raw: Body = field(repr=False)

    def __str__(self) -> str:
        return self.text


class ChatStream:
    """The pieces of an answer's text, as they are made.

    Leaving the ``with`` block, or ``close``, stops the model. ``text`` is what has arrived so
    far; ``finish_reason`` and ``usage`` are known at the end, when the upstream tells them.
    """

    def __init__(self, events: AnswerStream) -> None:
        self._events = events
        self.text = ""
        self.finish_reason: str | None = None
        self.usage: Body | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            event = next(self._events)
            self.usage = event.get("usage") or self.usage
            for choice in event.get("choices") or ():
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
                piece = (choice.get("delta") or {}).get("content")
                if piece:
                    self.text += piece
                    return str(piece)

    def close(self) -> None:
        """Stop the model, if it has not finished yet."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ChatBot:
    """Talks to a language model.

    ``model`` is used where a request names none. ``responses`` keeps the state of sessions; the
    default keeps it in this process.
    """

    def __init__(
        self,
        driver: ChatDriver,
        *,
        model: str | None = None,
        responses: Responses | None = None,
    ) -> None:
        self._driver = driver
        self._model = model
        self._responses = responses

    def complete(self, prompt: str, **params: Any) -> Completion:
        """Continue a prompt. ``params`` are OpenAI's, such as ``max_tokens`` or ``temperature``."""
        raw = self.completion({"prompt": prompt, **params})
        choice = _first_choice(raw)
        return Completion(
            text=choice.get("text") or "",
            finish_reason=choice.get("finish_reason"),
            usage=raw.get("usage"),
            raw=raw,
        )

    def chat(self, messages: str | Sequence[Mapping[str, Any]], **params: Any) -> ChatCompletion:
        """Answer a message, or a list of messages in OpenAI's shape."""
        raw = self.chat_completion({"messages": _messages(messages), **params})
        choice = _first_choice(raw)
        message = choice.get("message") or {}
        return ChatCompletion(
            text=message.get("content") or "",
            tool_calls=message.get("tool_calls") or (),
            finish_reason=choice.get("finish_reason"),
            usage=raw.get("usage"),
            raw=raw,
        )

    def stream(self, messages: str | Sequence[Mapping[str, Any]], **params: Any) -> ChatStream:
        """Answer piece by piece. Use it in a ``with`` block, so that leaving stops the model."""
        body = {
            "messages": _messages(messages),
            "stream_options": {"include_usage": True},
            **params,
        }
        return ChatStream(self.stream_chat_completion(body))

    def session(self, *, instructions: str | None = None, **params: Any) -> Session:
        """A dialogue that remembers what was said. ``params`` go with each of its requests."""
        return Session(self._state(), {"instructions": instructions, **params})

    def chat_completion(self, body: Mapping[str, Any]) -> Body:
        """``POST /v1/chat/completions``, in OpenAI's own bodies."""
        return self._driver.chat_completion(self._with_model(body))

    def stream_chat_completion(self, body: Mapping[str, Any]) -> AnswerStream:
        """The chunks of ``POST /v1/chat/completions`` with ``stream: true``."""
        return self._driver.stream_chat_completion(self._with_model(body))

    def completion(self, body: Mapping[str, Any]) -> Body:
        """``POST /v1/completions``, in OpenAI's own bodies."""
        return self._driver.completion(self._with_model(body))

    def stream_completion(self, body: Mapping[str, Any]) -> AnswerStream:
        """The chunks of ``POST /v1/completions`` with ``stream: true``."""
        return self._driver.stream_completion(self._with_model(body))

    def embeddings(self, body: Mapping[str, Any]) -> Body:
        """``POST /v1/embeddings``, in OpenAI's own bodies."""
        return self._driver.embeddings(self._with_model(body))

    def models(self) -> Body:
        """``GET /v1/models``: what the upstream offers."""
        return self._driver.models()

    def model(self, model_id: str) -> Body:
        """``GET /v1/models/{id}``."""
        return self._driver.model(model_id)

    def _with_model(self, body: Mapping[str, Any]) -> Body:
        if self._model is None or body.get("model"):
            return dict(body)
        return {**body, "model": self._model}

    def _state(self) -> Responses:
        if self._responses is None:
            from robotchat.gpt.responses.engine import Responses

            self._responses = Responses(self._driver, model=self._model)
        return self._responses


class Session:
    """A dialogue that continues with each thing said.

    It is a chain of stored responses, as in ``POST /v1/responses`` with
    ``previous_response_id``. ``branch`` gives a second dialogue with the same past.
    """

    def __init__(
        self, responses: Responses, params: Mapping[str, Any], *, last_id: str | None = None
    ) -> None:
        self._responses = responses
        self._params = {name: value for name, value in params.items() if value is not None}
        self.last_id = last_id
        """The id of the last response, where the next one continues."""

    def say(self, message: str | Sequence[Mapping[str, Any]], **params: Any) -> Reply:
        """Say something (a text, or input items in OpenAI's shape), and get the answer."""
        reply = Reply(self._responses.create(self._request(message, params)))
        self.last_id = reply.id
        return reply

    def stream(self, message: str | Sequence[Mapping[str, Any]], **params: Any) -> SessionStream:
        """Say something, and get the answer piece by piece."""
        return SessionStream(self, self._responses.stream(self._request(message, params)))

    def branch(self) -> Session:
        """Another session that continues from here, independently of this one."""
        return Session(self._responses, self._params, last_id=self.last_id)

    def _request(
        self, message: str | Sequence[Mapping[str, Any]], params: Mapping[str, Any]
    ) -> Body:
        said = message if isinstance(message, str) else [dict(item) for item in message]
        request = {**self._params, **params, "input": said}
        if self.last_id is not None:
            request["previous_response_id"] = self.last_id
        return request


@dataclass(frozen=True)
class Reply:
    """One answer in a session: OpenAI's Response object, with its text at hand."""

    raw: Body = field(repr=False)

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def text(self) -> str:
        return "".join(
            part.get("text", "")
            for item in self.raw["output"]
            if item.get("type") == "message"
            for part in item["content"]
        )

    @property
    def tool_calls(self) -> list[Body]:
        """The ``function_call`` items: answer with ``function_call_output`` items."""
        return [item for item in self.raw["output"] if item.get("type") == "function_call"]

    def __str__(self) -> str:
        return self.text


class SessionStream:
    """The pieces of an answer in a session. What was cut off is remembered as far as it came."""

    def __init__(self, session: Session, events: AnswerStream) -> None:
        self._session = session
        self._events = events
        self.reply: Reply | None = None
        """The whole answer, once it has ended."""
        self._response_id: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            event = next(self._events)
            if event["type"] == "response.output_text.delta":
                return str(event["delta"])
            if event["type"] == "response.created":
                self._response_id = event["response"]["id"]
            if event["type"] in ("response.completed", "response.incomplete"):
                self.reply = Reply(event["response"])
                self._session.last_id = self.reply.id
            if event["type"] == "response.failed":
                self._response_id = None
                raise UpstreamError(event["response"]["error"]["message"])

    def close(self) -> None:
        """Stop the model. The session continues from what was said so far."""
        self._events.close()
        if self.reply is None and self._response_id is not None:
            self._session.last_id = self._response_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _messages(messages: str | Sequence[Mapping[str, Any]]) -> list[Body]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [dict(message) for message in messages]


def _first_choice(raw: Body) -> Body:
    choices = raw.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamGarbage("The language model's answer holds no choices.")
    return choices[0]
