"""Reports become pictures: lines of several runs in one set of axes, floors dotted below them; knows matplotlib, which
is an extra and imported only here, when something is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from saccade.bench.ablate import Ablation
from saccade.bench.floors import PIXELS_OF_A_TOKEN, Floors
from saccade.bench.report import Report
from saccade.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Runs: TypeAlias = Sequence[tuple[str, Report]]

_COLORS = ("#1668b8", "#d1495b", "#2e8b57", "#8a5fbf", "#c98a1b", "#4a5560")
_MIXES = (("unique", "every picture new", "-", "o"), ("repeat60", "60 % one picture", "--", "s"))
_STAGES = (
    ("fetch_ms", "fetch", "#b8c4d0"),
    ("decode_media_ms", "decode picture", "#8da0b3"),
    ("resize_ms", "resize", "#5f7a94"),
    ("tokenize_ms", "tokenize", "#e3c26f"),
    ("queue_ms", "queue", "#d9d9d9"),
    ("vision_ms", "vision tower", "#d1495b"),
    ("prefill_ms", "prefill", "#1668b8"),
)
_VERDICTS = {1: "#d1495b", 0: "#b3bcc6", -1: "#1668b8"}
_LOOKS: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "saccade",
}


def require_matplotlib() -> None:
    """SettingsError that says what to install when matplotlib is not there."""
    if find_spec("matplotlib") is None:
        hint = "Install it with: pip install 'saccade[bench]'."
        raise SettingsError("Plots need matplotlib, which is not installed.", param="plots", hint=hint)


def draw(runs: Runs, directory: Path, floors: Floors | None) -> list[Path]:
    """Draw every plot that the runs have figures for, each as PNG and SVG; the files written."""

    def painting(paint: Callable[[Canvas, Runs, Floors | None], bool]) -> Callable[[Canvas], bool]:
        return lambda canvas: paint(canvas, runs, floors)

    return _drawn(directory, [(name, painting(paint)) for name, paint in _PLOTS])


def draw_ablation(found: Ablation, directory: Path) -> list[Path]:
    """Draw what each part is worth, and where the time goes without it; the files written."""
    kinds = ("ttft.new_picture", "ttft.same_picture")
    runs = [
        (run.name, replace(run.report, stages={k: v for k, v in run.report.stages.items() if k in kinds}))
        for run in found.runs
    ]
    return _drawn(
        directory,
        [
            ("ablation", lambda canvas: _worth(canvas, found)),
            ("ablation_stages", lambda canvas: _stages(canvas, runs, None)),
        ],
    )


def _drawn(directory: Path, plots: Sequence[tuple[str, Callable[[Canvas], bool]]]) -> list[Path]:
    """Paint each plot that has something to show into a PNG and an SVG."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    written = []
    with matplotlib.rc_context({"backend": "agg", **_LOOKS}):
        for name, paint in plots:
            canvas = Canvas(layout="constrained")
            if not paint(canvas):
                continue
            for kind in ("png", "svg"):
                path = directory / f"{name}.{kind}"
                canvas.savefig(path, metadata={"Date": None} if kind == "svg" else None)
                written.append(path)
    return written


def _load(canvas: Canvas, runs: Runs, floors: Floors | None) -> bool:
    """Throughput, TTFT and gaps against concurrency."""
    runs = [(label, report) for label, report in runs if _concurrency(report)]
    if not runs:
        return False
    canvas.set_size_inches(13, 4.4)
    panels = (
        ("rate", "Requests a second", ""),
        ("ttft_p50", "Time to first token, median", "ms"),
        ("gap_p99", "Gap between tokens, 99th percentile", "ms"),
    )
    axes = canvas.subplots(1, 3)
    for at, (key, title, unit) in zip(axes, panels, strict=True):
        for color, (label, report) in zip(_COLORS, runs, strict=False):
            for mix, words, line, mark in _MIXES:
                found = [(c, report.value(f"load.c{c}.{mix}.{key}")) for c in _concurrency(report)]
                name = words if len(runs) == 1 else f"{label}, {words}"
                _line(at, found, color=color, linestyle=line, marker=mark, label=name)
        if floors is not None and key == "rate":
            least = _request_floor(runs[0][1], floors)
            _line(at, least, color="#444444", linestyle=":", label="all that the GPU allows, every picture new")
        at.set_title(title)
        at.set_xlabel("requests at the same time")
        at.set_ylabel(unit)
        _from_zero(at)
        _powers(at, sorted({c for _, report in runs for c in _concurrency(report)}))
    handles, names = axes[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower center", ncols=3)
    return True


def _sizes(canvas: Canvas, runs: Runs, floors: Floors | None) -> bool:
    """TTFT of a new picture against its side."""
    canvas.set_size_inches(6.8, 4.4)
    at = canvas.subplots()
    sides: set[int] = set()
    for color, (label, report) in zip(_COLORS, runs, strict=False):
        found = [(int(name.partition(".")[2]), report.figure(name)) for name in _names(report, "sizes")]
        sides |= {side for side, _ in found}
        _line(at, [(s, f.value if f else None) for s, f in found], color=color, marker="o", label=label)
        spread = [(s, f.low, f.high) for s, f in found if f and f.low is not None and f.high is not None]
        if spread:
            across, low, high = zip(*spread, strict=True)
            at.fill_between(across, low, high, color=color, alpha=0.15, linewidth=0)
        if floors is not None and (least := _size_floor(report, floors)):
            _line(at, least, color=color, linestyle=":", label=f"floor of {label}")
    if not sides:
        return False
    at.set_title("Time to first token of a new picture (median, least to greatest)")
    at.set_xlabel("side of the square, pixels")
    at.set_ylabel("ms")
    at.set_xticks(sorted(sides))
    _from_zero(at)
    at.legend()
    return True


def _stages(canvas: Canvas, runs: Runs, floors: Floors | None) -> bool:
    """Where the time to the first token goes."""
    bars: list[tuple[str, dict[str, float]]] = []
    names = [name for _, report in runs for name in report.stages if name.startswith("ttft.")]
    for name in dict.fromkeys(names):
        what = name.partition(".")[2]
        having = [(label, report) for label, report in runs if name in report.stages]
        for label, report in having:
            words = what.replace("_", " ")
            bars.append((words if len(runs) == 1 else f"{words}, {label}", report.stages[name]))
        if floors is not None and (least := _stage_floor(having[0][1], what, floors)):
            bars.append(("floor", least))
    if not bars:
        return False
    canvas.set_size_inches(9, 1.7 + 0.42 * len(bars))
    at = canvas.subplots()
    for place, (label, times) in enumerate(bars):
        left = 0.0
        for key, words, color in (*_STAGES, ("rest", "the rest", "#efefef")):
            width = times.get(key, 0.0) if key != "rest" else max(0.0, times.get("first_token_ms", 0.0) - left)
            at.barh(
                place,
                width,
                left=left,
                color=color,
                label=words if place == 0 else None,
                alpha=0.55 if label == "floor" else 1.0,
                edgecolor="#888888" if label == "floor" else "none",
                linewidth=0.6,
            )
            left += width
        at.text(left, place, f" {left:.1f} ms", va="center", fontsize=9)
    at.set_yticks(range(len(bars)), [label for label, _ in bars])
    at.set_ylim(len(bars) - 0.4, -0.6)
    at.margins(x=0.12)
    at.set_xlim(left=0)
    at.grid(axis="y", visible=False)
    at.set_title("Where the time to the first token goes, as the server tells it (medians)")
    at.set_xlabel("ms")
    canvas.legend(*at.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return True


def _gaps(canvas: Canvas, runs: Runs, floors: Floors | None) -> bool:
    """How long running streams wait for their next token, alone and while pictures arrive."""
    canvas.set_size_inches(6.8, 4.4)
    at = canvas.subplots()
    lefts: list[float] = []
    for color, (label, report) in zip(_COLORS, runs, strict=False):
        for what, words, line in (("quiet", "quiet", "--"), ("pictures", "pictures arriving", "-")):
            rows = [row for row in report.raw.get("stall", ()) if row["what"] == what and not row["error"]]
            gaps = sorted(b - a for row in rows for a, b in pairwise(row["pieces_ms"]))
            if gaps:
                shares = [1 - number / len(gaps) for number in range(len(gaps))]
                name = words if len(runs) == 1 else f"{label}, {words}"
                at.step(gaps, shares, where="post", color=color, linestyle=line, label=name)
                # Pieces that came together have no place on a logarithmic axis.
                lefts.append(max(gaps[len(gaps) // 50], 0.01))
    if not at.lines:
        return False
    at.set_yscale("log")
    at.set_xscale("log")
    at.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    at.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    at.set_ylim(top=1.5)
    if floors is not None:
        streams = int(runs[0][1].plan.get("streams", 1))
        least = floors.decode(0, streams)
        lefts.append(least)
        at.axvline(least, color="#444444", linestyle=":", label="floor: weights read once")
    at.set_xlim(left=min(lefts) / 1.5)
    at.set_title("Gaps between tokens of running streams")
    at.set_xlabel("gap, ms")
    at.set_ylabel("gaps at least as long")
    at.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="white")
    return True


def _worth(canvas: Canvas, found: Ablation) -> bool:
    """A panel for each figure, a bar for each run; the line is the mean with everything on."""
    columns = [column for group in found.columns.values() for column in group]
    if not columns:
        return False
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    canvas.set_size_inches(3.1 * across + 1.6, down * (1.1 + 0.3 * len(found.runs)))
    panels = canvas.subplots(down, across, squeeze=False, sharey=True)
    for at in panels.flat[len(columns) :]:
        at.set_visible(False)
    for at, column in zip(panels.flat, columns, strict=False):
        base = found.base(column.name)
        assert base is not None
        assert base.value is not None
        for place, run in enumerate(found.runs):
            value, ratio = run.report.value(column.name), found.worth(run, column.name)
            if value is None or ratio is None:
                continue
            at.barh(place, value, color=_VERDICTS[found.verdict(run, column.name)], height=0.72)
            words = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            at.annotate(f"{words}  {ratio:.2f}x", (value, place), (4, 0), textcoords="offset points", va="center",
                        fontsize=8, bbox=box)  # fmt: skip
        at.axvline(base.value, color="#444444", linestyle=":", linewidth=1, zorder=1.5)
        at.set_yticks(range(len(found.runs)), [run.name for run in found.runs])
        at.set_ylim(len(found.runs) - 0.4, -0.6)
        at.margins(x=0.38)
        at.set_xlim(left=0)
        at.grid(axis="y", visible=False)
        at.set_title(f"{column.words}, {base.unit}", fontsize=10)
    canvas.suptitle(
        "What each part is worth: how many times better a figure is with everything on "
        "(red: worse without the part; blue: better without; grey: no more than two equal runs differ)",
        fontsize=9,
    )
    return True


_PLOTS: tuple[tuple[str, Callable[[Canvas, Runs, Floors | None], bool]], ...] = (
    ("load", _load),
    ("sizes", _sizes),
    ("stages", _stages),
    ("gaps", _gaps),
)


def _line(at: Axes, found: Sequence[tuple[float, float | None]], **looks: object) -> None:
    points = sorted((x, y) for x, y in found if y is not None)
    if points:
        at.plot([x for x, _ in points], [y for _, y in points], **looks)  # type: ignore[arg-type]


def _from_zero(at: Axes) -> None:
    """An axis from zero to a little above the highest point."""
    at.margins(y=0.08)
    at.set_ylim(bottom=0, top=at.get_ylim()[1] if at.lines else 1)


def _powers(at: Axes, ticks: Sequence[int]) -> None:
    """A logarithmic axis with exactly these ticks."""
    at.set_xscale("log", base=2)
    at.set_xticks(ticks, [str(tick) for tick in ticks])
    at.minorticks_off()


def _names(report: Report, workload: str) -> list[str]:
    return [name for name in report.figures if name.startswith(f"{workload}.")]


def _concurrency(report: Report) -> list[int]:
    """The numbers of workers that the report has figures for."""
    return sorted({int(name.split(".")[1][1:]) for name in _names(report, "load")})


def _tokens(report: Report, workload: str, what: str) -> tuple[int, int] | None:
    """Tokens of picture and prompt of one request, as the server counted them."""
    for row in report.raw.get(workload, ()):
        usage = row.get("usage")
        if row["what"] == what and not row["error"] and usage and usage.get("prompt_tokens"):
            details = usage.get("prompt_tokens_details") or {}
            return int(details.get("image_tokens") or 0), int(usage["prompt_tokens"])
    return None


def _size_floor(report: Report, floors: Floors) -> list[tuple[float, float]]:
    points = []
    for name in _names(report, "sizes"):
        what = name.partition(".")[2]
        if tokens := _tokens(report, "sizes", what):
            picture = tokens[0] or int(what) ** 2 // PIXELS_OF_A_TOKEN
            points.append((float(what), floors.vision(picture) + floors.prefill(tokens[1])))
    return points


def _stage_floor(report: Report, what: str, floors: Floors) -> dict[str, float] | None:
    """Vision and prefill of one kind of request; a picture that was seen costs nothing, nor do its tokens where the
    prompt before them was seen too."""
    tokens = _tokens(report, "ttft", what)
    if tokens is None:
        return None
    picture, prompt = tokens
    seen = picture if what == "same_picture" else 0
    vision = floors.vision(picture) if picture and what not in ("same_picture", "moved_picture") else 0.0
    return {"vision_ms": vision, "prefill_ms": floors.prefill(prompt - seen, seen)}


def _request_floor(report: Report, floors: Floors) -> list[tuple[float, float]]:
    """Requests a second that the GPU allows when nothing else takes time."""
    points = []
    for workers in _concurrency(report):
        if tokens := _tokens(report, "load", f"c{workers}.unique"):
            least = floors.request(*tokens, int(report.plan["load_tokens"]), workers)
            points.append((float(workers), 1e3 / least))
    return points
