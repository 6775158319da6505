"""`saccade demo`: train the bundled model again, measure it. Rooms are imported when a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saccade import terminal
from saccade.errors import SettingsError
from saccade.flags import with_settings
from saccade.settings import Settings

demo = typer.Typer(help="The small bundled model: train it again, measure it.", no_args_is_help=True)


@demo.command("eval")
@with_settings("model", "offline", "source")
def evaluate(
    items: Annotated[int, typer.Option(min=1, help="Pictures for each row of the table.")] = 200,
    seed: Annotated[int | None, typer.Option(help="Of the pictures; unset: from the clock.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core, four for each GPU.")] = 0,
    device: Annotated[str, typer.Option(help="Where to answer; cuda: on all GPUs.")] = "cpu",
    in_flight: Annotated[int, typer.Option(min=1, help="Questions that a process answers at once.")] = 16,
    only: Annotated[list[str] | None, typer.Option(help="Name of a row; may be repeated.")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Break rows down by kind of picture or question.")] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="PATH", help="File for the figures.")] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Put every answer into the file, too.")] = False,
    *,
    settings: Settings,
) -> None:
    """Measure a model on freshly drawn pictures, task by task, against floors and targets of the release.

    All rows with 200 pictures each take about a quarter of an hour on two cores.
    """
    from saccade.demo.eval import ROWS, EvalOptions, write
    from saccade.demo.eval import evaluate as measure
    from saccade.hub import resolve

    names = [row.name for row in ROWS]
    for name in only or ():
        if name not in names:
            raise SettingsError(f"There is no row {name!r}.", hint=f"Rows: {'; '.join(names)}.")
    directory = resolve(settings.model, offline=settings.offline, source=settings.source)
    options = EvalOptions(
        directory, items, seed, workers, device, in_flight, only=tuple(only or ()), keep_answers=answers
    )
    with terminal.counting(items * len(options.rows)) as advance:
        figures = measure(options, advance)
    terminal.show_report(figures.rows, figures.seed, figures.seconds, parts=parts)
    if json:
        write(figures, json)


@demo.command()
def train(
    out: Annotated[Path, typer.Argument(help="Directory to write the checkpoint to.")],
    start: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Checkpoint to go on from; unset: from nothing.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the training.")] = 1200.0,
    seed: Annotated[int, typer.Option(help="Of weights and pictures; going on, take another one.")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that draw, for each device; 0: all its cores but two.")
    ] = 0,
    slots: Annotated[int, typer.Option(min=1, help="Batches in shared memory.")] = 40,
    device: Annotated[str, typer.Option(help="Where to train.")] = "cuda",
    devices: Annotated[int, typer.Option(min=1, help="GPUs that train together, one batch each.")] = 1,
    patches: Annotated[int, typer.Option(min=1024, help="Patches of a batch.")] = 73_728,
    second: Annotated[int, typer.Option(min=256, help="Patches of a batch with a second frame.")] = 16_384,
    tokens: Annotated[int, typer.Option(min=1024, help="Tokens of a batch.")] = 61_440,
    muon_rate: Annotated[float, typer.Option(help="Learning rate of matrices.")] = 0.012,
    adam_rate: Annotated[float, typer.Option(help="Learning rate of all else.")] = 2e-3,
    decay: Annotated[float, typer.Option(help="Weight decay of matrices, per unit of their rate.")] = 0.1,
    warmup_steps: Annotated[int, typer.Option(min=1, help="Steps to the peak of the rates.")] = 100,
    peak: Annotated[
        float | None, typer.Option(help="Share of the rates at their peak; unset: 1, going on 0.5.")
    ] = None,
    flat: Annotated[float, typer.Option(help="From nothing: share of the time at the peak.")] = 0.10,
    full_stage: Annotated[float, typer.Option(help="From nothing: share of the time to the whole world.")] = 0.35,
    head_steps: Annotated[int, typer.Option(min=0, help="Going on: steps that teach a new character head.")] = 300,
    evaluations: Annotated[int, typer.Option(min=1, help="Points of the learning curve.")] = 10,
    max_steps: Annotated[int | None, typer.Option(min=1, help="End after so many steps.")] = None,
    save_every: Annotated[float, typer.Option(help="Seconds between safety copies.")] = 240.0,
    graphs: Annotated[
        bool, typer.Option("--graphs/--no-graphs", help="On CUDA: replay captured graphs instead of launching kernels.")
    ] = True,
    profile: Annotated[int, typer.Option(min=0, help="Early steps to profile into DIR/profile.txt.")] = 0,
) -> None:
    """Train the bundled model on pictures drawn on the way, from nothing or on from a checkpoint."""
    from saccade.demo.pack import Budget
    from saccade.demo.train import TrainOptions
    from saccade.demo.train import train as run

    options = TrainOptions(
        out, start=start, seconds=seconds, seed=seed, workers=workers, slots=slots, device=device, devices=devices,
        budget=Budget(patches=patches, second=second, tokens=tokens), muon_rate=muon_rate, adam_rate=adam_rate,
        decay=decay, warmup_steps=warmup_steps, peak=peak, flat=flat, full_stage=full_stage, head_steps=head_steps,
        evaluations=evaluations, max_steps=max_steps, save_every=save_every, graphs=graphs, profile=profile,
    )  # fmt: skip
    typer.echo(run(options))
