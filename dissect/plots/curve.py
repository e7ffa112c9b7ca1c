"""One curve: a component over an axis, as a line with markers and a band."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dissect.plots import labels, style
from dissect.sweep.results.sweep_result import SweepResult


@dataclass(frozen=True)
class Look:
    """Colour, dash and marker that tell a component's curve from others."""

    colour: str
    dash: str
    symbol: str
    control: bool = False
    """True if it is a control of a component: thin, without a band, in that component's colour."""


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """A look for each component of a sweep."""
    split = {name: labels.split_control(name) for name in names}
    bases = list(dict.fromkeys(of if of in names else name for name, (of, _) in split.items()))
    kinds = dict.fromkeys(control for of, control in split.values() if control and of in names)
    controls = _control_looks([kind for kind in kinds if kind not in style.CONTROLS])
    looks = {}
    for name, (of, control) in split.items():
        index = bases.index(of if of in names else name) % len(style.PALETTE)
        if control and of in names:
            looks[name] = Look(style.PALETTE[index], *controls[control], control=True)
        else:
            looks[name] = Look(style.PALETTE[index], style.DASHES[index], style.SYMBOLS[index])
    return looks


def _control_looks(others: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Dash and marker of the controls we know and of ``others``, which get combinations that those do not have."""
    dashes, symbols = zip(*style.CONTROLS.values(), strict=True)
    n = len(dashes)
    return style.CONTROLS | {
        kind: (dashes[index % n], symbols[(index + 1 + index // n) % n]) for index, kind in enumerate(others)
    }


@dataclass(frozen=True)
class Curve:
    """One component, where it is defined."""

    name: str
    look: Look
    places: np.ndarray
    """On the horizontal axis."""
    value: np.ndarray
    """The values drawn: the mean over prompts, or the pooled ratio."""
    low: np.ndarray
    high: np.ndarray
    cut: np.ndarray
    """True if the window is cut off by the first or the last layer."""
    hover: list[str]


def curve_of(
    result: SweepResult, table: xr.Dataset, name: str, look: Look, x: str, level: float, pooled: bool
) -> Curve:
    """Pick one component's values where they are defined."""
    values = table["pooled" if pooled else "mean"]
    here = table.isel({x: np.flatnonzero(np.isfinite(values.values))})
    layers = result.data["members"].sel(component=name, layer=here["layer"])
    members = np.broadcast_to(layers, here.sizes[x]).astype(str)
    sizes = np.array([text.count(",") + 1 for text in members], dtype=int)
    window = result.spec.get("window")
    full = window if isinstance(window, int) else sizes.max(initial=1)
    label = labels.component(name)
    hover = []
    for index, text in enumerate(members):
        cell = here.isel({x: index})
        low, high, undefined = float(cell["low"]), float(cell["high"]), int(cell["n_undefined"])
        hover.append(
            f"<b>{label}</b><br>layer {cell['layer'].item()}"
            + (f", {x} {cell[x].item():g}" if x != "layer" else "")
            + f", {'left out' if name.startswith('all but ') else 'swapped'}: {text.replace(',', ', ')}"
            + f"<br>mean recovery {float(cell['mean']):.3f}"
            + (f", {level:.0%} interval {low:.3f} to {high:.3f}" if np.isfinite(low) else "")
            + f"<br>pooled recovery {float(cell['pooled']):.3f}"
            + f"<br>{labels.counted(int(cell['n']), 'prompt')}"
            + (f" ({undefined} with nothing to recover left out)" if undefined else "")
        )
    return Curve(
        name=label,
        look=look,
        places=here[x].values,
        value=(here["pooled"] if pooled else here["mean"]).values,
        low=here["low"].values,
        high=here["high"].values,
        cut=(sizes < full) & (x == "layer" and not _adds_up(sizes)),
        hover=hover,
    )


def _adds_up(sizes: np.ndarray) -> bool:
    """Return whether the sets of layers grow from one end to the other: then none is a window that is cut off."""
    steps = np.diff(sizes)
    return len(steps) > 1 and bool((steps > 0).all() or (steps < 0).all())


def traces(curve: Curve, pooled: bool) -> list[go.Scatter]:
    """Band, line with filled markers, and white-filled markers over those of cut-off windows."""
    common = {"legendgroup": curve.name, "name": curve.name}
    known = np.isfinite(curve.low)
    drawn = []
    if not pooled and known.sum() > 1 and not curve.look.control:
        there, back = curve.places[known], curve.places[known][::-1]
        drawn.append(
            go.Scatter(
                x=np.concatenate([there, back]),
                y=np.concatenate([curve.high[known], curve.low[known][::-1]]),
                fill="toself",
                fillcolor=style.translucent(curve.look.colour, 0.15),
                mode="lines",
                line={"width": 0},
                showlegend=False,
                hoverinfo="skip",
                **common,
            )
        )
    single = not pooled and len(curve.places) == 1 and known.all()  # a band of no width would not be seen
    drawn.append(
        go.Scatter(
            x=curve.places,
            y=curve.value,
            mode="lines+markers",
            line={"color": curve.look.colour, "dash": curve.look.dash, "width": 1.2 if curve.look.control else 2},
            marker={"symbol": curve.look.symbol, "size": 6 if curve.look.control else 8, "color": curve.look.colour},
            error_y={"array": curve.high - curve.value, "arrayminus": curve.value - curve.low} if single else None,
            text=curve.hover,
            hovertemplate="%{text}<extra></extra>",
            **common,
        )
    )
    if curve.cut.any() and not curve.look.control:
        drawn.append(
            go.Scatter(
                x=curve.places[curve.cut],
                y=curve.value[curve.cut],
                mode="markers",
                marker={
                    "symbol": curve.look.symbol,
                    "size": 8,
                    "color": "white",
                    "line": {"color": curve.look.colour, "width": 1.6},
                },
                showlegend=False,
                hoverinfo="skip",
                **common,
            )
        )
    return drawn


def arrows(curve: Curve, bottom: float, top: float) -> list[go.Scatter]:
    """Arrowheads at the edge of the plot for points beyond it."""
    drawn = []
    for beyond, edge, symbol in (
        (curve.value < bottom, bottom, "triangle-down"),
        (curve.value > top, top, "triangle-up"),
    ):
        if beyond.any():
            drawn.append(
                go.Scatter(
                    x=curve.places[beyond],
                    y=np.full(int(beyond.sum()), edge),
                    mode="markers",
                    marker={"symbol": symbol, "size": 11, "color": curve.look.colour},
                    cliponaxis=False,
                    showlegend=False,
                    legendgroup=curve.name,
                    name=f"{curve.name}, outside",
                    text=[text for text, outside in zip(curve.hover, beyond, strict=True) if outside],
                    hovertemplate="outside the axis<br>%{text}<extra></extra>",
                )
            )
    return drawn
