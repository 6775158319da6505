"""What people read on the terminal: error lines, the ready message, tables; knows looks, not meanings."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from saccade.errors import SaccadeError

if TYPE_CHECKING:  # It needs numpy, for which --help should not wait.
    from saccade.types import ModelCard, StageTimes, Usage

QUESTION = "What is the total?"
_STAGES = (
    ("fetch", "fetch"),
    ("decode_media", "decode"),
    ("resize", "resize"),
    ("tokenize", "tokenize"),
    ("queue", "queue"),
    ("vision", "ViT"),
    ("prefill", "prefill"),
)


def complain(error: SaccadeError) -> None:
    """One red line on standard error: what is wrong and how to mend it."""
    from rich.console import Console
    from rich.text import Text

    words = " ".join(f"{error.message} {error.hint or ''}".split())
    Console(stderr=True, soft_wrap=True).print(Text(f"saccade: {words}", style="red"))


def waiting(what: str) -> AbstractContextManager[Any]:
    """A sign of life on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.text import Text

    return Console(stderr=True).status(Text(what))


def address(host: str, port: int) -> str:
    """How a client of this machine reaches a server on `host`."""
    place = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{place}]:{port}" if ":" in place else f"http://{place}:{port}"


def announce(card: ModelCard, memory: Mapping[str, int], url: str, seconds: float, *, page: str = "") -> None:
    """Say that requests can come, where, and one that works as pasted. `memory` are bytes set aside, by what for;
    `page` where people are answered, if they are."""
    facts = ", ".join(f"{name} {value}" for name, value in card.facts.items())
    # Not through rich: a line that is wrapped or coloured cannot be pasted.
    print(f"saccade serves {card.id} ({facts}), ready in {seconds:.1f} s.")
    if parts := [f"{name.replace('_', ' ')} {size:,}" for name, size in memory.items() if size]:
        print(f"Bytes set aside: {'; '.join(parts)}.")
    print(f"\n  {url}/v1\n")
    if page:
        print(f"The page is at {page}\n")
    print("Try it:\n")
    print(curl_line(url, card.id), flush=True)


def curl_line(url: str, model: str) -> str:
    """A shell command that asks the server about the example picture."""
    picture = str(files("saccade") / "demo" / "examples" / "receipt.png")
    mark = "PICTURE"
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{mark}"}},
        {"type": "text", "text": QUESTION},
    ]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 100, "temperature": 0}
    # The picture goes between two quoted pieces; `base64 -w0` is not known everywhere, `tr` is.
    before, after = json.dumps(body).split(mark)
    inline = f"\"$(base64 < {shlex.quote(picture)} | tr -d '\\n')\""
    data = shlex.quote(before) + inline + shlex.quote(after)
    return f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' -d {data}"


def show_times(times: StageTimes, usage: Usage, loading: float) -> None:
    """The table of where the time went, on standard error. `loading` in seconds."""
    from rich.console import Console
    from rich.table import Table

    media = usage.image_tokens + usage.video_tokens
    rate = (usage.completion_tokens - 1) / times.decode * 1e3 if times.decode > 0 else 0.0
    notes = {
        "tokenize": f"{usage.prompt_tokens} tokens, {media} of them pictures",
        "ViT": f"{media} tokens" if media else "no picture",
    }
    table = Table("stage", "ms", "", title_justify="left", caption=f"model ready in {loading:.1f} s")
    table.columns[1].justify = "right"
    for name, label in _STAGES:
        table.add_row(label, f"{getattr(times, name):.1f}", notes.get(label, ""))
    table.add_section()
    table.add_row("first token", f"{times.first_token:.1f}", "from the question on")
    table.add_row("decode", f"{times.decode:.1f}", f"{usage.completion_tokens} tokens, {rate:.0f} tokens/s")
    Console(stderr=True).print(table)


@contextmanager
def counting(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error; the function it gives takes one step and shows a word beside the bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    look = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*look, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda words: bar.update(task, advance=1, description=words)


_FIGURES = {
    "right": "right",
    "cer": "characters wrong",
    "centre_inside": "centre inside",
    "parses": "parses",
    "of_preset": "of the preset's",
}
_REACHED = {"target": "green", "floor": "yellow", "below": "red"}


def show_report(rows: Sequence[dict[str, Any]], seed: int, seconds: float, *, parts: bool = False) -> None:
    """The table of an evaluation, on standard output: green reaches the target, yellow the floor, red neither."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    caption = f"seed {seed}, {seconds:.0f} s; green: target reached, yellow: floor reached, red: neither"
    table = Table("task", "items", "figure", "", "95 %", "floor", "target", caption=caption)
    for column in (1, 3, 5, 6):
        table.columns[column].justify = "right"
    for row in rows:
        name, items = row["row"], str(row["items"])
        for goal in row["goals"] or [{"figure": "right", "value": row["right"]}]:
            figure, digits = goal["figure"], 2 if goal["figure"] == "cer" else 1
            low, high = row.get(f"{figure}_interval", (None, None))
            reached = [f"{goal[bound]:.1%}" if bound in goal else "" for bound in ("floor", "target")]
            value = Text(f"{goal['value']:.{digits}%}", style=_REACHED.get(goal.get("reached", ""), ""))
            interval = "" if low is None else f"{low:.{digits}%} to {high:.{digits}%}"
            table.add_row(name, items, _FIGURES[figure], value, interval, *reached)
            name = items = ""
        for part, figures in row["parts"].items() if parts and len(row["parts"]) > 1 else ():
            more = f"  {figures['cer']:.2%} of characters wrong" if "cer" in figures else ""
            table.add_row(f"  {part}", str(figures["items"]), "right", f"{figures['right']:.1%}", more, "", "")
    # Piped, the table keeps its lines whole.
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def show_estimate(figures: Mapping[str, Any]) -> None:
    """The tables of `saccade estimate`, on standard output."""
    from rich.console import Console
    from rich.table import Table

    def size(key: str) -> str:
        return f"{figures[key] / 1e9:,.2f} GB"

    gpu = bool(figures["libraries"])
    used = f"{size('may_be_used')} of {size('memory')} {'GPU' if gpu else 'main'} memory may be used"
    parts = Table(box=None, show_header=False)
    parts.add_column(justify="left")
    parts.add_column(justify="right")
    parts.add_row("weights", size("weights"), f"{figures['parameters'] / 1e6:,.1f} M numbers")
    if gpu:
        parts.add_row("largest step, graphs", size("largest_step"), "kept free")
        parts.add_row("driver, libraries", size("libraries"), "set aside")
    parts.add_row("features of pictures", size("features"), f"{figures['feature_pictures']:,} of 1024 x 1024 pixels")
    per_token = f"{figures['kv_tokens']:,} tokens of {figures['kv_per_token']:,} bytes"
    parts.add_row("keys and values", size("kv"), per_token)
    table = Table("streams", "context of each", "largest picture", "1024 x 1024 pictures each")
    for column in table.columns:
        column.justify = "right"
    for row in figures["rows"]:
        picture = f"{row['megapixels']:.2f} megapixels" if row["megapixels"] else "none"
        table.add_row(str(row["streams"]), f"{row['context']:,} tokens", picture, f"{row['pictures']:,}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    print(f"{figures['model']} in {figures['dtype']}: {used}")
    console.print(parts, table)
    print(f"Pictures leave 1,024 tokens for words. The model knows {figures['model_context']:,} positions.")
    if figures["full_contexts"] is not None:
        print(f"{figures['full_contexts']:,} requests of the whole --max-context fit at the same time.")


_LEVELS = {"ok": "green", "warning": "yellow", "problem": "red"}


def show_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """What `saccade doctor` found, on standard output: a line each, and below it the command that mends it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)  # A command that is wrapped cannot be pasted.
    for found in findings:
        level = (f"{found['level']:<8}", _LEVELS[found["level"]])
        console.print(Text.assemble(level, f" {found['check']:<14} {found['text']}"))
        if found["mend"]:
            console.print(Text(f"{'':<24}mend: {found['mend']}", style="bold"))
    levels = [found["level"] for found in findings]
    counts = [
        f"{number} {name}{'s' if number != 1 else ''}"
        for name in ("problem", "warning")
        if (number := levels.count(name))
    ]
    console.print("\n" + (" and ".join(counts) if counts else "No problems") + ".")
