"""How a sweep looks in a notebook."""

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dissect.sweep.result import SweepResult


def html(result: "SweepResult") -> str:
    """A table with one row a component: where its recovery peaks, and what it is over all layers."""
    spec, data = result.spec, result.data
    blocks = []
    for metric, about in result.metrics.items():
        table = result.ci(metric)
        rows = []
        for component in data["component"].values:
            row = table.sel(component=component)
            if not bool(row["mean"].notnull().any()):
                rows.append(f"<tr><td>{escape(str(component))}</td><td colspan=4>nothing to recover</td></tr>")
                continue
            best = row.isel(layer=int(row["mean"].argmax("layer")))
            rows.append(
                f"<tr><td>{escape(str(component))}</td><td>{float(best['mean']):.3f}</td>"
                f"<td>{float(best['low']):.3f} to {float(best['high']):.3f}</td>"
                f"<td>{int(best['layer'])}</td><td>{float(row['mean'].mean()):.3f}</td></tr>"
            )
        unit = f" ({about['unit']})" if about["unit"] else ""
        blocks.append(
            f"<p><b>recovery of {escape(metric)}</b>: {escape(about['label'])}{escape(unit)}</p>"
            "<table><tr><th>component</th><th>highest mean</th><th>95 %</th><th>at layer</th>"
            f"<th>mean over layers</th></tr>{''.join(rows)}</table>"
        )
    made = (
        f"{spec.get('donor')} into {spec.get('recipient')}, window {spec.get('window')}, "
        f"{data.sizes['prompt']} prompts, {data.sizes['layer']} layers"
    )
    return f"<div><p><b>SweepResult</b>: {escape(made)}</p>{''.join(blocks)}</div>"
