"""The page docs/messages.md: written from the tables that the server itself obeys."""

from __future__ import annotations

from saccade.server.anthropic_answer import TYPES
from saccade.server.anthropic_body import ERROR, IGNORED, NEUTRAL, MessagesBody
from saccade.server.fields import allowed


def reference() -> str:
    """The whole page, in Markdown."""
    return _PAGE.format(
        honoured="\n".join(f"| `{name}` | {field.description} |" for name, field in MessagesBody.model_fields.items()),
        ignored="\n".join(f"| `{name}` | {why} |" for name, why in IGNORED),
        neutral="\n".join(
            f"| `{name}` | {', '.join(f'`{value}`' for value in allowed(values))} |" for name, values in NEUTRAL
        ),
        errors="\n".join(f"| {status} | `{kind}` |" for status, kind in TYPES.items()),
        error=ERROR,
    )


_PAGE = """\
# Messages

`POST /v1/messages` and `POST /v1/messages/count_tokens` speak Anthropic's interface; its clients work with
`base_url="http://127.0.0.1:8000"` and any API key, which they send as `x-api-key`. Pictures, tools, limits and queues
are those of [chat completions](api.md); a request is one of those in other words.

```sh
curl http://127.0.0.1:8000/v1/messages -H 'Content-Type: application/json' \\
  -d '{{"model": "demo", "max_tokens": 50, "messages": [{{"role": "user", "content": "Hello"}}]}}'
```

| Honoured | |
|---|---|
{honoured}

| Accepted and ignored | Why it cannot matter |
|---|---|
{ignored}

| Refused | Unless it is |
|---|---|
{neutral}

Every field that is in none of these tables is refused as unknown.

## Messages

`content` is a string or a list of blocks: `text`, `image` (a `source` of type `base64` or `url`), `tool_use`,
`tool_result` (text and pictures; before that of a function that failed the model reads `{error}`) and `thinking`,
which needs no signature. Documents and files are refused. `cache_control` is accepted: what can be reused is found
without it.
A conversation cannot end with a message of the assistant.

## Answer

Blocks are `thinking`, `text` and `tool_use`. `stop_reason` is `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`.
The `input` of a call that `max_tokens` cut is `{{"INVALID_JSON": "..."}}` with what there is of it.
`usage.input_tokens` leaves out the tokens for which nothing was computed, which are `cache_read_input_tokens`.

A stream has the events `message_start`, for each block `content_block_start`, `content_block_delta` and
`content_block_stop`, then `message_delta` with the `usage`, and `message_stop`. How many tokens the prompt has is not
told in `message_start`.

## Errors

`{{"type": "error", "error": {{"type", "message", "param", "code"}}, "request_id"}}`; `param` and `code` are not
Anthropic's. In a stream an error is the last event, `error`.

| Status | `type` |
|---|---|
{errors}
| others | `api_error` |
"""
