"""Commands that look before anything is loaded: what fits on a device, and whether this machine can serve. Rooms are
imported when a command needs them."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from typing import Annotated

import typer

from saccade import terminal
from saccade.errors import SettingsError
from saccade.flags import engine_options, with_settings
from saccade.settings import Settings, parse_size

FITTING = (
    "dtype", "offline", "source", "max_context", "gpu_memory_utilization", "kv_cache_memory", "feature_cache_memory",
    "cuda_graphs", "max_pixels",
)  # fmt: skip
"""Settings that decide what fits."""


@with_settings(*FITTING)
def estimate(
    model: Annotated[str, typer.Argument(help="As for serve; of a model on the hub only config.json is fetched.")],
    gpu: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of the GPU, for example 24GiB.")] = None,
    cpu: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Free main memory of a machine that has no GPU.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, sizes in bytes.")] = False,
    *,
    settings: Settings,
) -> None:
    """Tell which context and which pictures fit on a device, from config.json alone.

    Ends with status 2, and says what takes how much, when the model does not fit.
    """
    from saccade.estimate import estimate as compute
    from saccade.hub import resolve_config
    from saccade.model.config import ModelConfig

    if (gpu is None) == (cpu is None):
        raise SettingsError("Give the size of the device: either --gpu or --cpu.", hint="For example --gpu 24GiB.")
    config = ModelConfig.from_dict(resolve_config(model, offline=settings.offline, source=settings.source))
    place, size = ("--cpu", cpu) if gpu is None else ("--gpu", gpu)
    figures = compute(
        model,
        config,
        engine_options(settings),
        memory=parse_size(size or "", place),
        is_gpu=gpu is not None,
        dtype=settings.dtype,
        max_pixels=settings.max_pixels,
    )
    if json:
        typer.echo(json_format.dumps(asdict(figures)))
    else:
        terminal.show_estimate(asdict(figures))


@with_settings(*Settings.model_fields)
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for reports.")] = False,
    *,
    settings: Settings,
) -> None:
    """Look whether this machine can serve with these flags, and tell how to mend what is wrong.

    Ends with status 1 when there is a problem; warnings do not count. Nothing is downloaded.
    """
    from importlib.metadata import version

    from saccade.doctor.checks import examine
    from saccade.doctor.machine import Machine

    machine = Machine(settings)
    found = examine(machine)
    levels = [finding.level for finding in found]
    status = next((level for level in ("problem", "warning") if level in levels), "ok")
    if json:
        facts = {"saccade": version("saccade"), **machine.description, "status": status}
        typer.echo(json_format.dumps(facts | {"findings": [asdict(finding) for finding in found]}))
    else:
        terminal.show_findings([asdict(finding) for finding in found])
    if status == "problem":
        raise typer.Exit(1)
