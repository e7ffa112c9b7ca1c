"""The drop of the answer's logit, part by part, as labelled numbers."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
import xarray as xr

from dissect.stored_result import StoredDataset

DIMS: Mapping[str, tuple[str, ...]] = {
    "embed": (),
    "pos_embed": (),
    "heads": ("layer", "head"),
    "attn_bias": ("layer",),
    "mlp": ("layer",),
    "norm_scale": (),
    "ln_final": (),
    "unembed": (),
}
"""The parts, each with its dimensions before ``prompt``."""
SHOWN = 8


class LogitAttribution(StoredDataset):
    """Drop of the answer's logit that each part accounts for, for every prompt (mean over its answer positions).

    ``data`` is an ``xarray.Dataset`` in logits, positive where the part gives the answer less in the
    recipient than in the donor: ``embed``, ``pos_embed`` (where positions are added to the stream), ``heads``
    (layer, head), ``attn_bias`` and ``mlp`` (layer), ``norm_scale`` (the final norm divides by another scale),
    ``ln_final`` and ``unembed`` (their weights), all by prompt; ``logit_donor`` and ``logit_recipient``, as the models
    themselves give them (before a soft cap), and ``total``, their difference.
    """

    FORMAT = "dissect-logits-2"
    WRITER = "LogitAttribution.save"

    @property
    def total(self) -> xr.DataArray:
        """The drop itself, (prompt)."""
        return self.data["total"]

    def parts(self) -> xr.DataArray:
        """Each contribution, (part, prompt), with coordinates ``kind``, ``layer``, ``head`` (-1 where it has none)."""
        rows, kinds, layers, heads = [], [], [], []
        for kind, dims in DIMS.items():
            if kind not in self.data:
                continue
            values = self.data[kind].transpose(*dims, "prompt").values
            for index in np.ndindex(values.shape[:-1]):
                rows.append(values[index])
                kinds.append({"heads": "head"}.get(kind, kind))
                layers.append(index[0] if index else -1)
                heads.append(index[1] if len(index) > 1 else -1)
        names = [_name(*labels) for labels in zip(kinds, layers, heads, strict=True)]
        coords = {"part": names, "kind": ("part", kinds), "layer": ("part", layers), "head": ("part", heads)}
        return xr.DataArray(
            np.stack(rows),
            dims=("part", "prompt"),
            coords={**coords, "prompt": self.data["prompt"].values},
            name="drop",
        )

    def remainder(self) -> xr.DataArray:
        """The drop that the parts leave unexplained, (prompt): rounding, and nothing else."""
        return (self.total - self.parts().sum("part", skipna=False)).rename("remainder")

    def by_layer(self) -> xr.Dataset:
        """``attn`` (heads and bias) and ``mlp`` of each layer, (layer, prompt)."""
        attention = self.data["heads"].sum("head", skipna=False) + self.data["attn_bias"]
        return xr.Dataset({"attn": attention, "mlp": self.data["mlp"]})

    def top(self, n: int = SHOWN) -> pd.DataFrame:
        """The parts that moved the answer's logit most on average: name, mean drop, share of the mean total."""
        mean = self.parts().mean("prompt").to_series().rename("drop")
        largest = mean.reindex(mean.abs().sort_values(ascending=False).index)[:n]
        total = float(self.total.mean("prompt"))
        return pd.DataFrame({"drop": largest, "share": largest / total if total else np.nan}).reset_index()

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each part and prompt: part, kind, layer, head, prompt, drop."""
        return self.parts().to_dataframe().reset_index()

    def __repr__(self) -> str:
        first = ", ".join(f"{row.part} {row.drop:+.3g}" for row in self.top(4).itertuples())
        return f"LogitAttribution({self._summary()}; {first})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(row.part))}</td><td>{row.drop:+.3f}</td><td>{row.share:.1%}</td></tr>"
            for row in self.top().itertuples()
        )
        head = f"<p><b>LogitAttribution</b>: {escape(self._summary())}</p>"
        return f"<div>{head}<table><tr><th>part</th><th>mean drop</th><th>of the whole</th></tr>{rows}</table></div>"

    def _summary(self) -> str:
        spec, baseline = self.spec, self.spec["baseline"]
        what = "the answer's logit" + ("" if baseline == "nothing" else f" above the {baseline}")
        return (
            f"{what} drops by {float(self.total.mean('prompt')):.3g} from {spec['donor']} to {spec['recipient']}, "
            f"{self.data.sizes['prompt']} prompts, parts add up to {float(np.abs(self.remainder()).max()):.1g}"
        )


def _name(kind: str, layer: int, head: int) -> str:
    return kind if layer < 0 else f"{kind} {layer}" if head < 0 else f"{kind} {layer}.{head}"
