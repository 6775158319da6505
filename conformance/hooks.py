"""What schemathesis sends is made cheap to answer: a request that names no limit gets one of a few tokens."""

from __future__ import annotations

from typing import Any

import schemathesis

LIMITS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/responses": ("max_output_tokens",),
}
FEW = 16


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    names = LIMITS.get(case.operation.path, ())
    if names and isinstance(case.body, dict) and all(case.body.get(name) is None for name in names):
        case.body = {**case.body, names[0]: FEW}
