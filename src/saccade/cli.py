"""The command line: arguments become settings and one call into the house. Rooms are imported when a command needs
them, so that --help does not wait for them."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from saccade import terminal
from saccade.engine.options import EngineOptions
from saccade.errors import SaccadeError, SettingsError
from saccade.settings import (
    FILE_VARIABLE,
    LocalSettings,
    Settings,
    as_flags,
    flag,
    is_switch,
    load,
    shape,
    shown_default,
    variable,
)

if TYPE_CHECKING:  # It needs numpy, for which --help should not wait.
    from saccade.backends.base import Backend
    from saccade.engine.supervisor import EngineProcess

Command = Callable[..., None]


class _Commands(TyperGroup):
    """All commands, and the one place where an error becomes a line on the terminal: 2 for settings, else 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SaccadeError as error:
            terminal.complain(error)
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None


app = typer.Typer(
    cls=_Commands,
    help="Qwen3-VL served with low latency: a picture and a question in, words out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Its panels cut long flags short.
    context_settings={"help_option_names": ["-h", "--help"]},
)
demo = typer.Typer(help="The small bundled model: train it again, measure it.", no_args_is_help=True)
app.add_typer(demo, name="demo")


def main() -> None:
    """The `saccade` command."""
    app()


def with_settings(*names: str) -> Callable[[Command], Command]:
    """A command that takes `settings`, as one with a flag for each setting in `names` and --config."""

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
        parameters = [*own, *map(_option, names), _CONFIG]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            config = given.pop("config")
            flags = {name: value for name in names if (value := given.pop(name)) is not None}
            command(settings=load(flags, config), **given)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _option(name: str) -> inspect.Parameter:
    """The flag of a setting. Its text goes to the settings as it is, which alone judge it; unset is None."""
    field = Settings.model_fields[name]
    text = f"{field.description} ({shown_default(field)}; {variable(name)})"
    if is_switch(field):
        kind: Any = Annotated[bool | None, typer.Option(f"{flag(name)}/--no-{flag(name)[2:]}", help=text)]
    else:
        kind = Annotated[str | None, typer.Option(flag(name), help=text, metavar=shape(field))]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[Path | None, typer.Option(help=f"TOML file with settings ({FILE_VARIABLE})", metavar="PATH")],
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"saccade {version('saccade')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Hold the flags that belong to no command."""


@app.command()
@with_settings(*Settings.model_fields)
def serve(settings: Settings) -> None:
    """Answer requests over an OpenAI-compatible HTTP interface."""
    begun = time.perf_counter()
    from saccade.engine.supervisor import EngineProcess

    with closing(EngineProcess()) as engine:  # it looks for its libraries while we look for ours
        from saccade.server.run import bind, run

        listener = bind(settings.host, settings.port)
        backend = _load(settings, engine)
        from saccade.server.app import create_app

        def announce() -> None:
            host, port = listener.getsockname()[:2]
            stats = backend.stats()
            memory = stats.memory if stats else {}
            terminal.announce(backend.card(), memory, host, port, time.perf_counter() - begun)

        web = create_app(
            backend,
            max_body_bytes=settings.max_body_bytes,
            max_waiting=settings.max_waiting,
            max_queued_tokens=settings.max_queued_tokens,
            vllm_metrics=settings.vllm_metrics,
        )
        run(web, listener, drain_seconds=settings.drain_seconds, on_ready=announce)


@app.command()
@with_settings(*LocalSettings.model_fields)
def ask(
    *,
    pictures: Annotated[list[str] | None, typer.Argument(metavar="PICTURE", help="Files, videos too.")] = None,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In one argument: quote it.")],
    max_tokens: Annotated[int, typer.Option(min=1, metavar="INT", help="Longest answer, in tokens.")] = 1024,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=2, metavar="NUMBER", help="0: always the likeliest token; unset: as the model says."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text and table.")] = False,
    settings: Settings,
) -> None:
    """Ask about pictures and videos, here in the terminal.

    The answer goes to standard output, and where the time went to standard error.
    """
    begun = time.perf_counter()
    import asyncio

    from saccade.ask import ask as answer
    from saccade.ask import parts_of
    from saccade.types import SamplingParams

    if os.path.isfile(question):  # Path.is_file raises for a name as long as a question may be
        raise SettingsError(f"The last argument is the question, and {question} is a file.", hint="Add a question.")
    parts = parts_of(pictures or (), question, settings.max_file_bytes)
    sampling = SamplingParams(temperature=temperature, max_tokens=max_tokens)
    asyncio.run(answer(_load(settings), parts, sampling, as_json=json, begun=begun))


@app.command()
@with_settings("source")
def pull(model: Annotated[str, typer.Argument(help="A name on the hub.")], *, settings: Settings) -> None:
    """Download a model, or finish a download, and print its directory."""
    from saccade.hub import resolve

    typer.echo(resolve(model, offline=False, source=settings.source))


_OWN_SERVER = [name for name in Settings.model_fields if name not in ("host", "port")]


@app.command()
@with_settings(*_OWN_SERVER)
def bench(
    *,
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Results to --compare.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Server to measure; unset: one of ours is started, and stopped.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(metavar="TEXT", help="Key that the server at --url wants.")] = None,
    only: Annotated[str | None, typer.Option(metavar="NAME,...", help="Workloads to run; unset: all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small pictures, short texts, few requests.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures and all requests here.")] = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw plots here, as PNG and SVG.")] = None,
    floors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rates of the GPU, for the floors in the plots.")
    ] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Switch off one part of our server after another: what is each worth?")
    ] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Measure nothing: put FILE... side by side.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print what is compared as a Markdown table.")] = False,
    settings: Settings,
) -> None:
    """Measure a server: time to first token, speed, stalls, load, and more.

    With --url any server that speaks OpenAI's chat completions, where --model is the name to ask for; else the other
    flags are those of the server that is started. Ends with status 1 when a request failed.
    """
    from saccade.bench import main as room

    out = room.Output(json=json, plots=plots, floors=floors)
    if compare or files or markdown:
        if ablate or not compare or not files or len(files) < 2:
            raise SettingsError("Files are for --compare, which needs two or more.", param="compare")
        room.compare(files, out, markdown=markdown)
        return
    given = [name for name in _OWN_SERVER if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
    if url and (foreign := [flag(name) for name in given if name != "model"]):
        raise SettingsError(f"{foreign[0]} is for a server that bench starts; the one at --url runs already.")
    options = room.Options(
        url=url,
        model=settings.model if "model" in given else None,
        api_key=api_key,
        only=tuple(only.split(",")) if only else (),
        quick=quick,
        serve=tuple(as_flags(settings, _OWN_SERVER)),
    )
    if not (room.ablate(options, out) if ablate else room.measure(options, out)):
        raise typer.Exit(1)


def _engine_options(settings: LocalSettings) -> EngineOptions:
    """What the settings choose about the engine."""
    return EngineOptions(
        max_context=settings.max_context,
        max_running=settings.max_running,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        kv_cache_bytes=settings.kv_cache_memory,
        feature_cache_bytes=settings.feature_cache_memory,
        host_feature_cache_bytes=settings.host_feature_cache_memory,
        prefix_cache=settings.prefix_cache,
        feature_cache=settings.feature_cache,
        graphs=settings.cuda_graphs,
        overlap=settings.overlap,
        slices=settings.slices,
        fused=settings.fused_kernels,
    )


def _load(settings: Settings, process: EngineProcess | None = None) -> Backend:
    """The model of the settings, on its device, and in `process` if there is one."""
    from saccade.backends.native import Native
    from saccade.hub import resolve
    from saccade.media.fetch import MediaLimits

    weights = settings.load_format != "dummy"
    directory = resolve(settings.model, offline=settings.offline, source=settings.source, weights=weights)
    limits = MediaLimits(
        max_file_bytes=settings.max_file_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        max_video_frames=settings.max_video_frames,
        max_video_pixels=settings.max_video_pixels,
        allow_remote=settings.allow_remote_media,
        media_root=settings.media_root,
        timeout=settings.remote_timeout,
    )
    options = _engine_options(settings)
    with terminal.waiting(f"Loading {settings.model_name}"):
        backend: Backend = Native.load(
            directory,
            name=settings.model_name,
            dtype=settings.dtype,
            device=settings.device,
            load_format=settings.load_format,
            limits=limits,
            options=options,
            process=process,
            video_outer_markers=settings.video_outer_markers,
        )
    return backend


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
