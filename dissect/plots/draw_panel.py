"""The panel of attacks: forced choice under each, beside chance, the base model and the retrained one."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import plotly.graph_objects as go

from dissect.errors import DissectError
from dissect.plots import labels, style
from dissect.plots.draw_intervals import intervals

CHANCE = 0.5


@runtime_checkable
class PanelResult(Protocol):
    """The result of `dissect.verdict`."""

    @property
    def base(self) -> Mapping[str, Any]:
        """With ``forced_choice``."""

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each checkpoint and attack."""


def panel(
    verdicts: PanelResult, *, checkpoints: Sequence[str] | None = None, title: str = "Forced choice under each attack"
) -> go.Figure:
    """A line an attack, a colour a checkpoint; dashed the chance line, dotted the base model as asked.

    Args:
        verdicts: of ``dissect.verdict``, or read back with ``Verdicts.load``.
        checkpoints: only these; the retrained model is called ``retrained``.

    Raises:
        DissectError: no such checkpoint, or no attack could be made.
    """
    table = verdicts.to_dataframe().rename(columns={"forced_choice": "value"})
    names = list(dict.fromkeys(table["checkpoint"]))
    for name in checkpoints or ():
        if name not in names:
            raise DissectError(f"no checkpoint {name!r} to draw: there are {', '.join(names)}")
    table = table[table["checkpoint"].isin(list(checkpoints or names)) & table["value"].notna()]
    if not len(table):
        raise DissectError("nothing to draw: no attack could be made on these checkpoints")
    figure = intervals(
        table,
        label="label",
        group="checkpoint",
        title=title,
        subtitle="own answer against those of other subjects; 95% intervals from resampling subjects",
        caption="1 is knowing; below one half the right answers are avoided.",
        x_title="share of comparisons that the own answer wins",
        x_range=(-0.02, 1.02),
    )
    known = verdicts.base["forced_choice"]["value"]
    for level, dash, text in ((CHANCE, "dash", "chance"), (known, "dot", "base, as asked")):
        figure.add_vline(
            x=level,
            line={"color": style.MUTED, "width": 1.2, "dash": dash},
            annotation={"text": labels.plain(text), "font": {"size": 10.5, "color": style.MUTED}, "yanchor": "bottom"},
            annotation_position="top" if level == CHANCE else "top left",
        )
    return figure
