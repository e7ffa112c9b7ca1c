"""`dissect plot`: figures from stored sweeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dissect.cli.arguments import options, outputs, values
from dissect.errors import DissectError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from dissect.sweep.sweep_result import SweepResult


def plot(
    sweeps: Annotated[
        list[Path],
        typer.Argument(metavar="SWEEP.nc...", help="Sweeps, drawn together; or one other result.", show_default=False),
    ],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FIGURE", help="Where to write: .html, .png, .pdf or .svg.", show_default=False)
    ],
    kind: Annotated[
        str, options.choice("--kind", "Curves over layers, or two dimensions as colours.", "curves", "heatmap")
    ] = "curves",
    metric: Annotated[
        str | None, typer.Option(help="One that the sweeps measured; krs or else the first by default.")
    ] = None,
    component: Annotated[str | None, typer.Option(metavar="A,B", help="Only these components; all by default.")] = None,
    x: Annotated[str | None, typer.Option(help="Horizontal dimension. [default: layer]")] = None,
    y: Annotated[str | None, typer.Option(help="Vertical dimension of a heatmap. [default: component]")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="layer=3,t=0.5",
            help="Only these coordinates; several of a dimension as layer=3,4, a group as head=0+1. May be repeated.",
        ),
    ] = None,
    pooled: Annotated[
        bool, typer.Option("--pooled", help="Curves: the ratio of sums, not the mean of ratios.")
    ] = False,
    level: Annotated[float, typer.Option(help="Curves: of the bootstrap interval.")] = 0.95,
    title: Annotated[str | None, typer.Option(help="In place of the usual one.")] = None,
    paper: Annotated[
        str | None,
        typer.Option(metavar="column|text", help="As wide as a paper's column or text, or so many inches; no title."),
    ] = None,
    running: options.RunOptions,
) -> None:
    """Draw stored sweeps.

    Also a drift map (`dissect inspect --drift`) and the way to a smallest set (`dissect smallest`), one at a time. No
    model is run, so --device and --dtype have no effect; --seed is the bootstrap's.
    """
    from dissect.plots import export

    outputs.check_file(out, *export.PAGES, *export.IMAGES)
    export.check_path(out)
    if kind == "curves" and y:
        raise DissectError("--y belongs to --kind heatmap: add it, or leave --y out")
    asked = {"x": x, "y": y, "title": title}
    figure = _other_than_a_sweep(sweeps, metric, asked, at or ())
    if figure is None:
        result = _read(sweeps, component)
        chosen = metric or ("krs" if "krs" in result.metrics else next(iter(result.metrics)))
        figure = _drawn(result, kind, chosen, asked, at or (), pooled=pooled, level=level, seed=running.seed)
    if paper is not None:
        from dissect.plots.paper import WIDTHS, for_paper

        figure = for_paper(figure, paper if paper in WIDTHS else _inches(paper))
    export.write(figure, out)
    typer.echo(f"saved {out}")


def _inches(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # refused by name where the figure is made


def _other_than_a_sweep(
    files: Sequence[Path], metric: str | None, asked: Mapping[str, str | None], at: Sequence[str]
) -> "go.Figure | None":
    """The figure of a drift map or of a smallest set, if that is what is given."""
    from dissect import netcdf, plots
    from dissect.cli.arguments.at import selection
    from dissect.measures.representation import drift_map
    from dissect.restoration.smallest_result import SmallestSet

    found = [file for file in files if file.suffix == ".json"]
    drifts = [file for file in files if file.suffix != ".json" and netcdf.format_of(file) == drift_map.Drift.FORMAT]
    if not found and not drifts:
        return None
    if len(files) > 1:
        kind = "a smallest set" if found else "a drift map"
        raise DissectError(f"{(found + drifts)[0]} is no sweep but {kind}, which is drawn alone: leave the others out")
    if found:
        if at:
            raise DissectError("--at chooses from sweeps and drift maps: the way to a smallest set is drawn whole")
        return plots.path(SmallestSet.load(found[0]), title=asked["title"])
    drawn = drift_map.Drift.load(drifts[0])
    select = selection(at, drawn.layers)
    return plots.heatmap(drawn, metric, x=asked["x"] or "layer", y=asked["y"], title=asked["title"], **select)


def _read(sweeps: list[Path], component: str | None) -> "SweepResult":
    """All sweeps as one, with some of its components."""
    from dissect.sweep.join import concat
    from dissect.sweep.sweep_result import SweepResult

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
    asked: Mapping[str, str | None],
    at: Sequence[str],
    *,
    pooled: bool,
    level: float,
    seed: int,
) -> "go.Figure":
    from dissect import plots
    from dissect.cli.arguments.at import selection

    x, title, select = asked["x"] or "layer", asked["title"], selection(at, result.data)
    if kind == "curves":
        return plots.curves(result, metric, x=x, pooled=pooled, level=level, seed=seed, title=title, **select)
    return plots.heatmap(result, metric, x=x, y=asked["y"], title=title, **select)
