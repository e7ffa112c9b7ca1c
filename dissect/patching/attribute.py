"""First-order attribution: an estimate of every cell of an activation sweep from one gradient."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dissect.data.prompts import Prompts
from dissect.distributed import is_main
from dissect.errors import DissectError
from dissect.jobs.journal import key_of
from dissect.jobs.shared_journals import journals_of
from dissect.jobs.task import deal
from dissect.keywords import keywords
from dissect.metrics import metric as metrics_by_name
from dissect.metrics.metric import Metric
from dissect.models.origins import check_outputs
from dissect.models.pair import ModelPair
from dissect.patching.attribution_result import AttributionResult
from dissect.patching.contributions import grain_of
from dissect.patching.first_order import Ends, Estimate, scores_of
from dissect.patching.rank_agreement import check_sample
from dissect.patching.sites import Component, check_components
from dissect.sweep.assemble import assemble
from dissect.sweep.batch import batches, scored_positions
from dissect.sweep.check_inputs import check_different, check_inputs, check_run
from dissect.sweep.grid import GridPoint, Label, Layers, windows
from dissect.sweep.sweep import check_out, metrics_of


@keywords(renamed={"metric": "metrics"})
def attribute(
    pair: ModelPair,
    prompts: Prompts,
    components: Component | Sequence[Component] = ("mlp_post", "attn_out"),
    *,
    metrics: str | Metric | Sequence[str | Metric] = "krs",
    per: str | None = None,
    window: int = 1,
    layers: Layers | None = None,
    donor: str = "base",
    recipient: str = "unlearned",
    ig_steps: int = 0,
    batch_size: int = 32,
    check: int = 0,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    task: str | None = None,
    progress: bool = True,
) -> AttributionResult:
    """Estimate what ``dissect.patch`` would measure in every cell, from two forward passes and one backward.

    To first order, putting the donor's activation a_D into the place of the recipient's a_R changes the metric by

        m(patched) - m(recipient)  ≈  Σ (a_D - a_R) · ∂m/∂a |_R

    for each prompt (attribution patching, between two models on one text). So the result reads like that of the exact
    sweep: ``values`` are m(recipient) plus this sum, and ``recovery`` has the same sign and meaning. A positive score
    raises the metric: for ``logprob`` it restores the answer, for a distance such as ``krs`` it leads away.

    It is exact where the rest of the network is linear in the activation. For ``krs`` it holds only near the recipient:
    the distance is quadratic in the logits, so a cell that brings them all back is estimated at recovery 2, and the
    order of the cells is worth more than their size. ``check`` tells how much.

    Args:
        pair, prompts: as for ``patch``.
        components: activation sites, as for ``patch``. A tuple is the sum of its sites.
        metrics: one metric that has a gradient: its name, or one of your own. Other gradients are other calls.
        per: score each ``head`` (of sites that have heads; key/value heads as the model stores them), ``neuron``
            (of ``mlp_post``; a dimension ``neurons``) or ``position`` (counted from the first token of the answer)
            separately. By default all of them are added up.
        window: odd number of layers added up around each centre. A sum: the effect of one member through another,
            which the exact patch overwrites, is counted in both.
        layers: the centres, or sets of layers, as for ``patch``.
        donor, recipient: ``base``, ``unlearned`` or ``retrained``.
        ig_steps: integrated gradients: instead of the gradient in the recipient, its mean over so many points on the
            way from the recipient's activations to the donor's (the middles of equal steps), on which the component
            moves in all layers asked for together. The sum over layers then tends to the effect of patching all of
            them at once, and a layer's value is its share of that: no estimate of the layer patched alone, for which
            the gradient in the recipient is the better one. Costs a forward and a backward pass a step and component.
        batch_size: prompts in one pass.
        check: number of cells, drawn at random, that are also patched exactly; ``agreement`` of the result is
            Spearman's rank correlation between the two.
        seed: random seed of that draw.
        out, overwrite, task: a netCDF file for the result, as for ``patch``; what processes share are batches of
            prompts, and under ``torchrun`` the cells of ``check`` too.
        progress: show a progress bar.

    Returns:
        a result with dimensions (component, layer, [head, neurons or position,] prompt).

    Raises:
        DissectError: something asked for does not exist, or the metric has no gradient; before any model runs.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> heads = dissect.attribute(pair, prompts[:4], ["z"], metrics="logprob", per="head", check=3)
        >>> heads.recovery("logprob").dims
        ('component', 'layer', 'head', 'prompt')
        >>> heads.checked[["layer", "head", "estimate", "exact"]]  # three cells that were patched exactly as well
           layer  head  estimate ...
    """
    check_inputs(pair, prompts)
    check_different(pair, donor, recipient, kept=out is not None)
    donor_model, recipient_model = pair.roles(donor, recipient)
    sites_of = check_components(recipient_model, components)
    layer_sets = windows(layers, window, recipient_model.cfg.n_layers)
    grain = grain_of(recipient_model, sites_of, per, prompts)
    estimate = Estimate(recipient_model, donor_model, sites_of, layer_sets, _only(metrics), grain, ig_steps)
    _check_estimate(estimate, check)
    check_run(recipient_model, prompts, batch_size)
    check_outputs({"out": out}, {"the pair": pair})
    share = check_out(recipient_model, out, task, overwrite=overwrite)
    spec = {
        "kind": "attribution",
        "window": window,
        "donor": donor,
        "recipient": recipient,
        "scoring": "answer",
        "per": per,
        "ig_steps": ig_steps,
        "seed": seed,
    }
    spec |= pair.provenance() | prompts.provenance()
    running: dict[str, Any] = {"batch_size": batch_size, "progress": progress and is_main()}
    if out is None:
        result = _labelled(estimate, prompts, *scores_of(estimate, prompts, **running), spec)
        if check:
            check_sample(result, estimate, prompts, n=check, seed=seed, **running)
        return result

    # With a file, batches are shared between processes and kept in a journal; the checked cells come after them in it.
    key = key_of(_identity(estimate, prompts, batch_size, check, spec))
    with journals_of(recipient_model, out, key, share) as journals:
        sizes = [int(batch.tokens.numel()) for batch in batches(prompts, batch_size)]
        section = journals.section(deal(sizes, [1.0], share.count))
        result = _labelled(estimate, prompts, *scores_of(estimate, prompts, journal=section, **running), spec)
        if check:
            check_sample(result, estimate, prompts, n=check, seed=seed, journals=journals, first=len(sizes), **running)
        journals.finish(lambda: result.save(out))
    return result


def _only(metrics: str | Metric | Sequence[str | Metric]) -> Metric:
    """Return the one metric that a gradient can be of."""
    several = metrics_of(metrics)
    if len(several) > 1:
        names = ", ".join(metric.name for metric in several)
        raise DissectError(
            f"metrics: a gradient is that of one metric, got {names}: name one and call again for others"
        )
    return several[0]


def _identity(
    estimate: Estimate, prompts: Prompts, batch_size: int, check: int, spec: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that must be equal for the numbers of an earlier run to be those of this one, to the bit."""
    return {
        "spec": spec,
        "prompts": prompts.fingerprint(),
        "components": {label: list(sites) for label, sites in estimate.components.items()},
        "windows": [[label, list(members)] for label, members in estimate.windows],
        "grain": [estimate.grain.dim, list(estimate.grain.labels)],
        "metric": estimate.metric.name,
        "batch_size": batch_size,
        "check": check,
        "dtype": str(estimate.recipient.cfg.dtype),
        "device": estimate.recipient.embed.W_E.device.type,
    }


def _check_estimate(estimate: Estimate, check: int) -> None:
    if not estimate.metric.smooth:
        smooth = [name for name in metrics_by_name.available() if metrics_by_name.get(name).smooth]
        raise DissectError(f"metric {estimate.metric.name!r} has no gradient: attribute with {', '.join(smooth)}")
    if estimate.ig_steps < 0:
        raise DissectError(f"ig_steps={estimate.ig_steps}: give 0 for the gradient alone, or a number of steps")
    if check < 0 or check == 1:
        raise DissectError(f"check={check}: give 0 for no check, or at least 2 cells to compare the order of")
    streams = [label for label, sites in estimate.components.items() if any(site.startswith("resid") for site in sites)]
    if estimate.ig_steps and streams and len(estimate.layers) > 1:
        raise DissectError(
            f"ig_steps moves all layers together, and the last layer of {streams[0]!r} overwrites what the others do: "
            "ask for one layer at a time (layers=[l]), or for ig_steps=0"
        )


def _labelled(
    estimate: Estimate,
    prompts: Prompts,
    scores: np.ndarray,
    ends: Ends,
    spec: Mapping[str, Any],
) -> AttributionResult:
    points = [
        GridPoint(component, layer, members) for component in estimate.components for layer, members in estimate.windows
    ]
    values = ends[0] + scores
    table = values[:, :, 0].reshape(len(points), -1)  # with a finer grain a stand-in of the same form, replaced below
    n_scored = scored_positions(prompts, "answer").sum(1).numpy()
    rows = {estimate.metric.name: np.concatenate([np.stack(ends), table])}
    frame = assemble(points, rows, prompts, [estimate.metric], n_scored, spec)
    result = AttributionResult(frame.data)
    if estimate.grain.dim is None:
        return result
    axes: list[Sequence[Label]] = [
        list(estimate.components),
        [layer for layer, _ in estimate.windows],
        estimate.grain.labels,
    ]
    return result.refined(estimate.metric.name, estimate.grain.dim, values, axes)
