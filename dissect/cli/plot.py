"""`dissect plot`: figures from stored sweeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, outputs, values
from dissect.cli.arguments.say import say
from dissect.errors import DissectError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from dissect.sweep.results.sweep_result import SweepResult


def plot(
    sweeps: Annotated[
        list[Path],
        typer.Argument(
            metavar="SWEEP.nc",
            help="Sweeps to draw in one figure; or one drift map; or one file of dissect smallest.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FIGURE", help="Write the figure to this file: .html, .png, .pdf or .svg.", show_default=False
        ),
    ],
    kind: Annotated[
        str, options.choice("--kind", "Curves over layers, or a heatmap of two dimensions.", "curves", "heatmap")
    ] = "curves",
    metric: Annotated[
        str | None, typer.Option(help="Metric to draw, one that the sweeps have. [default: krs, or else the first]")
    ] = None,
    component: Annotated[str | None, typer.Option(metavar="A,B", help="Components to draw. [default: all]")] = None,
    x: Annotated[str | None, typer.Option(help="Horizontal dimension. [default: layer]")] = None,
    y: Annotated[str | None, typer.Option(help="Vertical dimension of a heatmap. [default: component]")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="layer=3,t=0.5",
            help="Coordinates to draw: layer=3,4 for several, head=0+1 for a group. May be repeated.",
        ),
    ] = None,
    pooled: Annotated[
        bool, typer.Option("--pooled", help="Curves: draw the ratio of sums instead of the mean of ratios.")
    ] = False,
    level: Annotated[float, typer.Option(help="Curves: level of the bootstrap interval.")] = 0.95,
    title: Annotated[str | None, typer.Option(help="Title of the figure, instead of the default one.")] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            metavar="column|text",
            help="Size for a paper, without a title: column width, text width, or a width in inches.",
        ),
    ] = None,
    running: options.RunOptions,
) -> None:
    """Draw stored sweeps.

    Also draws a drift map (`dissect inspect --drift`) or the steps to a smallest set (`dissect smallest`), one file at
    a time. No model is run: --device and --dtype have no effect, --seed seeds the bootstrap.
    """
    from dissect.plots import export

    outputs.check_file(out, *export.PAGES, *export.IMAGES)
    export.check_path(out)
    if kind == "curves" and y:
        raise DissectError("--y needs --kind heatmap: add it, or leave --y out")
    axes = {"x": x, "y": y, "title": title}
    figure = _other_than_a_sweep(sweeps, metric, axes, at or ())
    if figure is None:
        result = _read(sweeps, component)
        drawn = metric or ("krs" if "krs" in result.metrics else next(iter(result.metrics)))
        figure = _drawn(result, kind, drawn, axes, at or (), pooled=pooled, level=level, seed=running.seed)
    if paper is not None:
        from dissect.plots.paper import WIDTHS, for_paper

        figure = for_paper(figure, paper if paper in WIDTHS else _inches(paper))
    export.write(figure, out)
    say(f"saved {out}")


def _inches(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # refused by name where the figure is made


def _other_than_a_sweep(
    files: Sequence[Path], metric: str | None, axes: Mapping[str, str | None], at: Sequence[str]
) -> "go.Figure | None":
    """Draw a drift map or a smallest set, if one is given."""
    from dissect import netcdf, plots
    from dissect.cli.arguments.at import selection
    from dissect.measures.representation import drift_map
    from dissect.restoration.smallest_result import SmallestSet

    sets = [file for file in files if file.suffix == ".json"]
    drifts = [file for file in files if file.suffix != ".json" and netcdf.format_of(file) == drift_map.Drift.FORMAT]
    if not sets and not drifts:
        return None
    if len(files) > 1:
        kind = "a smallest set" if sets else "a drift map"
        raise DissectError(f"{(sets + drifts)[0]} is {kind}, not a sweep, and is drawn alone: leave the others out")
    if sets:
        if at:
            raise DissectError(
                "--at selects from sweeps and drift maps; the steps to a smallest set are drawn whole: leave it out"
            )
        return plots.path(SmallestSet.load(sets[0]), title=axes["title"])
    drawn = drift_map.Drift.load(drifts[0])
    select = selection(at, drawn.layers)
    return plots.heatmap(drawn, metric, x=axes["x"] or "layer", y=axes["y"], title=axes["title"], **select)


def _read(sweeps: list[Path], component: str | None) -> "SweepResult":
    """Join the sweeps, and keep the components asked for."""
    from dissect.sweep.results.join import concat
    from dissect.sweep.results.sweep_result import SweepResult

    result = concat(*(SweepResult.load(path) for path in sweeps))
    if component is None:
        return result
    wanted = values.listed(component, "--component")
    there = [str(name) for name in result.data["component"].values]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DissectError(f"no component {missing[0]!r} in the sweeps: they have {', '.join(there)}")
    return SweepResult(result.data.sel(component=wanted))


def _drawn(
    result: "SweepResult",
    kind: str,
    metric: str,
    axes: Mapping[str, str | None],
    at: Sequence[str],
    *,
    pooled: bool,
    level: float,
    seed: int,
) -> "go.Figure":
    from dissect import plots
    from dissect.cli.arguments.at import selection

    x, title, select = axes["x"] or "layer", axes["title"], selection(at, result.data)
    if kind == "curves":
        return plots.curves(result, metric, x=x, pooled=pooled, level=level, seed=seed, title=title, **select)
    return plots.heatmap(result, metric, x=x, y=axes["y"], title=title, **select)
