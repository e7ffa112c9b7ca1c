"""Which weights: what restoring parameters brings back, the smallest set that is enough, what moved."""

from collections import Counter
from functools import partial
from typing import Any

from dissect import plots
from dissect.autopsy.page import Section, Table
from dissect.autopsy.results import Results
from dissect.autopsy.sections.absent import absent, drawn
from dissect.autopsy.sections.curves import names_of
from dissect.plots.labels import component as label
from dissect.plots.labels import counted, split_control
from dissect.restoration.smallest_result import SmallestSet
from dissect.sweep.results.peaks import peaks
from dissect.sweep.results.sweep_result import SweepResult

_DRIFT = (
    ("relative_norm", "Relative norm of the change"),
    ("moved_4bit", "Share that differs after rounding to 4 bits"),
)


def weights(results: Results) -> Section:
    """Restored blocks by layer, the way to the smallest set, the drift map."""
    parts: list[Any] = []
    if results.parameters is None:
        parts.append(absent(results, "parameters", "The restoration of parameters"))
    else:
        plain = [name for name in names_of(results.parameters) if not split_control(name)[1]]
        shown = SweepResult(results.parameters.data.sel(component=plain))
        rows = [(label(p.component), f"{p.mean:.3f}", p.interval, p.place) for p in peaks(shown.ci())]
        parts += [
            "Parameters of the base model are put into the unlearned one. Value vectors W_V are said to store facts; "
            "larger parts of a layer show whether the change sits anywhere in it.",
            drawn(lambda: plots.curves(shown), "Recovery with restored parameters."),
            Table(("put back", "highest mean", "95% interval", "at"), rows),
        ]
    if results.smallest is None:
        parts.append(absent(results, "smallest", "The smallest restoring set"))
    elif len(results.smallest.path) > 1:
        parts += [
            set_words(results.smallest, int(results.about["model"]["n_layers"])),
            drawn(partial(plots.path, results.smallest), "The way to the set."),
        ]
    if results.drift is None:
        parts.append(absent(results, "drift", "The drift map"))
    else:
        parts += [
            "How far each block moved: the norm of the change over the norm of the base model's parameters, and the "
            "share of its weights that still differ when both are rounded to 4 bits.",
            *(drawn(partial(plots.heatmap, results.drift, name, title=title), "") for name, title in _DRIFT),
        ]
    return Section("Which weights", parts)


def set_words(smallest: SmallestSet, n_layers: int) -> str:
    """Say how many blocks it takes, and what as many random ones restore."""
    share = smallest.path[-1].n_weights / smallest.n_weights
    reached = "" if smallest.reached else ", which it did not reach"
    random = (
        f"recover {min(smallest.random):.3f} to {max(smallest.random):.3f}" if smallest.random else "were not tried"
    )
    n = counted(smallest.spec["n_prompts"], "fact") if "n_prompts" in smallest.spec else "the facts"
    return (
        f"A search on {n} for a small set of blocks that restores a recovery of {smallest.threshold:g}{reached} took "
        f"{len(smallest.members)} of {smallest.n_candidates} blocks, {share:.1%} of the weights. As many blocks of "
        f"the same kinds in random layers {random}. Where that is nearly as much, it matters little which blocks are "
        f"restored, unless the random sets are nearly the same set: they share at least {_shared(smallest, n_layers)} "
        f"of the {len(smallest.members)} blocks."
    )


def _shared(smallest: SmallestSet, n_layers: int) -> int:
    """Blocks that every set of the same kinds must share with this one: there are only so many layers."""
    counts = Counter(part[1] for part in smallest.members if not isinstance(part, str))
    outside = sum(isinstance(part, str) for part in smallest.members)
    return outside + sum(max(0, 2 * count - n_layers) for count in counts.values())
