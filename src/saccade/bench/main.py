"""What the command line calls: measure or compare, then show, write and draw; wiring and nothing else."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.bench import ablate as ablation
from saccade.bench import compare as side_by_side
from saccade.bench import report as reports
from saccade.bench import run, show
from saccade.bench.floors import Floors
from saccade.bench.floors import read as read_floors
from saccade.bench.plan import ABLATION, FULL, QUICK, QUICK_ABLATION, Plan
from saccade.bench.plots import draw, draw_ablation, require_matplotlib
from saccade.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure; see run.Options."""

    url: str | None = None
    model: str | None = None
    api_key: str | None = None
    only: tuple[str, ...] = ()
    quick: bool = False
    serve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go beside the terminal, and the rates of the GPU for the plots."""

    json: Path | None = None
    plots: Path | None = None
    floors: Path | None = None

    def check(self) -> Floors | None:
        """The floors. Raises SettingsError now for what would only fail after the last request."""
        if self.floors and not self.plots:
            raise SettingsError("--floors is for the plots.", param="floors", hint="Add --plots DIR.")
        if self.plots:
            require_matplotlib()
        for place in filter(None, (self.json and self.json.parent, self.plots)):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(f"{place} cannot be made: {error.strerror}.") from None
        return read_floors(self.floors) if self.floors else None


def measure(options: Options, out: Output) -> bool:
    """Run, show, write and draw. Whether every request was answered as asked."""
    floors = out.check()
    if options.api_key and not options.url:
        raise SettingsError("--api-key is for the server at --url.", param="api_key")
    asked = _asked(options, QUICK if options.quick else FULL)
    with show.bars() as bars:
        report = asyncio.run(run.measure(asked, bars))
    show.show(report)
    if out.json:
        reports.write(report, out.json)
    if out.plots:
        show.say(draw([(report.server["model"], report)], out.plots, floors))
    return not report.problems


def ablate(options: Options, out: Output) -> bool:
    """Run with everything on and without each part, show, write and draw. Whether all of it could be measured."""
    if options.url or options.api_key:
        raise SettingsError(
            "--ablate starts its servers itself.", param="ablate", hint="Leave --url and --api-key away."
        )
    if out.floors:
        raise SettingsError("--floors is not for --ablate, whose plots have none.", param="floors")
    out.check()
    asked = _asked(options, QUICK_ABLATION if options.quick else ABLATION)
    with show.bars() as bars:
        found = asyncio.run(ablation.ablate(asked, bars))
    show.ablated(found)
    if out.json:
        ablation.write(found, out.json)
    if out.plots:
        show.say(draw_ablation(found, out.plots))
    return found.good


def compare(files: Sequence[Path], out: Output, *, markdown: bool) -> None:
    """Show files side by side, and draw them into one another."""
    floors = out.check()
    if out.json:
        raise SettingsError("--json is for a measurement; --compare makes none.", param="json")
    found = [reports.read(file) for file in files]
    labels = side_by_side.labels(files)
    rows = side_by_side.compare(found)
    if not rows:
        raise SettingsError("These files have no figure in common.", param="compare")
    if markdown:
        print(show.markdown(labels, rows))
    else:
        show.console().print(show.compared(labels, rows))
    if words := side_by_side.caution(found):
        print(f"\n{words}")
    if out.plots:
        show.say(draw(list(zip(labels, found, strict=True)), out.plots, floors))


def _asked(options: Options, plan: Plan) -> run.Options:
    return run.Options(
        url=options.url,
        model=options.model,
        api_key=options.api_key,
        only=options.only,
        plan=plan,
        serve=options.serve,
        command=_without_key(sys.argv[1:]),
    )


def _without_key(words: Sequence[str]) -> str:
    """The command as typed, but for the key."""
    shown, hide = ["saccade"], False
    for word in words:
        name, equals, _ = word.partition("=")
        shown.append("..." if hide else f"{name}=..." if name == "--api-key" and equals else word)
        hide = word == "--api-key"
    return shlex.join(shown)
