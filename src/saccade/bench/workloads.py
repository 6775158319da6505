"""What is measured: each workload asks through a Context and gives figures by name; knows no HTTP and no report.

A workload prepares all its questions first, so that no picture is drawn and no JSON written while a clock runs. Replies
are read afterwards for the same reason. To add one, write a function and an entry of WORKLOADS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from saccade.bench.client import Question, Reply
from saccade.bench.context import Context, Messages, good, now
from saccade.bench.figures import Figure, median, percentile, rate
from saccade.bench.plan import Plan

Figures: TypeAlias = dict[str, Figure]

HD = (1920, 1088)


async def ttft(c: Context) -> Figures:
    """Time to the first token, one request at a time."""
    p = c.plan
    await c.warm(*(c.question("warm", [c.photo()], p.words, 4) for _ in range(p.warmup)))
    same = c.photo()
    new = [c.question("new_picture", [c.photo()], p.words, 2) for _ in range(p.samples)]
    again = [c.question("same_picture", [same], p.words, 2) for _ in range(p.samples + 1)]
    rest = p.words - p.short_words
    moved = [c.question("moved_picture", [same], rest, 2, before=p.short_words) for _ in range(p.samples)]
    text = [c.question("text", [], p.words, 2) for _ in range(p.samples)]
    large = [c.question("1080p", [c.pictures.photo(*HD)], p.short_words, 2) for _ in range(p.few_samples)]
    figures = {"new_picture": _ttft(await c.each(new))}
    await c.warm(again[0])
    figures["same_picture"] = _ttft(await c.each(again[1:]))
    figures["moved_picture"] = _ttft(await c.each(moved))
    return {**figures, "text": _ttft(await c.each(text)), "1080p": _ttft(await c.each(large))}


async def decode(c: Context) -> Figures:
    """Tokens of one stream, without the first."""
    p, picture = c.plan, c.photo()
    await c.warm(c.question("warm", [picture], p.short_words, 8))
    runs = [c.question("stream", [picture], p.short_words, p.decode_tokens) for _ in range(p.decode_runs)]
    times = [
        (reply.facts.stamps[-1] - reply.facts.stamps[0]) / (reply.tokens - 1)
        for reply in good(await c.each(runs))
        if reply.tokens > 1 and len(reply.facts.stamps) > 1
    ]
    speeds = [1 / seconds for seconds in times if seconds > 0]
    return {"token": median([1e3 * seconds for seconds in times], "ms"), "rate": median(speeds, "tok/s")}


async def stall(c: Context) -> Figures:
    """What running streams notice of pictures that arrive."""
    p = c.plan
    arrivals = [c.question("arrival", [c.photo()], p.short_words, 8) for _ in range(p.arrivals)]
    await c.warm(c.question("warm", [], p.short_words, 8), c.question("warm", [c.photo()], p.short_words, 8))
    figures: Figures = {}
    for name, coming in (("quiet", []), ("pictures", arrivals)):
        streams = [c.question(name, [], p.short_words, p.stream_tokens) for _ in range(p.streams)]
        running = asyncio.gather(*map(c.ask, streams))
        await asyncio.sleep(p.settle_seconds)
        guests = []
        for question in coming:
            if running.done():
                break
            guests.append(asyncio.create_task(c.ask(question)))
            await asyncio.sleep(p.arrival_seconds)
        done = await running
        gaps = [gap for reply in good(done) for gap in reply.gaps_ms]
        figures |= {f"{name}.{key}": figure for key, figure in _gaps(gaps).items()}
        figures[f"{name}.max"] = percentile(gaps, 100, "ms")
        if coming:
            asked = await asyncio.gather(*guests)
            figures[f"{name}.arrival_ttft"] = _ttft(asked)
            if len(asked) < len(coming):
                c.notes.append(f"The streams ended when {len(asked)} of {len(coming)} pictures had arrived.")
            over = max(reply.ended for reply in done)
            if late := sum(reply.facts.stamps[0] > over for reply in good(asked)):
                c.notes.append(
                    f"{late} of {len(asked)} pictures were answered only after all streams had ended: the gaps do not "
                    "show what they would have cost. The server takes too few requests at once."
                )
    return figures


async def load(c: Context) -> Figures:
    """A closed loop: each worker asks again as soon as it is answered."""
    p = c.plan
    await c.warm(*(c.question("warm", [c.photo()], p.words, 8) for _ in range(p.warmup)))
    figures: Figures = {}
    for workers in p.concurrency:
        for mix, share in (("unique", 0.0), ("repeat60", 0.6)):
            name, common = f"c{workers}.{mix}", c.photo()
            count = workers * (p.rounds if workers < 100 else 2)
            pictures = [common if c.random.random() < share else c.photo() for _ in range(count)]
            questions = [c.question(name, [picture], p.words, p.load_tokens) for picture in pictures]
            replies, seconds = await _closed_loop(c, questions, workers)
            times = [reply.ttft_ms for reply in replies]
            facts = {
                "rate": rate(len(replies), seconds, "req/s"),
                "tokens": rate(sum(reply.tokens for reply in replies), seconds, "tok/s"),
                "ttft_p50": percentile(times, 50, "ms"),
                "ttft_p99": percentile(times, 99, "ms"),
            }
            gaps = _gaps([gap for reply in replies for gap in reply.gaps_ms])
            facts |= {f"gap_{key}": figure for key, figure in gaps.items()}
            figures |= {f"{name}.{key}": figure for key, figure in facts.items()}
    return figures


async def sizes(c: Context) -> Figures:
    """Time to the first token of a new picture, by its side."""
    p = c.plan
    figures: Figures = {}
    for side in p.sides:
        questions = [c.question(str(side), [c.photo(side)], p.short_words, 2) for _ in range(p.few_samples + 1)]
        await c.warm(questions[0])
        figures[str(side)] = _ttft(await c.each(questions[1:]))
    return figures


async def turns(c: Context) -> Figures:
    """A conversation about one picture, each turn with all that was said before."""
    p = c.plan
    first: list[Reply] = []
    later: list[Reply] = []
    for _ in range(p.few_samples):
        messages: Messages = [c.turn([c.photo()], p.short_words)]
        for number in range(p.turns):
            reply = await c.ask(c.conversation("later" if number else "first", messages, p.turn_tokens))
            if reply.error:
                break
            (later if number else first).append(reply)
            said = {"role": "assistant", "content": reply.facts.text}
            messages = [*messages, said, c.turn([], p.short_words)]
    return {"first": _ttft(first), "later": _ttft(later)}


async def screens(c: Context) -> Figures:
    """Screenshots one after another, every second one the same as the one before."""
    p = c.plan
    shots = [c.pictures.screen(*p.screen) for _ in range(p.screens // 2 + 1)]
    await c.warm(c.question("warm", [shots.pop()], p.short_words, p.frame_tokens))
    steps = [(name, shot) for shot in shots for name in ("new", "same")]
    questions = [c.question(name, [shot], p.short_words, p.frame_tokens) for name, shot in steps]
    begun = now()
    replies = good(await c.each(questions))
    seconds = now() - begun
    figures = {name: _ttft([r for r in replies if r.label == name]) for name in ("new", "same")}
    return {**figures, "rate": rate(len(replies), seconds, "frames/s")}


async def frames(c: Context) -> Figures:
    """A camera: how many new pictures are answered each second with so many in flight, and how late."""
    p = c.plan
    await c.warm(c.question("warm", [c.pictures.photo(*p.frame)], 8, p.frame_tokens))
    figures: Figures = {}
    for flying in p.frames_in_flight:
        name = f"f{flying}"
        questions = [c.question(name, [c.pictures.photo(*p.frame)], 8, p.frame_tokens) for _ in range(p.frames)]
        replies, seconds = await _closed_loop(c, questions, flying)
        late = [reply.total_ms for reply in replies]
        figures[f"{name}.rate"] = rate(len(replies), seconds, "frames/s")
        figures |= {f"{name}.answer_p{part}": percentile(late, part, "ms") for part in (50, 99)}
    return figures


async def prompts(c: Context) -> Figures:
    """Time to the first token of long texts, by their length in tokens."""
    p = c.plan
    short, longer = await c.each([c.question("scale", [], words, 2) for words in (32, 160)])
    if short.prompt_tokens is None or longer.prompt_tokens is None or longer.prompt_tokens <= short.prompt_tokens:
        c.notes.append("Left out: the server does not tell how long prompts are.")
        return {}
    by_word = (longer.prompt_tokens - short.prompt_tokens) / 128
    figures: Figures = {}
    for length in p.prompts:
        if c.context is not None and length * 1.1 > c.context:
            c.notes.append(f"{length} tokens left out: the context is {c.context} tokens.")
            continue
        questions = [c.question(str(length), [], round(length / by_word), 2) for _ in range(p.few_samples)]
        replies = good(await c.each(questions))
        figures[f"{length}.ttft"] = _ttft(replies)
        speeds = [(r.prompt_tokens or 0) / r.ttft_ms * 1e3 for r in replies if r.ttft_ms > 0]
        figures[f"{length}.rate"] = median(speeds, "tok/s")
    return figures


async def _closed_loop(c: Context, questions: list[Question], workers: int) -> tuple[list[Reply], float]:
    """The good replies to all questions, `workers` at a time, and the seconds it took."""
    queue = iter(questions)
    replies: list[Reply] = []

    async def work() -> None:
        for question in queue:
            replies.append(await c.ask(question))

    begun = now()
    await asyncio.gather(*(work() for _ in range(workers)))
    seconds = now() - begun
    return good(replies), seconds


def _ttft(replies: list[Reply]) -> Figure:
    return median([reply.ttft_ms for reply in good(replies)], "ms")


def _gaps(gaps: list[float]) -> Figures:
    return {f"p{part}": percentile(gaps, part, "ms") for part in (50, 99)}


def _loads(p: Plan) -> Iterator[int]:
    for workers in p.concurrency:
        yield 2 * workers * (p.rounds if workers < 100 else 2)


@dataclass(frozen=True, slots=True)
class Workload:
    """`count` tells how many replies `run` will ask for, at most: the length of the progress bar. `uniform`: each of
    them is about one usual picture, so that the processor time of one means something."""

    name: str
    title: str
    run: Callable[[Context], Awaitable[Figures]]
    count: Callable[[Plan], int]
    uniform: bool = False


WORKLOADS = (
    Workload("ttft", "Time to first token", ttft, lambda p: 4 * p.samples + p.few_samples),
    Workload("decode", "One stream", decode, lambda p: p.decode_runs),
    Workload("stall", "Running streams, pictures arriving", stall, lambda p: 2 * p.streams + p.arrivals),
    Workload("load", "Closed loop", load, lambda p: sum(_loads(p)), uniform=True),
    Workload("sizes", "New picture, by its side in pixels", sizes, lambda p: len(p.sides) * p.few_samples),
    Workload("turns", "Conversation about one picture", turns, lambda p: p.few_samples * p.turns),
    Workload("screens", "Screenshots, half of them repeated", screens, lambda p: p.screens // 2 * 2),
    Workload("frames", "Camera pictures", frames, lambda p: p.frames * len(p.frames_in_flight)),
    Workload("prompts", "Long texts, by their length in tokens", prompts, lambda p: 2 + len(p.prompts) * p.few_samples),
)
