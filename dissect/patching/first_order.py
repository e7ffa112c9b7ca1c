"""Activation difference times gradient, batch by batch: the arithmetic of first-order attribution."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.foils import check_foils, foil_targets
from dissect.data.prompts import Prompts
from dissect.jobs.journal import JournalRow
from dissect.jobs.journals import JournalSection
from dissect.metrics.metric import Metric, Scored
from dissect.models.running.forward import logits_at
from dissect.patching.contributions import Grain, contributions
from dissect.patching.gradients import Gradients, PromptObjective, gradients
from dissect.patching.sites import hook_name
from dissect.sweep.batch import Batch, batches
from dissect.sweep.grid import Windows
from dissect.sweep.trace import trace
from dissect.undoing.gradient_mode import without_gradients

Scores = Float[np.ndarray, "component window grain prompt"]
"""Estimated changes of the metric."""
Ends = tuple[Float[np.ndarray, " prompt"], Float[np.ndarray, " prompt"]]
"""The metric in the recipient and in the donor as they are."""


@dataclass(frozen=True)
class Estimate:
    """The cells to estimate, between which models, and by which metric."""

    recipient: HookedTransformer
    donor: HookedTransformer
    components: Mapping[str, tuple[str, ...]]
    windows: Windows
    metric: Metric
    grain: Grain
    ig_steps: int

    @property
    def layers(self) -> list[int]:
        """Every layer that some window has."""
        return sorted({layer for _, members in self.windows for layer in members})

    def names(self, sites: Sequence[str]) -> list[str]:
        """The hooks of ``sites`` in all layers."""
        return [hook_name(site, layer) for layer in self.layers for site in sites]

    @property
    def all_names(self) -> list[str]:
        """The hooks of all components."""
        return list(dict.fromkeys(name for sites in self.components.values() for name in self.names(sites)))

    @property
    def fused_attention(self) -> bool:
        """One choice for all passes, as in a sweep: the two ways of computing attention differ by rounding."""
        return not any("pattern" in sites for sites in self.components.values())


def scores_of(
    estimate: Estimate, prompts: Prompts, batch_size: int, progress: bool, journal: JournalSection | None = None
) -> tuple[Scores, Ends]:
    """Scores (component, layer, grain, prompt), and the metric in recipient and donor (prompt).

    With ``journal`` the batches are shared with other processes.
    """
    foils = foil_targets(prompts) if estimate.metric.needs_foils else None
    if foils is not None:
        check_foils(foils, estimate.metric.name)
    cut = list(batches(prompts, batch_size, foils=foils, device=estimate.recipient.embed.W_E.device))
    mine = len(cut) if journal is None else sum(bool(journal.mine(batch.index)) for batch in cut)
    with tqdm(total=mine, desc="attribution", unit="batch", disable=not progress) as bar:

        def compute(batch: Batch) -> JournalRow:
            scores, (own, theirs) = _batch(estimate, batch)
            bar.update()
            return {"scores": scores, "recipient": own, "donor": theirs}

        rows = [compute(batch) for batch in cut] if journal is None else journal.each(cut, compute)
    scores, own, theirs = (
        np.concatenate([row[name].astype(np.float64) for row in rows], axis=-1)
        for name in ("scores", "recipient", "donor")
    )
    return scores, (own, theirs)


def _batch(estimate: Estimate, batch: Batch) -> tuple[Scores, Ends]:
    device = batch.tokens.device
    donor_pass = trace(estimate.donor, batch, estimate.all_names, fused_attention=estimate.fused_attention)
    with without_gradients():
        reference = logits_at(estimate.donor, donor_pass.final, batch.scored.to(donor_pass.final.device)).to(device)

    def objective(logits: Tensor) -> Tensor:
        scored = Scored(logits, reference, batch.targets, batch.foils)
        return estimate.metric.per_prompt(scored, batch.rows, len(batch.tokens))

    own = gradients(estimate.recipient, batch, estimate.all_names, objective, fused_attention=estimate.fused_attention)
    theirs = {name: value.to(device) for name, value in donor_pass.activations.items()}
    scores = np.full((len(estimate.components), len(estimate.windows), len(estimate.grain), len(batch.tokens)), np.nan)
    for row, sites in enumerate(estimate.components.values()):
        slopes = _slopes(estimate, batch, estimate.names(sites), own, theirs, objective)
        single: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(scores.shape[2:]))
        for layer, site in product(estimate.layers, sites):
            name = hook_name(site, layer)
            single[layer] += contributions(
                site, estimate.grain, own.activations[name], theirs[name], slopes[name], batch
            )
        for column, (_, members) in enumerate(estimate.windows):
            scores[row, column] = sum(single[layer] for layer in members)
    return scores, (own.values.cpu().numpy(), objective(reference).cpu().numpy())


def _slopes(
    estimate: Estimate,
    batch: Batch,
    names: Sequence[str],
    own: Gradients,
    theirs: Mapping[str, Tensor],
    objective: PromptObjective,
) -> Mapping[str, Tensor]:
    """The gradient in the recipient, or its mean along the way to the donor."""
    if not estimate.ig_steps:
        return own.gradients
    means = {name: torch.zeros_like(own.gradients[name]) for name in names}
    for step in range(estimate.ig_steps):
        share = (step + 0.5) / estimate.ig_steps
        between = {name: torch.lerp(own.activations[name], theirs[name], share) for name in names}
        there = gradients(
            estimate.recipient, batch, names, objective, replaced=between, fused_attention=estimate.fused_attention
        )
        for name in names:
            means[name] += there.gradients[name] / estimate.ig_steps
    return means
