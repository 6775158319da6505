"""Settings as flags of a command: a command that takes `settings` gets one flag for each name, and --config; and
as options of the engine. Knows no command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.engine.options import EngineOptions
from saccade.settings import (
    FILE_VARIABLE,
    LocalSettings,
    Settings,
    flag,
    is_switch,
    load,
    shape,
    shown_default,
    variable,
)

Command = Callable[..., None]


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


def engine_options(settings: LocalSettings) -> EngineOptions:
    """What the settings choose about the engine."""
    return EngineOptions(
        max_context=settings.max_context,
        max_running=settings.max_running,
        step_timeout=settings.step_timeout,
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
