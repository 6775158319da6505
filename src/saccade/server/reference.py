"""The page docs/api.md: written from the tables that the server itself obeys, so that it cannot promise more."""

from __future__ import annotations

from typing import Any

from saccade.server.admission import Admission, Limits
from saccade.server.fields import IGNORED, NEUTRAL, allowed
from saccade.server.formats import MAX_PROPERTIES
from saccade.server.metrics import FEATURES, PREFIX, VLLM_NAMES, VLLM_PREFIX, Metrics
from saccade.server.parts import DETAIL_PIXELS, MAX_FRAMES
from saccade.server.resume import MAX_BYTES
from saccade.server.schema import ChatBody, TokenizeBody
from saccade.types import GRAMMAR_CHARACTERS, EngineStats, MediaStats


def reference() -> str:
    """The whole page, in Markdown."""
    return _PAGE.format(
        honoured="\n".join(f"| `{name}` | {field.description} |" for name, field in ChatBody.model_fields.items()),
        ignored="\n".join(f"| `{name}` | {why} |" for name, why in IGNORED),
        neutral="\n".join(f"| `{name}` | {_listed(values)} |" for name, values in NEUTRAL),
        tokenize="\n".join(f"| `{name}` | {field.description} |" for name, field in TokenizeBody.model_fields.items()),
        schema=GRAMMAR_CHARACTERS["json_schema"],
        lark=GRAMMAR_CHARACTERS["lark"],
        regex=GRAMMAR_CHARACTERS["regex"],
        properties=MAX_PROPERTIES,
        low=f"{DETAIL_PIXELS['low']:,}",
        original=f"{DETAIL_PIXELS['original']:,}",
        frames=MAX_FRAMES,
        resume=f"{MAX_BYTES:,}",
        prefix=PREFIX,
        vllm_prefix=VLLM_PREFIX,
        **_metrics(),
    )


def _metrics() -> dict[str, str]:
    """The rows of the tables of metrics, from what a server with an engine tells."""
    stats = EngineStats(0, 0, 0, 0, 0, 1, 0, 0, 0, dict.fromkeys((field for field, _ in FEATURES.values()), 0), {})
    media = MediaStats(0, 0, 0, 0, {})
    rows: dict[str, list[str]] = {"histograms": [], "figures": []}
    queue = Admission(Limits(), lambda: 1)
    for family in Metrics("", lambda: stats, queue, lambda: media).collect():
        name = family.name.removeprefix(PREFIX)
        star = " *" if name in VLLM_NAMES else ""
        table = rows["histograms" if family.type == "histogram" else "figures"]
        table.append(f"| `{name}`{star} | {family.documentation.removesuffix('.').removesuffix(', in seconds')} |")
    return {table: "\n".join(lines) for table, lines in rows.items()}


def _listed(neutral: tuple[Any, ...]) -> str:
    return ", ".join(f"`{value}`" for value in allowed(neutral))


_PAGE = """\
# HTTP interface

The server speaks the chat completions dialect of OpenAI's interface; its Python and JavaScript clients work with
`base_url="http://127.0.0.1:8000/v1"` and any API key, or, where the server [has keys](security.md), one of those.

| Path | |
|---|---|
| `POST /v1/chat/completions` | An answer, whole or as a stream of server-sent events |
| `POST /tokenize` | The token ids of a text or a conversation; see below |
| `GET /v1/chat/completions/{{id}}/events`, `POST .../cancel` | The rest of a stream, its end; see below |
| `POST /v1/responses` | The same in OpenAI's newer form, stateless; see [responses](responses.md) |
| `POST /v1/messages`, `/v1/messages/count_tokens` | The same in Anthropic's form; see [messages](messages.md) |
| `GET /openapi.json` | All of this as an OpenAPI 3.1 document |
| `POST /v1/media` | A picture or video is sent ahead, and named by its id later; see below |
| `HEAD /v1/media/{{digest}}` | 200 when such a file is still there, else 404 |
| `GET /v1/media/{{digest}}/pages/{{number}}` | A page of a PDF file that was sent ahead, as a PNG file |
| `GET /v1/models`, `/v1/models/{{model}}` | The one model, its `max_model_len` (tokens), the limits of pictures |
| `GET /` | The page for people, if not `--no-ui` |
| `GET /metrics` | Counters and histograms for Prometheus; see below |
| `GET /health/live` | 200 as long as the process answers at all |
| `GET /health/ready` | 200 when a request would be answered now, else 503 and the reason; see below |

## Fields of a chat completion

Types are exact: `"1"` is no number and `1` is no truth value. `null` is the same as leaving an optional field out.

| Honoured | |
|---|---|
{honoured}

Unset `temperature`, `top_p`, `top_k`, `min_p` and `repetition_penalty` are those of the checkpoint's
`generation_config.json`. `top_k`, `min_p`, `repetition_penalty`, `min_tokens`, `ignore_eos`, `thinking_budget`,
`repetition_guard`, `continue_final_message` and `coordinates` are not OpenAI's; its Python client sends them in
`extra_body`.

| Accepted and ignored | Why it cannot matter |
|---|---|
{ignored}

These are not supported. They are accepted with a value that asks for nothing, and refused with any other:

| Refused | Unless it is |
|---|---|
{neutral}

Every field that is in none of these tables is refused as unknown, so that a typing error never passes unnoticed.

## What an answer must be

`response_format` holds the answer to a form: at every step only tokens that can still lead to it may be chosen, and the
answer ends where it is complete. Only `max_tokens` (`finish_reason` "length") and `stop` cut it short. The model is not
told of the form: say in the prompt what each field is for. Of a model that thinks, the answer behind its thoughts is
meant.

| `response_format` | The answer |
|---|---|
| `{{"type": "text"}}` | Any text |
| `{{"type": "json_object"}}` | Some JSON object |
| `{{"type": "json_schema", "json_schema": {{"name": "n", "schema": {{...}}}}}}` | JSON that the schema allows, with \
`strict` and without |
| `{{"type": "regex", "regex": "..."}}` | A text that the expression matches as a whole; without look-around and \
back-references. Not OpenAI's |
| `{{"type": "grammar", "grammar": "start: ..."}}` | A text of a grammar in \
[llguidance's dialect of Lark](https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md). Not OpenAI's |

Of JSON schema, `$ref` within the schema, `anyOf`, `allOf`, `enum`, `const`, `pattern`, `format` and limits of numbers,
strings and lists are honoured, and `oneOf` as `anyOf`; a keyword that is not is refused. An object may have
{properties:,} properties, those of a function's parameters too.

A form that is wrong, impossible, or too large ({schema:,} characters of schema, {lark:,} of grammar, {regex:,} of
expression) is refused with 400, `param` "response_format" and `code` "invalid_grammar"; one that turns out to allow
nothing, or to take too much work, in the middle of an answer ends that answer with such an error. Under a form,
`min_tokens` and `ignore_eos` hold the end back as long as something else is possible, and an answer that
`repetition_guard` ends has `finish_reason` "length", since it is not complete; otherwise "stop".

## How a token is chosen

The order is that of vLLM:

1. What `response_format` forbids is left out. `logit_bias` is added to the model's logits. Before `min_tokens`, the
   tokens that end an answer are left out.
2. The logit of a token of the prompt or the answer is divided by `repetition_penalty` if it is positive, and multiplied
   if not. `frequency_penalty`, times its count in the answer, and `presence_penalty` are taken from it.
3. With `temperature` 0 the likeliest token is chosen. Otherwise the logits are divided by it.
4. `min_p` leaves tokens out, then `top_k`, then `top_p`, which counts the mass of those that are left.
5. A random number picks one of the rest. It depends on `seed` and on how many tokens the answer has, on nothing else.

`logprobs` tell the distribution of the model itself, before all of this.

## Messages

Roles are `system` (or `developer`, the same), `user`, `assistant` and `tool` (with `tool_call_id`). Models of this
family read one system message, the first: where there are several, or one that stands later, the model sees their texts
as one at the beginning, with an empty line between them. An `assistant` message may hold `tool_calls` and
`reasoning_content` (or `reasoning`) of earlier turns; its calls are answered by `tool` messages, each with the id of
one, before anybody else says something. `name` is accepted; the model does not see it. `content` is a string or a list
of parts:

| Part | |
|---|---|
| `{{"type": "text", "text": "..."}}` | Can never become a special token, whatever it says |
| `{{"type": "image_url", "image_url": {{"url": "..."}}}}` | JPEG, PNG, WebP, GIF (its first frame) or BMP |
| `{{"type": "image", "image": "..."}}` | The same, as Qwen's own examples write it |
| `{{"type": "video_url", "video_url": {{"url": "..."}}}}` | A video file, or its frames: \
`data:video/jpeg;base64,` and the base64 of JPEG files with commas between them |
| `{{"type": "input_video", "input_video": {{"data": "..."}}}}` | \
The base64 of a video file; or `url` in place of `data` |
| `{{"type": "video", "video": ["...", "..."]}}` | \
Addresses of frames, up to {frames:,}; or the address of a video file, as a string |
| `{{"type": "refusal", "refusal": "..."}}` | In an earlier answer; the same as text |

`image_url`, `video_url` and `input_video` may also be the address itself, as a string. Addresses are `data:` URLs;
`http(s)` needs `--allow-remote-media`, files need `--media-root` (see [settings](settings.md)). Pictures and videos
belong in `user` and `tool` messages. These keys stand beside `url`, or beside `type`:

| Key | For | |
|---|---|---|
| `min_pixels`, `max_pixels` | both | Scale up or down to this many pixels; the server's `--max-pixels` still holds |
| `detail` | pictures | `low`: at most {low} pixels. `auto` and `high`: at most what the checkpoint was made \
for. `original`: at most {original}, whatever the checkpoint says. `--max-pixels` holds for all. Only beside `url` |
| `fps` | videos | Frames taken for each second; the default is the checkpoint's. \
Of a list of frames: how many there are for each second |
| `num_frames` | videos | Frames taken in all; not together with `fps` |

## Answers

As in OpenAI's interface. `usage.prompt_tokens_details` tells how many of the prompt's tokens are `text_tokens`,
`image_tokens` and `video_tokens`, and for how many of all nothing was computed, `cached_tokens`;
`usage.completion_tokens_details` has `reasoning_tokens`. One more key, `timings`,
tells the milliseconds of each stage: `fetch_ms`, `decode_media_ms`, `resize_ms`, `hash_ms`, `tokenize_ms`, `queue_ms`,
`vision_ms`, `prefill_ms`, `first_token_ms` (all of these and the rest, from arrival on) and `decode_ms`. Stages may
overlap: the tokens of the text are made while a process decodes the picture. Its key
`cache` tells what was there already: `pictures` is `digest` (the file was prepared before), `pixels` (the file was new,
what it shows was not) or `miss`; `vision` is `prefix` (keys and values were there, so features were not needed),
`device`, `host`, `wait` (another request was having them computed) or `miss`; of several pictures the worst is told.
`prefix_tokens` are the tokens of the prompt whose keys and values were there. `shared` is true where the answer was
that of an equal request in flight (see [waiting](#waiting)). Nothing was computed for this one then: `cached_tokens`
and `prefix_tokens` are its whole prompt, `vision` is `prefix`, and `queue_ms`, `vision_ms` and `prefill_ms` are 0; what
it waited for the other one is part of `first_token_ms`. In a stream `timings` is in the last chunk. A client that
closes its connection ends the work.

### Calls

With `tools`, calls that the model writes (`<tool_call>` and JSON) are told as `tool_calls`, in a stream as pieces whose
arguments come as they are written; `finish_reason` is then `tool_calls`. Newlines around a call are not part of
`content`. A call that cannot be read stays in `content` as it was written. What is wrong in the arguments of a call
that has begun stays in its arguments, so clients must expect JSON that is cut off. Without `tools`, or with
`tool_choice` `none`, everything is `content`. With `required`, with a function by name, and for functions with
`strict`, calls follow their schema by force; for all others the schema is only shown to the model. `response_format`
beside `tools` binds the answer, unless it is a call. Stop strings are looked for in everything that the model writes.

### Thoughts

What a Thinking model thinks before it answers is told as `reasoning_content`, and again as `reasoning`, since clients
look for one or the other. Thoughts that do not end leave `content` empty.

### Coordinates

Models of this family tell places from 0 to 1000 along each side of a picture. With `"coordinates": "pixel"` they are
told in pixels of the picture as it was sent, upright, streamed or not: the numbers of lists behind the keys `bbox_2d`,
`bbox`, `point_2d`, `points_2d`, `point`, `points`, `polygon`, `coordinate` and `coordinates`, x and y in turn, in
`content` and in arguments of calls. Numbers anywhere else, thoughts and `logprobs` stay as the model wrote them. With
several pictures and videos (of all messages) the request has to say which one is meant:
`{{"unit": "pixel", "picture": 0}}` is the first.

## Coming back to a stream

With the header `x-saccade-resume: true` the events of a stream have numbers (`id:` lines), and the work goes on for
`--resume-seconds` when the connection is lost. `GET /v1/chat/completions/{{id}}/events` with `Last-Event-ID: N` then
gives the events after number N, those to come too; the id is that of the chunks and of `x-request-id`. The last
{resume} bytes of events are kept, as long again after the end. `POST /v1/chat/completions/{{id}}/cancel` ends such a
stream. Only the key that asked can do either; for all others, and when it is too late, the answer is 404 with the code
`unknown_request` or `events_gone`: send the request again. Without the header a connection that closes ends the work at
once.

## Errors

Always `{{"error": {{"message", "type", "param", "code"}}}}`; `param` is the path of the field at fault, such as
`messages[0].content[1].image_url.url`.

| Status | When |
|---|---|
| 400 | A field is wrong, a picture or video cannot be used, or the prompt is longer than the context |
| 401 | The server has keys, and none of them was sent |
| 403 | A host or an origin that may not ask here; see [security](security.md) |
| 404, 405 | No such model, path or method |
| 408 | The body does not come (`--body-timeout`) |
| 413 | The body is larger than `--max-body-bytes`, or the file of a picture or video than `--max-file-bytes` |
| 415 | A `Content-Type` that is not JSON (none at all is fine), or a compressed body (`Content-Encoding`) |
| 429 | Slow down: too much waits already (code `queue_full`), or the key has asked for enough (`rate_limit_exceeded`) |
| 500 | Our fault; the server's log says more |
| 503 | Not ready, being stopped (`shutting_down`), or a first token too late (`overloaded`, `queue_timeout`) |
| 504 | The answer was not complete within the client's `X-Request-Timeout` (`deadline_exceeded`) |

A stream begins only when its first token is there, so all errors of the request itself come as a status. What goes
wrong later comes as one last event with an `error` in it, without `[DONE]`.

429, 503 and 504 carry `retry-after`, in seconds; OpenAI's client waits and tries again by itself.

## Waiting

A request waits from its first byte until its first token. All that waits is bounded: in requests (`--max-waiting`),
tokens, pixels and bytes (`--max-queued-tokens`, `--max-queued-pixels`, `--max-queued-bytes`). One that finds no room is
refused before its pictures are decoded, for the most part before it is read. `retry-after` is how long those who wait
will take at the present pace: 1 to 60 seconds.

A few requests are with the engine before their first token, as many as it begins in half a second (8 to 64). The others
wait in front of it, each key in its own line, and the lines take turns by the tokens they ask for: one key with a
thousand requests does not keep another waiting. With several keys none may have more than half of the room.

- `--queue-timeout`: a request that would wait longer for its first token is refused, and one that did is answered with
  503.
- `--target-ttft`: only so many may wait that about 19 in 20 have their first token within these seconds; the server
  finds out how many that is. The others are refused at once. Without it they wait in the queue, which is kinder to
  batches and slower for everybody else.
- `X-Request-Timeout`, a header: the seconds that a client gives its whole answer. What cannot begin by then is refused
  at once, what is not complete is ended with 504, or with an error event when it has begun.

A key may have limits of its own ([security](security.md)); answers then tell what is left of them in
`x-ratelimit-limit-*`, `x-ratelimit-remaining-*` and `x-ratelimit-reset-*`, for `requests` and `tokens`.

A client that closes its connection ends the work. One that does not read for 30 seconds is taken for gone, and so is
one that is more than 1,024 tokens behind when its connection is full. Requests that are alike share their work:
pictures and prompts that somebody is having computed are waited for, not computed again, so that eight equal requests
at once cost about as much as one until their first token. Where the answer is certain, with temperature 0 or a
`seed`, so is the rest: a request that equals one in flight (in its key, its prompt with the pixels of pictures, and all
fields that decide the tokens; stop strings do not) joins it, and gets at once what was answered so far. Each of them
ends by its own stop strings, its own deadline and its own connection; the work ends when the last one has left. Answers
of more than 4,096 tokens, those of `top_logprobs` counted, are not joined any more.

After SIGTERM new requests are answered with 503, `retry-after` and `connection: close`; those under way, waiting ones
too, have `--drain-seconds` to end, and are then ended with an error.

## Pictures sent ahead

The body of `POST /v1/media` is the file itself, or `{{"url": "..."}}` of type `application/json` with any address that
a part may have. The answer is

```json
{{"id": "media:<digest>", "object": "media", "kind": "image", "bytes": 53211,
 "width": 1024, "height": 768, "tokens": 768}}
```

and `id` may stand wherever an address may. The file is decoded at once, and its features are computed as soon as nobody
waits for a first token, so that a question about it costs little more than one about text. `digest` is the SHA-256 of
the file in hex: who has computed it can ask with `HEAD /v1/media/{{digest}}` before sending anything. Files are kept
for an hour since they were last named, up to `--media-store-memory`, and for the holder of the same key alone. An id
whose file is gone is answered with 400 and the code `media_not_found`: send the bytes again.

The model sees pictures, so a PDF file (with the extra `saccade[pdf]`) becomes pictures of its pages: send it in the
same way, which tells `"kind": "pdf"` and its number of `pages`, get each page, counted from 1, from
`GET /v1/media/{{digest}}/pages/{{number}}`, and send those that the question is about. A page has 144 dots to the inch,
or fewer where that would be more than the checkpoint's pixels. The limits of pictures hold: bytes, pixels, seconds and
memory of the decoder. Parts of the types `file`, `input_file` and `document` are refused: which pages are sent, and so
what it costs, is the caller's choice.

## Counting tokens

`POST /tokenize`, as vLLM has it, tells `count`, `max_model_len` and the ids as `tokens`. A picture or video counts as
many times its placeholder as the model will see of it, so `count` is what `usage.prompt_tokens` would be.

| Field | |
|---|---|
{tokenize}

## Health

The port is open before the model is loaded. `GET /health/live` answers 200 from then on, whatever the engine does: it
is the question whether to restart the process. `GET /health/ready` is the question whether to send requests; while it
says 503, its `status` is one of these:

| `status` | |
|---|---|
| `loading` | The model is being loaded. Requests are refused with 503, code `loading` and `retry-after` |
| `restarting` | The engine process hung or died, and another one is started. Requests wait for it |
| `stopped` | The engine cannot be started any more. Requests are refused with 503 |

While it is `loading`, `stage` is `files`, `libraries`, `weights`, `caches` or `warm-up`, `fraction` the share of that
stage that is done (0 to 1, or `null`), and `seconds` counts from the start. Neither route asks the engine.
`GET /v1/models` answers meanwhile, too, with a `max_model_len` of `null`. A model that cannot be loaded ends the server
with one line on standard error.

## Logs and spans

With `--log-level info` every request is one line on standard error when it ends, with `--log-format json` one object:
`request_id`, `method`, `route`, `status`, `seconds`, `key` (its name), `answer_id`, `stream`, `pictures` (how many),
`prompt_tokens`, `completion_tokens`, `finish`, `error` (its code) and what `timings` has. What was said, what was
answered and addresses are not in it, and whatever looks like a key or a file is masked in every line, tracebacks too.
A client that sends `x-request-id` (at most 128 letters, digits and `._:/+=-`) finds it in the answer's header and in
the log; else the header has the `id`.

With the extra `saccade[otel]` and `--otel-endpoint`, or `OTEL_EXPORTER_OTLP_ENDPOINT`, each request to the model is a
span by OpenTelemetry's conventions for generative AI (`gen_ai.*`), a child of the caller's `traceparent`, with an event
for each stage. Without an endpoint nothing of it is loaded.

## Traces of steps

With `--profile-dir DIR`, `POST /admin/profile` with `{{"steps": 20}}` (1 to 1000) records the engine's next steps with
PyTorch's profiler and answers `{{"file", "steps"}}` when the file is in that directory; `saccade profile --url URL`
asks for it. Without that setting there is no such route. It is behind the keys like all others.

## Metrics

`GET /metrics` is what Prometheus reads. Every name begins with `{prefix}` and has the label `model_name`; with
`--vllm-metrics` those marked with a star are told under `{vllm_prefix}` too, for dashboards made for vLLM.

| Histogram (seconds, one value for each answer) | |
|---|---|
{histograms}

Stages of pictures are told of requests that have some. Answers that broke off are in no histogram.

| Counter (with `_total` behind it) or gauge | |
|---|---|
{figures}

`deploy/grafana/dashboards/saccade.json` is a Grafana dashboard of these.

What the engine says of itself is at most half a second old while it works, and begins again at 0 when it was restarted.
"""
