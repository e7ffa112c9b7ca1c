"""Scales from numbers to colours, and words for numbers beyond them."""

from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np

from dissect.errors import DissectError
from dissect.plots import labels, style

_DRIFT = {
    "relative_norm": "relative change ‖W\N{PRIME} \N{MINUS SIGN} W‖ / ‖W‖",
    "cosine": "1 \N{MINUS SIGN} cosine between W and W\N{PRIME}",
    "moved": "share of weights that differ",
    "moved_8bit": "share that differ in 8 bits",
    "moved_4bit": "share that differ in 4 bits",
    "spectral_norm": "‖W\N{PRIME} \N{MINUS SIGN} W‖₂",
    "relative_spectral_norm": "‖W\N{PRIME} \N{MINUS SIGN} W‖₂ / ‖W‖₂",
    "stable_rank": "stable rank of the change",
    "effective_rank": "effective rank of the change",
}
_PAD = "\u2007" * 2
"""Figure spaces after the numbers of the bar: plotly sets its title too close to them."""
_SHARES = ("relative_norm", "moved", "moved_8bit", "moved_4bit", "relative_spectral_norm")
"""Read best as a percentage."""
_FAINT, _ROUNDING = 0.25, 1e-6
"""Limits of the scale: with no recovery above the first, colours up to 1 would hardly show; below the second it
is rounding."""


@dataclass(frozen=True)
class Scale:
    """Colours from ``low`` to ``high``; what lies beyond has the colour of the end."""

    name: str
    """Beside the colour bar."""
    colours: tuple[str, ...]
    low: float
    high: float
    form: str
    """d3 format of a number."""
    note: str = ""
    ends: tuple[str, str] = ("", "")
    """Put before the numbers at the ends of the bar where cells lie beyond them."""

    def text(self, value: float) -> str:
        """A number as it stands in the cells."""
        return labels.number(value) if self.form.endswith("g") else format(value, self.form)

    def coloraxis(self) -> dict[str, Any]:
        """Return the scale in plotly's form."""
        last = len(self.colours) - 1
        ticks = np.linspace(self.low, self.high, 5)
        texts = [labels.number(tick) for tick in ticks]
        texts = [self.ends[0] + texts[0], *texts[1:-1], self.ends[1] + texts[-1]]
        marked = {"tickvals": ticks.tolist(), "ticktext": [text + _PAD for text in texts]}
        return {
            "colorscale": [[index / last, colour] for index, colour in enumerate(self.colours)],
            "cmin": self.low,
            "cmax": self.high,
            "colorbar": {
                "title": {"text": self.name, "side": "right", "font": {"size": 13}},
                **(marked if self.low < 0 else {"tickformat": self.form, "ticksuffix": _PAD}),
                "ticklabeloverflow": "allow",
                "lenmode": "pixels",
                "len": 260,
                "y": 1,
                "yanchor": "top",
                "thickness": 14,
                "outlinewidth": 0,
            },
        }


def recovery_scale(values: np.ndarray, name: str, limit: float | None) -> Scale:
    """Diverging around 0, as far to either side, so that no colour flatters.

    Unless a limit is given it is 1, or where all cells are far from that (single heads, neurons) the next round number
    above them, which the bar then says.
    """
    seen = values[np.isfinite(values)]
    form = ".2f"
    if limit is None and _ROUNDING < (most := float(abs(seen).max(initial=0))) < _FAINT:
        limit, form = _round_above(most), ".2g"
        name = f"{name}, colours end at ±{limit:g}"
    limit = _positive(1.0 if limit is None else limit)
    below, above = seen[seen < -limit], seen[seen > limit]
    sentences = [
        f"{labels.counted(len(below), 'cell')} below {labels.number(-limit)} (lowest {labels.number(below.min())})."
        if len(below)
        else "",
        f"{labels.counted(len(above), 'cell')} above {limit:g} (highest {labels.number(above.max())})."
        if len(above)
        else "",
    ]
    return Scale(
        name=name,
        colours=style.DIVERGING,
        low=-limit,
        high=limit,
        form=form,
        note=" ".join(sentence for sentence in sentences if sentence),
        ends=("≤ " if len(below) else "", "≥ " if len(above) else ""),
    )


def drift_scale(values: np.ndarray, variable: str, limit: float | None) -> Scale:
    """White at 0, where nothing changed."""
    seen = values[np.isfinite(values)]
    name = _DRIFT.get(variable, variable)
    high = float(seen.max()) if limit is None else _positive(limit)
    beyond = seen[seen > high]
    note = (
        f"{labels.counted(len(beyond), 'cell')} above {high:g} (highest {labels.number(beyond.max())})."
        if len(beyond)
        else ""
    )
    form = ".0f" if high >= 100 else ".1f" if high >= 1 else ".2~g"
    if variable in _SHARES:
        form = ".1%" if high >= 0.01 else ".3%"
    return Scale(name, style.SEQUENTIAL, 0.0, high or 1.0, form, note)


def _round_above(value: float) -> float:
    """The next of ..., 0.1, 0.2, 0.25, 0.5, 1, ... that is not below."""
    power = 10.0 ** floor(log10(value))
    return float(f"{next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value):.3g}")


def _positive(limit: float) -> float:
    if not limit > 0:
        raise DissectError(f"limit={limit}: the strongest colour stands for a number above 0, for instance 1")
    return float(limit)
