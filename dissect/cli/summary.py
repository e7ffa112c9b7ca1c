"""What a sweep says, in a few lines of text."""

from collections.abc import Sequence

from dissect.sweep.result import SweepResult


def peaks(result: SweepResult, *, seed: int = 0) -> str:
    """Where the mean recovery of each component is highest, for each metric."""
    blocks = []
    for metric in result.metrics:
        table = result.ci(metric, seed=seed)
        rows: list[Sequence[str]] = [(f"recovery of {metric}", "highest mean", "95 % interval", "at layer", "swapped")]
        for component in table["component"].values:
            means = table["mean"].sel(component=component)
            if not bool(means.notnull().any()):
                rows.append((str(component), "nothing to recover", "", "", ""))
                continue
            place = means.fillna(-float("inf")).argmax("layer")
            best = table.sel(component=component).isel(layer=place)
            members = str(result.data["members"].sel(component=component, layer=best["layer"]).item())
            interval = f"{float(best['low']):.3f} to {float(best['high']):.3f}" if bool(best["low"].notnull()) else "-"
            rows.append((str(component), f"{float(best['mean']):.3f}", interval, str(int(best["layer"])), members))
        blocks.append(columns(rows))
        undefined = int(table["n_undefined"].max())
        if undefined:
            blocks.append(
                f"{undefined} of {result.data.sizes['prompt']} prompts had nothing to recover and are left out"
            )
    return "\n".join(blocks)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
