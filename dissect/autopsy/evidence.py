"""Numbers beside the verdict of a report, from stored results: what is said, what depth and restoration find, where."""

from collections.abc import Iterable, Mapping
from math import log
from typing import Any

import numpy as np

from dissect.autopsy.results import Results
from dissect.autopsy.shares import Evidence, Share
from dissect.evaluation.evaluation_result import Evaluation
from dissect.evaluation.scored_row import ScoredRow
from dissect.restoration.smallest_result import SmallestSet, label
from dissect.statistics.bootstrap import of_sums
from dissect.statistics.wilson import edge_interval
from dissect.sweep.results.sweep_result import SweepResult

ANSWERED = ("exact_match", "rouge_l_recall")
"""Measures of answering, in order: the first one that the base model does well enough on counts."""
SHORT = "contains"
"""The measure that counts instead where every forget fact has a short answer: chat models answer in sentences."""
WORDINGS = {"forget": "as asked", "paraphrased": "in other words", "held_out": "in words training never saw"}
_OF_ACTIVATIONS = {
    "shuffled": "with those of another prompt",
    "retrained": "with those of the retrained model",
    "random": "with noise",
}
_OF_PARAMETERS = {
    "random": "in other layers",
    "retrained": "with those of the retrained model",
    "noise": "with as large a change in a random direction",
}
"""Controls of a swap, and what they put in."""
KNOWN = 0.5
"""Share of the forget facts that the base model must answer for a measure of answering to be the one that is shown."""
READABLE = 0.3
"""Erasure depth of retain facts from which depth cannot be read: their states are foreign to the base model too."""
RESTORED = 0.5
"""Recovery from which a restored part brings the behaviour back."""
_FEW = 0.25
"""Largest share of the weights that a set of blocks may have to count as a place."""
BASE, UNLEARNED = "base", "unlearned"


def evidence(results: Results) -> Evidence:
    """Gather the shares; those that were not measured stay None."""
    evaluation = results.evaluation
    shares = _measured(evaluation) if evaluation is not None else {}
    retain = shares.get("depth_retain")
    readable = retain is None or retain.below(READABLE)
    return Evidence(**shares, **_restored(results), place=place(results, readable))


def _measured(evaluation: Evaluation) -> dict[str, Any]:
    """Behaviour, depth and relearning."""
    answered = _answered(evaluation)
    said = {words: share for set, words in WORDINGS.items() if (share := _share(evaluation, answered, set)) is not None}
    known = _row(evaluation, BASE, answered, "forget")
    return {
        "known": None if known is None else _of(known),
        "said": said,
        "retain": _share(evaluation, answered, "retain"),
        "perplexity": _perplexity(evaluation),
        "depth": _first(_row(evaluation, UNLEARNED, name, "forget") for name in ("uds", "erasure_depth")),
        # UDS is not defined on retain facts: a retrained model's states lack nothing of them
        "depth_retain": _first([_row(evaluation, UNLEARNED, "erasure_depth", "retain")]),
        "depth_alike": _first([_row(evaluation, UNLEARNED, "erasure_depth", "forget")]),
        **_relearned(evaluation),
    }


def _answered(evaluation: Evaluation) -> str:
    """The measure of answering: of the short answers where all have one, else what the base model does well on."""
    short, n_facts = _row(evaluation, BASE, SHORT, "forget"), evaluation.spec.get("sets", {}).get("forget", {}).get("n")
    if short is not None and short.n == n_facts:
        return SHORT
    for name in ANSWERED:
        row = _row(evaluation, BASE, name, "forget")
        if row is not None and row.value >= KNOWN:
            return name
    return ANSWERED[0]


def _share(evaluation: Evaluation, measure: str, set: str) -> Share | None:
    """The unlearned model's mean over the base model's, over the same facts; subjects are drawn for the interval."""
    rows = [_row(evaluation, name, measure, set) for name in (UNLEARNED, BASE)]
    if any(row is None or row.items is None for row in rows):
        return None
    after, before = (np.array(row.items) for row in rows if row is not None)
    both = ~(np.isnan(after) | np.isnan(before))
    groups = evaluation.subjects(set)
    groups = None if groups is None or len(groups) != len(both) else groups[both]
    after, before = after[both], before[both]
    if not len(before) or before.mean() == 0:
        return None
    low, high = edge_interval(after, before, groups=groups) or of_sums(
        np.stack([after, before], axis=1), lambda sums: sums[..., 0] / sums[..., 1], groups=groups
    )
    return Share(float(after.mean() / before.mean()), low, high, len(before))


def _perplexity(evaluation: Evaluation) -> float | None:
    rows = [_row(evaluation, name, "perplexity", "texts") for name in (UNLEARNED, BASE)]
    return None if any(row is None for row in rows) else rows[0].value / rows[1].value  # type: ignore[union-attr]


def _relearned(evaluation: Evaluation) -> dict[str, Share | None]:
    """Recovered shares of both models; the difference of their gains as a share of what was lost."""

    def at(model: str = UNLEARNED, **place: Any) -> ScoredRow | None:
        return _row(evaluation, model, "relearning", "forget", place)

    back, control = at(whose="itself", of="recovered"), at(whose="control", of="recovered")
    gain, more = at(whose="itself", of="gain"), at(whose="difference", of="gain")
    before, ours = (at(m, step=0, whose="itself", of="answer probability") for m in (BASE, UNLEARNED))
    lost = 0.0
    if before is not None and ours is not None:
        lost = before.value - ours.value
    elif gain is not None and back is not None and back.value:
        lost = gain.value / back.value
    gained = None
    if more is not None and lost > 0:  # where nothing was lost there is no share of it
        gained = Share(more.value / lost, more.low / lost, more.high / lost, more.n)
    taught = at(whose="itself", of="taught")
    return {
        "taught": None if taught is None else _of(taught),
        "returned": None if back is None else _of(back),
        "returned_control": None if control is None else _of(control),
        "gained": gained,
    }


def _restored(results: Results) -> dict[str, Any]:
    """Value vectors in the best window; coefficients in the best that leaves the last third of the layers alone."""
    values = None if results.parameters is None else _best(results.parameters, "mlp.W_out")
    shares: dict[str, Any] = {"values": _share_of(values)}
    if results.parameters is not None and values is not None:
        shares["values_controls"] = _controls(results.parameters, "mlp.W_out", values[0], _OF_PARAMETERS)
    sweep = results.activations
    if sweep is None:
        return shares
    n_layers = int(results.about["model"]["n_layers"])
    early = [
        layer for layer in _layers(sweep, "mlp_post") if max(_members(sweep, "mlp_post", layer)) < n_layers * 2 / 3
    ]
    best = _best(sweep, "mlp_post", early)
    if best is not None:
        shares |= {
            "coefficients": best[1],
            "coefficients_controls": _controls(sweep, "mlp_post", best[0], _OF_ACTIVATIONS),
        }
    return shares


def _controls(sweep: SweepResult, component: str, layer: int, names: Mapping[str, str]) -> dict[str, Share]:
    """Return the recovery of each control in one window, by its words: swaps that carry nothing of the answer."""
    controls = {}
    for name, words in names.items():
        control = _best(sweep, f"{component} ({name})", [layer])
        if control is not None:
            controls[words] = control[1]
    return controls


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


def place(results: Results, readable: bool = True) -> str:
    """Say where the change that matters sits: the smallest restoring set, and where states lose the answer.

    Args:
        readable: whether depth says anything of these models.
    """
    sentences = []
    if results.smallest is not None and results.smallest.reached and results.smallest.members:
        sentences.append(_set_words(results.smallest))
    layer = _first_lost(results.evaluation) if results.evaluation is not None and readable else None
    if layer is not None:
        sentences.append(f"Its states first cost the base model more than half of the answer after layer {layer}.")
    return " ".join(sentences)


def _set_words(smallest: SmallestSet) -> str:
    names = [label(part) for part in smallest.members]
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    share = smallest.path[-1].n_weights / smallest.n_weights
    if share > _FEW:
        return (
            f"The change is spread out: {len(names)} of {smallest.n_candidates} blocks of the base model's weights "
            f"({share:.0%} of the weights) had to be put back to restore {smallest.recovery:.0%} of its behaviour."
        )
    restored = f"{smallest.recovery:.0%} of its behaviour"
    text = f"The base model's {shown} ({share:.1%} of the weights) put back restore {restored}"
    if smallest.random and max(smallest.random) < RESTORED:
        return f"{text}, as many blocks in other layers at most {max(smallest.random):.0%}."
    return f"{text}."


def _first_lost(evaluation: Evaluation) -> int | None:
    """The first layer whose states cost the base model more than half of the answer's probability: log 2 nats."""
    rows = [r for r in evaluation.rows if (r.model, r.measure, r.set) == (UNLEARNED, "erasure_curve", "forget")]
    hit = [int(row.at["layer"]) for row in rows if _of(row).above(log(2))]
    return min(hit) if hit else None


def _row(
    found: Evaluation, model: str, measure: str, set: str, at: Mapping[str, Any] | None = None
) -> ScoredRow | None:
    rows = [r for r in found.rows if (r.model, r.measure, r.set, dict(r.at)) == (model, measure, set, at or {})]
    return rows[0] if rows else None


def _of(row: ScoredRow) -> Share:
    return Share(row.value, row.low, row.high, row.n)


def _first(rows: Iterable[ScoredRow | None]) -> Share | None:
    return next((_of(row) for row in rows if row is not None and row.value == row.value), None)


def _share_of(best: tuple[int, Share] | None) -> Share | None:
    return None if best is None else best[1]
