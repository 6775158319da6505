"""The page docs/responses.md: written from the tables that the server itself obeys."""

from __future__ import annotations

from saccade.server.fields import allowed
from saccade.server.responses_body import IGNORED, NEUTRAL, PASSED, ResponsesBody


def reference() -> str:
    """The whole page, in Markdown."""
    return _PAGE.format(
        honoured="\n".join(f"| `{name}` | {field.description} |" for name, field in ResponsesBody.model_fields.items()),
        ignored="\n".join(f"| `{name}` | {why} |" for name, why in IGNORED),
        neutral="\n".join(
            f"| `{name}` | {', '.join(f'`{value}`' for value in allowed(values))} |" for name, values in NEUTRAL
        ),
        passed=", ".join(f"`{name}`" for name in PASSED),
    )


_PAGE = """\
# Responses

`POST /v1/responses` is OpenAI's newer interface. Here it is stateless: nothing is stored, so a client sends the whole
conversation each time, as `input`. Pictures, tools, limits, errors and queues are those of
[chat completions](api.md); a request is one of those in other words.

```sh
curl http://127.0.0.1:8000/v1/responses -H 'Content-Type: application/json' -d '{{"model": "demo", "input": "Hello"}}'
```

| Honoured | |
|---|---|
{honoured}

These mean the same as in a chat completion, and are not OpenAI's here: {passed}.

| Accepted and ignored | Why it cannot matter |
|---|---|
{ignored}

| Refused | Unless it is |
|---|---|
{neutral}

Every field that is in none of these tables is refused as unknown.

## Input

| Item | |
|---|---|
| `{{"role": "user", "content": ...}}` | Or another role; `content` is a string or a list of parts |
| `{{"type": "function_call", "call_id", "name", "arguments"}}` | What the model called |
| `{{"type": "function_call_output", "call_id", "output": ...}}` | What it returned: a string or parts |
| `{{"type": "reasoning", "content": [...]}}` | What the model thought |

Parts are `input_text`, `output_text`, `input_image` (`image_url` is an address, `detail` as in a chat completion) and,
not OpenAI's, `input_video` (`video_url`, `fps`, `num_frames`). Reasoning, text and calls of one answer that follow each
other become one message of the assistant.

## Answer

`output` has an item of type `reasoning` for what was thought, `message` for the text and `function_call` for each call,
in the order in which the model made them. An answer that was cut by `max_output_tokens` has the `status` `incomplete`.
`usage` and `timings` are as in a chat completion.

A stream begins with `response.created` and `response.in_progress` and ends with `response.completed`,
`response.incomplete` or `response.failed`, each of which holds the whole response. Between them each item is added,
grows and is done: `response.output_item.added`, `response.content_part.added`, `response.output_text.delta`,
`response.reasoning_text.delta` or `response.function_call_arguments.delta`, then the same with `.done` and
`response.output_item.done`. There is no `[DONE]`.
"""
