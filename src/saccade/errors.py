"""What can go wrong, as one tree; each class knows its HTTP status and its place in the OpenAI error form.

    SaccadeError                     500  server_error
    |-- RequestError                 400  invalid_request_error     the caller can mend it
    |   |-- MediaError               400  ... code "invalid_media"  a picture or video that cannot be used
    |   |   `-- MediaTooLargeError   413  ... the same code      a file of more bytes than are taken
    |   |-- ContextLengthError       400  ... code "context_length_exceeded"
    |   |-- AuthError                401  ... code "invalid_api_key"
    |   |-- ForbiddenError           403  permission_error
    |   |-- NotFoundError            404  not_found_error
    |   |-- SlowBodyError            408  ... code "request_timeout"
    |   |-- MediaTypeError           415  ... code "unsupported_media_type"
    |   `-- TooLargeError            413  ... code "request_too_large"
    |-- SettingsError                500  server_error              a flag, file or environment value
    |-- CheckpointError              500  server_error              a model directory that cannot be loaded
    |-- BusyError                    503  overloaded_error          try again later
    |   |-- QueueFullError           429  ... code "queue_full"     too many wait already
    |   |-- RateLimitError           429  ... code "rate_limit_exceeded"  the key asked for enough
    |   `-- DeadlineError            504  ... code "deadline_exceeded"    it took too long
    `-- EngineError                  500  server_error              our fault

Raised where the cause is known; turned into HTTP answers in one place (server/app.py) and into one line on the
terminal in another (cli.py). A message is one sentence for the person who sees it: it names the field and the limit.
"""

from __future__ import annotations

from typing import ClassVar

MAX_TEXT = 400
"""Characters of a message."""


class SaccadeError(Exception):
    """Base of everything we raise on purpose; `hint` says how to mend it, `param` which field caused it."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.hint = hint

    def to_openai(self) -> dict[str, dict[str, str | None]]:
        """The body of an OpenAI error answer."""
        message = f"{self.message} {self.hint}" if self.hint else self.message
        told = {"message": _cut(message), "type": self.type, "param": _cut(self.param or "") or None}
        return {"error": {**told, "code": self.code}}


def _cut(text: str) -> str:
    """Names that a caller made up may have any characters, and any number of them; what is told of them has not."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT // 2 - 3]} ... {text[2 - MAX_TEXT // 2 :]}"


class RequestError(SaccadeError):
    """The request is wrong and would be wrong again."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_value"


class MediaError(RequestError):
    """A picture or a video that cannot be fetched, decoded or used."""

    default_code = "invalid_media"


class MediaTooLargeError(MediaError):
    """A picture or video file of more bytes than the server takes."""

    status = 413


class ContextLengthError(RequestError):
    """Prompt and answer do not fit the model's context."""

    default_code = "context_length_exceeded"


class AuthError(RequestError):
    """No key, or one that is not known; which of them is not told."""

    status = 401
    default_code = "invalid_api_key"


class ForbiddenError(RequestError):
    """A host or an origin that may not ask here, whatever its key."""

    status = 403
    type = "permission_error"


class NotFoundError(RequestError):
    """Something the request names does not exist."""

    status = 404
    type = "not_found_error"


class TooLargeError(RequestError):
    """The request has more bytes than the server reads."""

    status = 413
    default_code = "request_too_large"


class SlowBodyError(RequestError):
    """The body of a request does not come."""

    status = 408
    default_code = "request_timeout"


class MediaTypeError(RequestError):
    """The body of a request is announced as something that is not read here."""

    status = 415
    default_code = "unsupported_media_type"


class SettingsError(SaccadeError):
    """A setting that has no valid meaning."""


class CheckpointError(SaccadeError):
    """A model directory that is missing, incomplete, broken or not of this family."""


class BusyError(SaccadeError):
    """There is no room now; the same request may succeed later."""

    status = 503
    type = "overloaded_error"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None, retry_after: int = 1) -> None:
        """`retry_after`: seconds after which to try again."""
        super().__init__(message, code=code, hint=hint)
        self.retry_after = retry_after


class QueueFullError(BusyError):
    """Too many requests wait already; nothing was done for this one."""

    status = 429
    default_code = "queue_full"


class RateLimitError(BusyError):
    """A key has asked for as much as it may."""

    status = 429
    default_code = "rate_limit_exceeded"


class DeadlineError(BusyError):
    """The answer was not there in time."""

    status = 504
    default_code = "deadline_exceeded"


class EngineError(SaccadeError):
    """The engine failed; the request did nothing wrong."""
