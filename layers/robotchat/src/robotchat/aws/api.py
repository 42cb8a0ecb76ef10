"""`Endpoint`: what stands between API Gateway and a route function of a few lines.

    handler = Endpoint(scope="images")

    @handler.post("/v1/chat/text2image", status_code=202)
    def chat_text2image(request: ChatImageRequest) -> Job: ...

An endpoint has two faces. Called, it answers API Gateway's proxy integration with a finished
response. Its `stream` yields the same answer in the format of a streamed integration, piece by
piece (`robotchat.aws.runtime` uses it). Either way it authenticates, validates, logs, and turns
errors into the shape that the family of its path speaks.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from aws_lambda_powertools.event_handler.api_gateway import (
    APIGatewayRestResolver,
    BaseRouter,
    Response,
    ResponseBuilder,
    Route,
)
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.middlewares.openapi_validation import (
    OpenAPIRequestValidationMiddleware,
    OpenAPIResponseValidationMiddleware,
)
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query
from aws_lambda_powertools.shared.json_encoder import Encoder

from robotchat.aws import streams
from robotchat.aws.document import openapi_document
from robotchat.aws.encodings import foreign_at
from robotchat.aws.log import correlate, logger
from robotchat.aws.problems import (
    MAX_BODY_BYTES,
    Family,
    FieldError,
    InvalidFields,
    NotJson,
    Problem,
    body_too_large,
    family_of,
    internal_error,
    problem,
)
from robotchat.aws.streams import EventStream, Streamed
from robotchat.correlation import is_request_id
from robotchat.errors import (
    Forbidden,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    RobotchatError,
    Unauthenticated,
    UnsupportedMediaType,
    UpstreamTimeout,
)
from robotchat.ids import TENANT_PATTERN
from robotchat.periodic import InThread
from robotchat.settings import Settings
from robotchat.text import Unfit, read_json

if TYPE_CHECKING:
    from robotchat.aws.wiring import Deployment
    from robotchat.jobs.waiting import Place

#: Everything that a handler needs; Powertools' own names included, so that it needs no other.
__all__ = [
    "Caller",
    "Endpoint",
    "EventStream",
    "Header",
    "IdempotencyKey",
    "PageLimit",
    "Path",
    "Query",
    "Response",
    "Streamed",
    "caller",
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="A key of the caller's choice (up to 255 visible ASCII characters): the same "
        "request with the same key makes one job, however often it is sent.",
    ),
]
"""The header ``Idempotency-Key``; the parameter must be called ``idempotency_key``."""

_TENANT: dict[str, Any] = {"pattern": TENANT_PATTERN}
Tenant = Annotated[str, Path(json_schema_extra=_TENANT)]
"""The name of a tenant in a path. Here its rule is only told; who uses it says what is wrong."""
TenantCursor = Annotated[str | None, Query(json_schema_extra=_TENANT)]
"""Behind which tenant a page begins; the parameter must be called ``cursor``."""

PageLimit = Annotated[int, Query(ge=1, le=100)]
"""How many entries of a list the caller wants at a time; the parameter must be called ``limit``."""

_LEAVE_BEFORE = 15.0
"""Seconds before the end of the function's time at which a stream ends by itself; longer than the
time between two heartbeats."""

_LONGEST = 900.0
"""Seconds that a function of Lambda may take at most."""

_EXPOSED = (
    "etag, location, preference-applied, retry-after, x-ratelimit-limit, x-ratelimit-remaining, "
    "x-ratelimit-reset, x-request-id, x-should-retry"
)


@dataclass(frozen=True)
class Caller:
    """Who is calling, as the authorizer found out."""

    tenant: str
    key_id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has this scope: ``jobs`` includes ``jobs:read``, ``*`` everything."""
        return bool({"*", scope, scope.partition(":")[0]} & self.scopes)


def caller() -> Caller:
    """The caller of the request that is being handled.

    Raises `Unauthenticated` where no authorizer let the request in.
    """
    event: Mapping[str, Any] = BaseRouter.current_event.raw_event
    identity = (event.get("requestContext") or {}).get("authorizer") or {}
    if not identity.get("tenant"):
        raise Unauthenticated("An API key is needed.")
    return Caller(
        tenant=identity["tenant"],
        key_id=identity.get("key_id", ""),
        scopes=frozenset((identity.get("scopes") or "").split()),
    )


class Endpoint(APIGatewayRestResolver):
    """The handler of one Lambda function: a resolver with robotchat's conventions built in.

    ``scope`` is what a caller's key must allow, of several scopes any one; ``public`` endpoints
    need no key. ``family`` overrides the error shape that the request's path implies. ``forms``
    endpoints take the JSON of their body as a multipart form as well (see `robotchat.aws.forms`).

    A route returns a model or plain data (declare it, for the OpenAPI document); a
    ``Response[Model]`` where it sets headers or chooses the status; or an `EventStream`, or a
    `Streamed` body. It raises `robotchat.errors` for everything that the caller should know.
    """

    def __init__(
        self,
        *,
        scope: str | Sequence[str] = (),
        public: bool = False,
        family: Family | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        forms: bool = False,
    ) -> None:
        super().__init__(enable_validation=True)
        self.scopes = (scope,) if isinstance(scope, str) else tuple(scope)
        self.public = public
        self.family = family
        self.max_body_bytes = max_body_bytes
        self.forms = forms
        self._place: Place | None = None
        self._serializer = partial(
            json.dumps, separators=(",", ":"), ensure_ascii=False, cls=Encoder
        )
        self._request_validation_middleware = _RequestValidation()
        self._response_validation_middleware = _ResponseValidation()
        for kind in (RobotchatError, RequestValidationError, Exception):
            self.exception_handler(kind)(self._error_response)
        self.exception_handler(NotFoundError)(self._no_such_route)

    # What route functions may ask.

    @property
    def caller(self) -> Caller:
        """Who is calling. Raises `Unauthenticated` on a public endpoint called without a key."""
        return caller()

    @property
    def tenant(self) -> str:
        """The caller's tenant."""
        return caller().tenant

    @property
    def request_id(self) -> str:
        """The id that the answer and every log line of this request carry."""
        return _request_id(BaseRouter.current_event.raw_event)

    def occupy(self) -> None:
        """Count this request, until it is answered, among those of its tenant that wait or follow.

        For what may take longer than an answer at once does. Raises LimitExceeded when there are
        too many of them.
        """
        # Longer than this function has left, nobody can be waiting here.
        seconds = min(self._time_left(), _LONGEST)
        self._place = _deployment().present.ledger.waiting.take(self.tenant, seconds=seconds)

    # The two faces.

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer with a finished proxy response; a stream is read to its end first."""
        try:
            answer = self.resolve(event, context)
            body = answer["body"]
            if body is None or isinstance(body, str):
                return answer
            data = streams.joined(body)
        finally:
            self._leave()
        try:
            return {**answer, "body": data.decode()}
        except UnicodeDecodeError:
            encoded = base64.b64encode(data).decode()
            return {**answer, "body": encoded, "isBase64Encoded": True}

    def stream(self, event: Mapping[str, Any], context: Any) -> Iterator[bytes]:
        """Yield the answer as a streamed integration wants it: metadata, 8 NUL bytes, the body.

        Nothing is yielded before the status is certain, so a request that fails before its first
        byte of body gets its proper status. Only what takes longer than API Gateway bears silence
        is promised to be 200, and filled up with white space, which may stand before any JSON,
        until there is an answer; if that is an error, it is one of the body alone. Closing the
        iterator closes the route's stream.
        """
        settings = _environment()
        answering = InThread("answer", lambda: self.resolve(event, context))
        try:
            late = not answering.done_within(settings.longest_silence)
            if late:
                yield _metadata(self._promise(event))
                yield b" "
                while not answering.done_within(settings.sign_of_life):
                    yield b" "
            answer = answering.result()
            if not late:
                yield _metadata(answer)
            body = answer["body"]
            if body is None or isinstance(body, str):
                data = (body or "").encode()
                body = streams.cut(base64.b64decode(data) if answer["isBase64Encoded"] else data)
            yield from body
        finally:
            # Also when the client has gone: one request at a time, and so not before this one ends.
            streams.close(answering.result()["body"])
            self._leave()

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """The proxy response; its ``body`` may be an iterator of bytes, started already."""
        started = time.monotonic()
        log = logger()
        correlate(_request_id(event))
        try:
            answer = super().resolve(_with_plain_path(event), context)
        except Exception:  # our bug, outside of any route: an answer that cannot be built
            log.exception("no answer could be built")
            path = str(event.get("path", ""))
            trouble = internal_error(self.family or family_of(path), _request_id(event))
            answer = {
                "statusCode": trouble.status,
                "body": trouble.json(),
                "isBase64Encoded": False,
                "multiValueHeaders": {"Content-Type": [trouble.content_type]},
            }
        headers = answer["multiValueHeaders"]
        present = {name.lower() for name in headers}
        for name, value in self._common_headers(event).items():
            if name.lower() not in present:
                headers[name] = [value]
        identity = (event.get("requestContext") or {}).get("authorizer") or {}
        log.info(
            "answered",
            method=event.get("httpMethod"),
            route=event.get("resource"),
            status=answer["statusCode"],
            duration_ms=round((time.monotonic() - started) * 1000, 1),
            tenant=identity.get("tenant"),
            key_id=identity.get("key_id"),
        )
        return answer

    # How they work.

    def _leave(self) -> None:
        """Give back the place among those that wait, if there is one."""
        place, self._place = self._place, None
        if place is None:
            return
        log = logger()
        try:
            _deployment().present.ledger.waiting.give_back(place)
        except Exception:  # the answer is there already; the place runs out by itself
            log.exception("a place among those that wait could not be given back")

    def _common_headers(self, event: Mapping[str, Any]) -> dict[str, str]:
        origin = _environment().allow_origin
        headers = {
            "x-request-id": _request_id(event),
            "X-Content-Type-Options": "nosniff",
            # Answers are one caller's own, and a key in a header is invisible to caches.
            "Cache-Control": "no-store",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
        }
        return headers if origin == "*" else headers | {"Vary": "Origin"}

    def _promise(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of which nothing is known yet but that it will be JSON."""
        headers = {**self._common_headers(event), "Content-Type": "application/json"}
        return {
            "statusCode": 200,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
        }

    def _family(self) -> Family:
        return self.family or family_of(BaseRouter.current_event.path)

    def _admit(self) -> None:
        if self.public:
            return
        who = caller()
        if self.scopes and not any(map(who.may, self.scopes)):
            named = "' or '".join(self.scopes)
            raise Forbidden(f"This key does not have the scope '{named}'.")

    def _no_such_route(self, _error: NotFoundError) -> Response[Any]:
        event = BaseRouter.current_event
        path = self._remove_prefix(event.path)
        routes = self._static_routes + self._dynamic_routes
        own = {route.method for route in routes if route.rule.match(path)}
        # Another function may have further methods of the path; the document knows them all.
        known = openapi_document()["paths"].get(event.raw_event.get("resource"), ())
        allowed = sorted(own | {method.upper() for method in known})
        if not allowed:
            return self._error_response(NotFound("There is no such endpoint."))
        response = self._error_response(
            MethodNotAllowed(f"This endpoint answers {' and '.join(allowed)} only.")
        )
        response.headers["Allow"] = ", ".join(allowed)
        return response

    def _error_response(self, error: Exception) -> Response[Any]:
        said = self._say(error)
        return Response(said.status, said.content_type, said.json(), said.headers)

    def _say(self, error: Exception) -> Problem:
        """The problem that an exception becomes; unexpected ones are logged."""
        if isinstance(error, RequestValidationError):
            error = InvalidFields(
                [FieldError(tuple(e["loc"]), e["msg"], e["type"]) for e in error.errors()]
            )
        if not isinstance(error, RobotchatError):
            logger().error("unforeseen error", exc_info=error)
            return internal_error(self._family(), self.request_id)
        if error.status >= 500:
            logger().warning("failed", code=error.code, reason=error.message)
        return problem(error, self._family(), self.request_id)

    def _time_left(self) -> float:
        """Seconds until this function is stopped by force."""
        remaining = getattr(self.lambda_context, "get_remaining_time_in_millis", None)
        return math.inf if remaining is None else float(remaining()) / 1000

    def _build_response(self, response_builder: ResponseBuilder[Any]) -> dict[str, Any]:
        response = response_builder.response
        if not isinstance(response, Streamed):
            return super()._build_response(response_builder)
        chunks = iter(response.chunks)
        try:
            # Waiting for the first chunk is what makes the status right.
            first = next(chunks, None)
        except Exception as error:  # noqa: BLE001 - answered, and logged where nobody meant it
            streams.close(response.chunks)
            response_builder.response = self._error_response(error)
        else:
            response.body = _Begun(response, first, chunks, self._say, self._time_left)
        return super()._build_response(response_builder)

    def _form(self, raw: str, event: Any) -> Any:
        from robotchat.aws.forms import form

        try:
            data = base64.b64decode(raw, validate=True) if event.is_base64_encoded else raw.encode()
        except (binascii.Error, UnicodeError):
            raise MalformedRequest("The body is not a well-formed multipart form.") from None
        return form(data, event.headers.get("content-type") or "")

    def body(self) -> Any:
        """The request's body, parsed as its content type says.

        Raises `MalformedRequest`, `UnsupportedMediaType` or `PayloadTooLarge`.
        """
        event = BaseRouter.current_event
        raw = event.raw_event.get("body") or ""
        if len(raw) > self.max_body_bytes:  # characters are at least one byte each
            raise body_too_large(self.max_body_bytes)
        kind, charset = _content_type(event.headers.get("content-type") or "")
        if self.forms and kind == "multipart/form-data":
            return self._form(raw, event)
        if kind and kind != "application/json" and not kind.endswith("+json"):
            raise UnsupportedMediaType("The body must be JSON, with content-type application/json.")
        coding = (event.headers.get("content-encoding") or "").strip().lower()
        if coding not in ("", "identity"):
            raise UnsupportedMediaType("The body must be sent as it is, without content-encoding.")
        if not raw:
            return None
        if charset not in ("", "utf-8", "utf8") and not raw.isascii():
            raise UnsupportedMediaType("The body must be in UTF-8.")
        if self._family() == "a1111" and (broken := foreign_at(raw)) >= 0:
            raise NotJson(broken, "not in UTF-8")
        try:
            text = base64.b64decode(raw, validate=True) if event.is_base64_encoded else raw.encode()
            return read_json(text)
        except json.JSONDecodeError as error:
            raise NotJson(error.pos, error.msg) from None
        except (binascii.Error, UnicodeError):
            raise NotJson(0, "not JSON in UTF-8") from None
        except Unfit as error:
            raise NotJson(0, str(error)) from None


class _RequestValidation(OpenAPIRequestValidationMiddleware):
    """Powertools' validation, behind the door check and with a stricter reading of bodies."""

    def __init__(self) -> None:
        """Nothing to set up; Powertools' own constructor is untyped."""

    def handler(self, app: Any, next_middleware: Any) -> Response[Any]:
        app._admit()
        return super().handler(app, next_middleware)

    def _get_body(self, app: Any) -> dict[str, Any]:
        body = app.body()
        if body == [] and app._family() == "a1111":
            body = {}  # PHP writes an empty object like this, and the web UI takes it for one
        if isinstance(body, list):
            # Powertools would take the first of them, and be silent about the others.
            wrong = "Input should be an object"
            raise InvalidFields([FieldError(("body",), wrong, "model_attributes_type")])
        return body  # type: ignore[no-any-return]


class _ResponseValidation(OpenAPIResponseValidationMiddleware):
    """Powertools' validation of answers; what fails it is our bug, never the caller's fault."""

    def __init__(self) -> None:
        super().__init__(has_response_validation_error=True)

    def _handle_response(self, *, route: Route, response: Response[Any]) -> Response[Any]:
        if isinstance(response, Streamed) or isinstance(response.body, (str, bytes)):
            return response
        validated: Response[Any] = super()._handle_response(route=route, response=response)
        return validated


def _with_plain_path(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with its path as routes take it.

    A base URL that ends with a slash makes two of them before the path, with which API Gateway
    finds the route all the same. The slashes of a greedy parameter (``{name+}``) are encoded.
    """
    path = "/" + str(event.get("path") or "").strip("/")
    resource = str(event.get("resource") or "")
    if resource.endswith("+}"):
        *head, tail = path.split("/", resource.count("/"))
        path = "/".join([*head, quote(tail, safe="%")])
    return {**event, "path": path}


def _request_id(event: Mapping[str, Any]) -> str:
    for name, value in (event.get("headers") or {}).items():
        if name.lower() == "x-request-id" and is_request_id(value):
            return str(value)
    return str((event.get("requestContext") or {}).get("requestId") or "unknown")


def _environment() -> Settings:
    return _deployment().environment


def _deployment() -> Deployment:
    # Imported when it is needed: the wiring takes its time, and some endpoints never use it.
    from robotchat.aws.wiring import deployment

    return deployment()


class _Begun:
    """A streamed body whose first chunk has come. ``say`` words an error that comes later.

    It ends in time, so that whatever made it is released even if nobody reads it any more: nothing
    tells when a client has left.
    """

    def __init__(
        self,
        response: Streamed,
        first: bytes | None,
        rest: Iterator[bytes],
        say: Callable[[Exception], Problem],
        time_left: Callable[[], float],
    ) -> None:
        self._source = response.chunks
        self._in_band = isinstance(response, EventStream)
        self._first = first
        self._rest = rest
        self._say = say
        self._time_left = time_left

    def __iter__(self) -> Iterator[bytes]:
        if self._first is not None:
            yield self._first
        try:
            for chunk in self._rest:
                yield chunk
                if self._time_left() < _LEAVE_BEFORE:
                    raise UpstreamTimeout("The stream has reached its longest time.")
        except Exception as error:
            if not self._in_band:
                raise
            yield streams.event("error", self._say(error).body)

    def close(self) -> None:
        streams.close(self._source)


def _content_type(header: str) -> tuple[str, str]:
    """A media type and its charset, in lower case."""
    kind, *parameters = header.lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return kind.strip(), value.strip().strip('"')
    return kind.strip(), ""


def _metadata(answer: Mapping[str, Any]) -> bytes:
    several = answer["multiValueHeaders"]
    metadata = {
        "statusCode": int(answer["statusCode"]),
        "headers": {name: values[0] for name, values in several.items() if len(values) == 1},
        "multiValueHeaders": {n: values for n, values in several.items() if len(values) > 1},
    }
    return json.dumps(metadata).encode() + b"\0" * 8
