"""The command line: arguments become settings and one call into the house. Rooms are imported when a command needs
them, so that --help does not wait for them."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from saccade import logs, terminal
from saccade.commands import check, completion
from saccade.commands.demo import demo
from saccade.commands.profile import profile
from saccade.errors import SaccadeError, SettingsError
from saccade.flags import engine_options, with_settings
from saccade.settings import LocalSettings, Settings, as_flags, flag, wants_spans

if TYPE_CHECKING:  # It needs numpy, for which --help should not wait.
    from collections.abc import Callable, Coroutine

    from saccade.backends.base import Backend
    from saccade.engine.supervisor import EngineProcess
    from saccade.media.limits import Decoding
    from saccade.server.admission import Limits
    from saccade.server.guard import Access


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
app.add_typer(demo, name="demo")


def main() -> None:
    """The `saccade` command."""
    app()


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
    """Answer requests over an OpenAI-compatible HTTP interface, and people at a page."""
    _serve(settings)


@app.command()
@with_settings(*Settings.model_fields)
def ui(settings: Settings) -> None:
    """Do what serve does, and open the page in the browser of this machine."""
    if not (settings.ui or settings.gradio):
        raise SettingsError("There is no page to open with --no-ui.", param="ui")
    _serve(settings, open_page=True)


def _serve(settings: Settings, *, open_page: bool = False) -> None:
    """Serve until a signal comes."""
    begun = time.perf_counter()
    from saccade.engine.supervisor import EngineProcess

    # It looks for its libraries while we look for ours.
    shelf = settings.picture_cache_memory
    with closing(EngineProcess(shelf_bytes=shelf, log_format=settings.log_format)) as engine:
        from saccade.server.run import bind, run

        access, follow = _access(settings)
        listener = bind(settings.host, settings.port, public=bool(access.keys) or settings.insecure)
        from saccade.backends.loading import Loading
        from saccade.server.app import create_app
        from saccade.server.tracing import Tracer

        tracer = Tracer(settings.otel_endpoint) if wants_spans(settings) else None
        loading = Loading(
            settings.model_name, lambda: _load(settings, engine), stage=engine.stage, give_up=engine.close
        )

        async def announce() -> None:
            backend = await loading.loaded()
            # What is here stays: else a collection looks at all 200,000 objects, for 0.1 s in which nobody is answered.
            gc.freeze()
            host, port = listener.getsockname()[:2]
            stats = backend.stats()
            memory = stats.memory if stats else {}
            url = terminal.address(host, port)
            page = f"{url}/" if settings.ui else ""
            terminal.announce(backend.card(), memory, url, time.perf_counter() - begun, page=page)
            if open_page:
                import webbrowser

                await asyncio.to_thread(webbrowser.open, f"{url}/gradio/" if settings.gradio else page)

        web = create_app(
            loading,
            resume_seconds=settings.resume_seconds,
            limits=_limits(settings),
            access=access,
            vllm_metrics=settings.vllm_metrics,
            page=settings.ui or settings.gradio,
            tracer=tracer,
            profile_dir=settings.profile_dir,
            beside=follow,
        )
        if settings.gradio:
            from saccade.webui.gradio_host import mount

            mount(web)
        run(
            web,
            listener,
            drain=web.state.gate.close,
            drain_seconds=settings.drain_seconds,
            beside=announce,
            log_config=logs.config(settings.log_format, settings.log_level),
        )


def _access(settings: Settings) -> tuple[Access, Callable[[], Coroutine[Any, Any, None]] | None]:
    """Who may come in, and what keeps that current."""
    from saccade.server.guard import Access, checked_origins, open_hosts
    from saccade.server.key_file import KeyFile
    from saccade.server.keys import load_keys

    secret = settings.api_key.get_secret_value() if settings.api_key else None
    file = KeyFile(secret, settings.api_key_file) if settings.api_key_file else None
    access = Access(
        file.keys if file else load_keys(secret, None),
        open_hosts(settings.host, settings.allowed_host),
        checked_origins(settings.cors_origin),
        settings.share_caches,
    )
    return access, file.follow if file else None


def _limits(settings: Settings) -> Limits:
    """How much may wait."""
    from saccade.server.admission import Limits

    return Limits(
        max_body_bytes=settings.max_body_bytes,
        body_seconds=settings.body_timeout,
        max_waiting=settings.max_waiting,
        max_queued_tokens=settings.max_queued_tokens,
        max_queued_pixels=settings.max_queued_pixels,
        max_queued_bytes=settings.max_queued_bytes,
        queue_timeout=settings.queue_timeout,
        target_ttft=settings.target_ttft,
    )


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
    from saccade.ask import ask as answer
    from saccade.ask import parts_of
    from saccade.types import SamplingParams

    if os.path.isfile(question):  # Path.is_file raises for a name as long as a question may be
        raise SettingsError(f"The last argument is the question, and {question} is a file.", hint="Add a question.")
    parts = parts_of(pictures or (), question, settings.max_file_bytes)
    sampling = SamplingParams(temperature=temperature, max_tokens=max_tokens)
    asyncio.run(answer(_load(settings), parts, sampling, as_json=json, begun=begun))


@app.command()
def key(name: Annotated[str, typer.Argument(help="Whose it will be.")]) -> None:
    """Make a key: print it, and the line for --api-key-file by which the server knows it.

    The key is told this once and kept nowhere; the line does not tell it.
    """
    from saccade.server.keys import new_key

    typer.echo("\n".join(new_key(name)))


@app.command()
@with_settings("source")
def pull(model: Annotated[str, typer.Argument(help="A name on the hub.")], *, settings: Settings) -> None:
    """Download a model, or finish a download, and print its directory."""
    from saccade.hub import resolve

    typer.echo(resolve(model, offline=False, source=settings.source))


app.command()(check.doctor)
app.command()(profile)
app.command()(check.estimate)
app.command()(completion.completion)

_OWN_SERVER = [
    name for name in Settings.model_fields if name not in ("host", "port", "api_key", "api_key_file", "insecure")
]


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


def _load(settings: Settings, process: EngineProcess | None = None) -> Backend:
    """The model of the settings, on its device, and in `process` if there is one."""
    from saccade.backends.native import Native
    from saccade.doctor.checks import before_serving
    from saccade.hub import resolve
    from saccade.media.limits import MediaLimits

    weights = settings.load_format != "dummy"
    directory = resolve(settings.model, offline=settings.offline, source=settings.source, weights=weights)
    before_serving(settings, directory)
    limits = MediaLimits(
        max_file_bytes=settings.max_file_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        max_video_frames=settings.max_video_frames,
        max_video_pixels=settings.max_video_pixels,
        max_store_bytes=settings.media_store_memory,
        allow_remote=settings.allow_remote_media,
        allow_hosts=frozenset((settings.allow_media_hosts or "").replace(",", " ").split()),
        media_root=settings.media_root,
        recent_bytes=settings.picture_cache_memory,
        timeout=settings.remote_timeout,
    )
    options = engine_options(settings)
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
            decoding=_decoding(settings) if process else None,
            video_outer_markers=settings.video_outer_markers,
        )
    return backend


def _decoding(settings: Settings) -> Decoding | None:
    """Where files are decoded when strangers send them."""
    from saccade.media.limits import Decoding

    number = settings.decode_workers
    if number is None:
        number = max(2, min(8, os.cpu_count() or 1))
    return Decoding(number, settings.decode_timeout, settings.decode_memory) if number else None
