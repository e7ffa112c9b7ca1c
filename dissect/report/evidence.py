"""From stored results to what the verdict reads."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dissect.evaluation.result import Evaluation
from dissect.evaluation.rows import Row
from dissect.metrics.bootstrap import of_sums
from dissect.report.results import Results
from dissect.report.verdict import KNOWN, RESTORED, Evidence, Share
from dissect.restoration.smallest_result import SmallestSet, label
from dissect.sweep.result import SweepResult

ANSWERED = ("exact_match", "rouge_l_recall")
"""What counts as answering: the first of which the base model has enough on the forget facts."""
WORDINGS = {"forget": "as asked", "paraphrased": "in other words", "held_out": "in words training never saw"}
_FEW = 0.25
"""A set of blocks with a larger share of the weights is no place."""
BASE, UNLEARNED = "base", "unlearned"


def evidence(results: Results) -> Evidence:
    """Gather the shares; what was not measured stays None."""
    found = results.evaluation
    shares = _measured(found) if found is not None else {}
    return Evidence(**shares, **_restored(results), place=place(results))


def _measured(found: Evaluation) -> dict[str, Any]:
    """Behaviour, depth and relearning."""
    answered = _answered(found)
    said = {words: share for set, words in WORDINGS.items() if (share := _share(found, answered, set)) is not None}
    known = _row(found, BASE, answered, "forget")
    return {
        "known": None if known is None else _of(known),
        "said": said,
        "kept": _share(found, answered, "retain"),
        "perplexity": _perplexity(found),
        "depth": _first(_row(found, UNLEARNED, name, "forget") for name in ("uds", "erasure_depth")),
        # UDS is not defined on kept facts: a retrained model's states lack nothing of them
        "depth_kept": _first([_row(found, UNLEARNED, "erasure_depth", "retain")]),
        **_relearned(found),
    }


def _answered(found: Evaluation) -> str:
    """The measure of answering that the base model does well on."""
    for name in ANSWERED:
        row = _row(found, BASE, name, "forget")
        if row is not None and row.value >= KNOWN:
            return name
    return ANSWERED[0]


def _share(found: Evaluation, measure: str, set: str) -> Share | None:
    """The unlearned model's mean over the base model's, over the same facts; drawn in pairs for the interval."""
    rows = [_row(found, name, measure, set) for name in (UNLEARNED, BASE)]
    if any(row is None or row.items is None for row in rows):
        return None
    after, before = (np.array(row.items) for row in rows if row is not None)
    both = ~(np.isnan(after) | np.isnan(before))
    after, before = after[both], before[both]
    if not len(before) or before.mean() == 0:
        return None
    pairs = np.stack([after, before], axis=1)
    low, high = of_sums(pairs, lambda sums: sums[..., 0] / sums[..., 1])
    return Share(float(after.mean() / before.mean()), low, high, len(before))


def _perplexity(found: Evaluation) -> float | None:
    rows = [_row(found, name, "perplexity", "texts") for name in (UNLEARNED, BASE)]
    return None if any(row is None for row in rows) else rows[0].value / rows[1].value  # type: ignore[union-attr]


def _relearned(found: Evaluation) -> dict[str, Share | None]:
    """Recovered shares of both models; the difference of their gains as a share of what was lost."""

    def at(**place: str) -> Row | None:
        return _row(found, UNLEARNED, "relearning", "forget", place)

    back, control = at(whose="itself", of="recovered"), at(whose="control", of="recovered")
    gain, more = at(whose="itself", of="gain"), at(whose="difference", of="gain")
    gained = None
    if more is not None and gain is not None and back is not None and back.value and gain.value:
        lost = gain.value / back.value
        gained = Share(more.value / lost, more.low / lost, more.high / lost, more.n)
    return {
        "returned": None if back is None else _of(back),
        "returned_control": None if control is None else _of(control),
        "gained": gained,
    }


def _restored(results: Results) -> dict[str, Any]:
    """Value vectors in the best window; coefficients in the best that leaves the last third of the layers alone."""
    values = None if results.parameters is None else _best(results.parameters, "mlp.W_out")
    sweep = results.activations
    if sweep is None:
        return {"values": _share_of(values), "coefficients": None, "coefficients_control": None}
    n_layers = int(results.about["model"]["n_layers"])
    early = [
        layer for layer in _layers(sweep, "mlp_post") if max(_members(sweep, "mlp_post", layer)) < n_layers * 2 / 3
    ]
    best = _best(sweep, "mlp_post", early)
    control = None
    if best is not None and "mlp_post (shuffled)" in sweep.data["component"].values:
        control = _best(sweep, "mlp_post (shuffled)", [best[0]])
    return {"values": _share_of(values), "coefficients": _share_of(best), "coefficients_control": _share_of(control)}


def _best(sweep: SweepResult, component: str, layers: list[int] | None = None) -> tuple[int, Share] | None:
    """The layer with the highest mean recovery, and that recovery."""
    if component not in sweep.data["component"].values or layers == []:
        return None
    table = sweep.ci("krs").sel(component=component)
    table = table if layers is None else table.sel(layer=layers)
    if not bool(np.isfinite(table["mean"]).any()):
        return None
    row = table.isel(layer=int(np.argmax(table["mean"].fillna(-np.inf).values)))
    share = Share(float(row["mean"]), float(row["low"]), float(row["high"]), int(row["n"]))
    return int(row["layer"]), share


def _layers(sweep: SweepResult, component: str) -> list[int]:
    """The centres at which a component has cells."""
    if component not in sweep.data["component"].values:
        return []
    return [int(layer) for layer in sweep.data["layer"].values if _members(sweep, component, int(layer))]


def _members(sweep: SweepResult, component: str, layer: int) -> list[int]:
    text = str(sweep.data["members"].sel(component=component, layer=layer).values)
    return [int(number) for number in text.split(",") if number]


def place(results: Results) -> str:
    """Where the change that matters sits, in words: the smallest restoring set, and where states lose the answer."""
    sentences = []
    if results.smallest is not None and results.smallest.reached and results.smallest.members:
        sentences.append(_set_words(results.smallest))
    layer = _first_erased(results.evaluation) if results.evaluation is not None else None
    if layer is not None:
        sentences.append(f"Its states first lose most of the answer after layer {layer}.")
    return " ".join(sentences)


def _set_words(found: SmallestSet) -> str:
    names = [label(part) for part in found.members]
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    share = found.path[-1].n_weights / found.n_weights
    if share > _FEW:
        return (
            f"The change is spread out: a search for few blocks of the base model's weights took {len(names)} of "
            f"{found.n_candidates} ({share:.0%} of the weights) to restore {found.recovery:.0%} of its behaviour."
        )
    text = (
        f"The base model's {shown} ({share:.1%} of the weights) put back restore {found.recovery:.0%} of its behaviour"
    )
    if found.random and max(found.random) < RESTORED:
        return f"{text}, as many blocks in other layers at most {max(found.random):.0%}."
    return f"{text}."


def _first_erased(found: Evaluation) -> int | None:
    """The first layer whose erasure ratio has all of its interval above one half, and is defined for most facts."""
    rows = [r for r in found.rows if (r.model, r.measure, r.set) == (UNLEARNED, "uds_by_layer", "forget")]
    most = max((row.n for row in rows), default=0)
    hit = [int(row.at["layer"]) for row in rows if 2 * row.n >= most and _of(row).above(0.5)]
    return min(hit) if hit else None


def _row(found: Evaluation, model: str, measure: str, set: str, at: Mapping[str, str] | None = None) -> Row | None:
    rows = [r for r in found.rows if (r.model, r.measure, r.set, dict(r.at)) == (model, measure, set, at or {})]
    return rows[0] if rows else None


def _of(row: Row) -> Share:
    return Share(row.value, row.low, row.high, row.n)


def _first(rows: Iterable[Row | None]) -> Share | None:
    return next((_of(row) for row in rows if row is not None and row.value == row.value), None)


def _share_of(best: tuple[int, Share] | None) -> Share | None:
    return None if best is None else best[1]
