"""Every deliberate error, each with the HTTP status and the machine code it becomes.

RobotchatError
├── InvalidRequest              422  invalid_request
│   ├── MalformedRequest        400  malformed_request
│   ├── ContextLengthExceeded   400  context_length_exceeded
│   ├── InvalidImage            422  invalid_image
│   ├── ImageTooLarge           413  image_too_large
│   ├── ForbiddenUrl            422  forbidden_url
│   ├── UnknownCheckpoint       422  unknown_checkpoint
│   ├── UnknownSampler          422  unknown_sampler
│   ├── UnknownScript           422  unknown_script
│   ├── ForbiddenOption         422  forbidden_option
│   ├── WorkTooLarge            422  work_too_large
│   └── IdempotencyKeyReused    422  idempotency_key_reused
├── PayloadTooLarge             413  payload_too_large
│   └── RecordTooLarge          413  record_too_large
├── UnsupportedMediaType        415  unsupported_media_type
├── Unauthenticated             401  unauthenticated
├── Forbidden                   403  forbidden
│   └── CheckpointNotAllowed    403  checkpoint_not_allowed
├── NotFound                    404  not_found
├── MethodNotAllowed            405  method_not_allowed
├── Conflict                    409  conflict
│   ├── JobIsFinal              409  job_is_final
│   ├── JobNotRetryable         409  job_not_retryable
│   ├── JobNotFinal             409  job_not_final
│   ├── ConversationBusy        409  conversation_busy
│   └── StaleVersion            412  stale_version
├── LimitExceeded               429  limit_exceeded          (retryable)
├── Contended                   503  contended               (retryable)
├── JobCanceled                 409  job_canceled
├── JobExpired                  410  job_expired
├── WorkerLost                  503  worker_lost             (retryable)
├── Misconfigured               503  not_configured
└── UpstreamError               502  upstream_error
    ├── UpstreamUnavailable     503  upstream_unavailable    (retryable)
    ├── UpstreamTimeout         504  upstream_timeout        (retryable)
    ├── UpstreamGarbage         502  upstream_garbage        (retryable)
    ├── UpstreamBusy            503  upstream_busy           (retryable)
    │   └── UpstreamRateLimited 429  upstream_rate_limited   (retryable)
    ├── UpstreamQuotaExceeded   429  insufficient_quota
    ├── UpstreamUnauthorized    502  upstream_unauthorized
    ├── UpstreamRejected        422  upstream_rejected
    ├── NotSupported            501  not_supported
    └── WrongResult             502  wrong_result            (retryable)

The message of an error is written for the caller: it never holds a host name, a key, a stack
trace or an upstream's raw text that could hold one.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RobotchatError(Exception):
    """Something went wrong in a way that a caller can act on.

    ``code`` is stable and machine-readable, ``retryable`` says whether the same request may
    succeed later, ``retry_after`` (seconds) says when, ``param`` names the offending field, and
    ``details`` holds further facts for programs (JSON-serialisable).
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.details = details or {}

    @staticmethod
    def of_code(code: str, message: str, **facts: Any) -> RobotchatError:
        """The error that has this code: how a job's recorded error becomes an exception again."""
        kinds: list[type[RobotchatError]] = [RobotchatError]
        for kind in kinds:
            if kind.code == code and (kind is RobotchatError or "code" in vars(kind)):
                return kind(message, **facts)
            kinds.extend(kind.__subclasses__())
        return RobotchatError(message, **facts)


class InvalidRequest(RobotchatError):
    """The request is well-formed, but a value in it is missing, wrong or out of range."""

    status = 422
    code = "invalid_request"


class MalformedRequest(InvalidRequest):
    """The body is not what its content type says (for instance, not JSON)."""

    status = 400
    code = "malformed_request"


class ContextLengthExceeded(InvalidRequest):
    """The conversation and the new input together exceed the model's context window."""

    status = 400
    code = "context_length_exceeded"


class InvalidImage(InvalidRequest):
    """An input image is not decodable, or of a kind that is not accepted."""

    code = "invalid_image"


class ImageTooLarge(InvalidRequest):
    """An input image exceeds the limit in bytes or in pixels."""

    status = 413
    code = "image_too_large"


class ForbiddenUrl(InvalidRequest):
    """A URL given by the caller may not be fetched or called: not https, or an inner address."""

    code = "forbidden_url"


class UnknownCheckpoint(InvalidRequest):
    """No SD host has the checkpoint. ``details["near_matches"]`` lists what was perhaps meant."""

    code = "unknown_checkpoint"


class UnknownSampler(InvalidRequest):
    """No SD host has the sampler."""

    code = "unknown_sampler"


class UnknownScript(InvalidRequest):
    """The script is unknown, or not on the operator's allow-list."""

    code = "unknown_script"


class ForbiddenOption(InvalidRequest):
    """The option may not be set through this service: it touches paths, code or other tenants."""

    code = "forbidden_option"


class WorkTooLarge(InvalidRequest):
    """The request asks for more pixels, steps and pictures than the tenant may in one request."""

    code = "work_too_large"


class IdempotencyKeyReused(InvalidRequest):
    """The ``Idempotency-Key`` was used before with another request."""

    code = "idempotency_key_reused"


class PayloadTooLarge(RobotchatError):
    """The request body is larger than this endpoint takes."""

    status = 413
    code = "payload_too_large"


class RecordTooLarge(PayloadTooLarge):
    """What would have to be stored of the request, or of its result, is larger than a record."""

    code = "record_too_large"


class UnsupportedMediaType(RobotchatError):
    """The body is of a content type that this endpoint does not read."""

    status = 415
    code = "unsupported_media_type"


class Unauthenticated(RobotchatError):
    """No key, or an unknown, expired or revoked one."""

    status = 401
    code = "unauthenticated"


class Forbidden(RobotchatError):
    """The key is valid, but not for this."""

    status = 403
    code = "forbidden"


class CheckpointNotAllowed(Forbidden):
    """The tenant may use certain checkpoints only; ``details["allowed"]`` lists them."""

    code = "checkpoint_not_allowed"


class NotFound(RobotchatError):
    """There is no such thing, or it belongs to another tenant."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RobotchatError):
    """The path exists, but not with this method."""

    status = 405
    code = "method_not_allowed"


class Conflict(RobotchatError):
    """The request contradicts the present state of what it names."""

    status = 409
    code = "conflict"


class JobIsFinal(Conflict):
    """The job has already reached a final state, which never changes."""

    code = "job_is_final"


class JobNotRetryable(Conflict):
    """Only a failed or expired job can be run again."""

    code = "job_not_retryable"


class JobNotFinal(Conflict):
    """The job is still queued or running; cancel it first."""

    code = "job_not_final"


class ConversationBusy(Conflict):
    """Another request is continuing the same conversation right now."""

    code = "conversation_busy"


class StaleVersion(Conflict):
    """``If-Match`` names a version that is no longer the present one."""

    status = 412
    code = "stale_version"


class LimitExceeded(RobotchatError):
    """A limit of the tenant is reached; ``details`` names it."""

    status = 429
    code = "limit_exceeded"
    retryable = True


class Contended(RobotchatError):
    """Too many requests change, or read, the same thing at this moment."""

    status = 503
    code = "contended"
    retryable = True


class JobCanceled(RobotchatError):
    """The job was canceled before it had a result."""

    status = 409
    code = "job_canceled"


class JobExpired(RobotchatError):
    """The job, or its pictures, are past their retention."""

    status = 410
    code = "job_expired"


class WorkerLost(RobotchatError):
    """What ran the job ended without a trace."""

    status = 503
    code = "worker_lost"
    retryable = True


class Misconfigured(RobotchatError):
    """The operator has not configured what this needs; the message says what to set."""

    status = 503
    code = "not_configured"


class UpstreamError(RobotchatError):
    """A model server (an SD host or an OpenAI-compatible API) failed in an unforeseen way."""

    status = 502
    code = "upstream_error"


class UpstreamUnavailable(UpstreamError):
    """The model server cannot be reached, or answered with a server error."""

    status = 503
    code = "upstream_unavailable"
    retryable = True


class UpstreamTimeout(UpstreamError):
    """The model server did not answer in time."""

    status = 504
    code = "upstream_timeout"
    retryable = True


class UpstreamGarbage(UpstreamError):
    """The model server answered with something that is not what its API promises."""

    code = "upstream_garbage"
    retryable = True


class UpstreamBusy(UpstreamError):
    """Every model server is busy, and the caller's patience is used up."""

    status = 503
    code = "upstream_busy"
    retryable = True


class UpstreamRateLimited(UpstreamBusy):
    """The model server's own rate limit is reached; ``retry_after`` is what it said."""

    status = 429
    code = "upstream_rate_limited"


class UpstreamQuotaExceeded(UpstreamError):
    """What the operator has paid for at the model server is used up: waiting does not help."""

    status = 429
    code = "insufficient_quota"


class UpstreamUnauthorized(UpstreamError):
    """The model server refused this service's own credentials: only the operator can help."""

    code = "upstream_unauthorized"


class UpstreamRejected(UpstreamError):
    """The model server refused the request as such: sending it again will not help.

    ``details`` may hold ``status``, ``code`` and ``type`` as the model server gave them.
    """

    status = 422
    code = "upstream_rejected"


class NotSupported(UpstreamError):
    """The model server does not have this function at all; another kind of server may."""

    status = 501
    code = "not_supported"


class WrongResult(UpstreamError):
    """The model server drew something else than was asked (another checkpoint, sampler, count)."""

    code = "wrong_result"
    retryable = True
