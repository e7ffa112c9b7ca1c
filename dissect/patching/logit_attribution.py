r"""Direct logit attribution of the change: which part wrote less of the answer into the residual stream.

The logit of the answer's token y at a position is linear in what the parts c of the model wrote there, once the scale s
of the final norm is taken as observed (C is LayerNorm's centring, or nothing; x = Σ_c x_c the residual stream):

    z = (1/s) g · x + β        g = C (w ⊙ u)        β = u · b + b_U

with w, b the final norm's weight and bias, u the column of the unembedding for y and b_U its bias. Between two models
everything in it differs, and a difference of products is split symmetrically, Δ(a b) = Δa b̄ + ā Δb with Δ the
difference and the bar the mean of the two models. With σ = 1/s, this is exact:

    Δz =  Σ_c σ̄ ḡ · Δx_c                                 each part: embedding, head, attention bias, MLP
        + Δσ mean(g · x)                                 the final norm's rescaling
        + σ̄ C (Δw ⊙ ū) · x̄ + ū · Δb                      the weights of the final norm
        + σ̄ C (w̄ ⊙ Δu) · x̄ + Δu · b̄ + Δb_U              the unembedding

Norms behind a part (Gemma-2, OLMo-2) are linear in the same way, and a change of their scale is shared by the heads
before them. Where the model caps its logits (Gemma-2) this is the logit before the cap. It is the *direct* effect: a
part that changed because an earlier one did counts as changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from dissect.data.foils import NO_FOIL, check_foils, foil_targets
from dissect.data.prompts import Prompts
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.pair import ModelPair
from dissect.models.running import decompose
from dissect.patching.logit_result import DIMS, LogitAttribution
from dissect.provenance import versions
from dissect.sweep.batch import Batch, batches
from dissect.sweep.check_inputs import check_inputs, check_run
from dissect.undoing.gradient_mode import without_gradients

BASELINES = ("nothing", "mean", "foil")
"""Quantities that the answer's logit can be measured from."""


@keywords(renamed={"before": "donor", "after": "recipient", "against": "baseline"})
@without_gradients()
def logit_attribution(
    pair: ModelPair,
    prompts: Prompts,
    *,
    donor: str = "base",
    recipient: str = "unlearned",
    baseline: str = "nothing",
    batch_size: int = 32,
    progress: bool = True,
) -> LogitAttribution:
    """Split the drop of the answer's logit from ``donor`` to ``recipient`` into the parts of the model behind it.

    Positive: the part gives the answer's token less of its logit in the recipient than in the donor. Parts add up to
    the drop.

    Args:
        pair, prompts: as for ``patch``.
        donor, recipient: ``base``, ``unlearned`` or ``retrained``.
        baseline: what the answer's logit is measured from. ``nothing``: the logit itself, which also moves when all
            logits do. ``mean``: the mean logit of the vocabulary. ``foil``: a wrong answer's token, at the one position
            where it parts from the answer (``dissect.data.foils``); prompts without one are NaN.
        batch_size: prompts in one forward pass.
        progress: show a progress bar.

    Returns:
        contributions for each prompt, means over its answer positions, in logits.

    Raises:
        DissectError: a model that the pair does not have, an unknown ``baseline``, prompts longer than the context, no
            foils where they are asked for.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> prompts = dissect.Facts.read("runs/demo/forget.jsonl").prompts(pair.base)
        >>> drop = dissect.logit_attribution(pair, prompts[:4])
        >>> drop.top(3)[["part", "drop"]]
                         part ...
    """
    check_inputs(pair, prompts)
    models = pair.roles(donor, recipient)
    if baseline not in BASELINES:
        raise DissectError(f"baseline={baseline!r}: choose from {', '.join(BASELINES)}")
    check_run(models[0], prompts, batch_size)
    foils = foil_targets(prompts) if baseline == "foil" else None
    if foils is not None:
        check_foils(foils, "baseline='foil'")
    batch_values = []
    with tqdm(total=len(prompts), desc="logit attribution", unit="prompt", disable=not progress) as bar:
        for batch in batches(prompts, batch_size, device=models[0].embed.W_E.device):
            here = None if foils is None else foils[batch.place, : batch.tokens.shape[1]][batch.scored.cpu()]
            batch_values.append(_per_prompt(_split(models, batch, baseline, here), batch, here))
            bar.update(len(batch.tokens))
    values = {name: torch.cat([part[name] for part in batch_values], dim=-1).numpy() for name in batch_values[0]}
    spec: dict[str, Any] = {"kind": "logit attribution", "donor": donor, "recipient": recipient, "baseline": baseline}
    return _labelled(values, prompts, spec | pair.provenance() | prompts.provenance())


@dataclass(frozen=True)
class _Readout:
    """The terms with which a model reads the logit of each scored token out of the residual stream."""

    column: Float[Tensor, "scored d_model"]
    """u"""
    constant: Float[Tensor, " scored"]
    """b_U"""
    gain: Float[Tensor, " d_model"]
    """w"""
    offset: Float[Tensor, " d_model"]
    """b"""

    def to(self, device: torch.device) -> "_Readout":
        """Return a copy on another device: the two models need not share one."""
        return _Readout(*(value.to(device) for value in (self.column, self.constant, self.gain, self.offset)))


def _split(
    models: tuple[HookedTransformer, HookedTransformer], batch: Batch, baseline: str, foils: Tensor | None
) -> dict[str, Tensor]:
    """Every term of the equation, at each scored position; the last axis is the position."""
    home = batch.tokens.device
    first, second = (_readout(model, batch, baseline, foils).to(home) for model in models)
    norm = models[0].ln_final

    def seen_by_stream(vectors: Tensor) -> Tensor:
        return decompose.centred(norm, vectors)

    own = [seen_by_stream(readout.gain * readout.column) for readout in (first, second)]
    mean_column, mean_gain = (first.column + second.column) / 2, (first.gain + second.gain) / 2
    by_gain = seen_by_stream((first.gain - second.gain) * mean_column)
    by_column = seen_by_stream(mean_gain * (first.column - second.column))
    direction = (own[0] + own[1]) / 2
    runs = [_run(model, batch, readout, direction) for model, readout in zip(models, (first, second), strict=True)]
    sigma = (runs[0].sigma + runs[1].sigma) / 2
    stream = (runs[0].final + runs[1].final) / 2
    projected = ((runs[0].final * own[0]).sum(-1) + (runs[1].final * own[1]).sum(-1)) / 2
    offset, column_change = (first.offset + second.offset) / 2, first.column - second.column
    return {
        **{name: sigma * (along - runs[1].parts[name]) for name, along in runs[0].parts.items()},
        "norm_scale": (runs[0].sigma - runs[1].sigma) * projected,
        "ln_final": sigma * (by_gain * stream).sum(-1) + mean_column @ (first.offset - second.offset),
        "unembed": sigma * (by_column * stream).sum(-1) + column_change @ offset + first.constant - second.constant,
        "logit_donor": runs[0].logit,
        "logit_recipient": runs[1].logit,
    }


@dataclass(frozen=True)
class _Run:
    """Contributions of one model's parts at the scored positions."""

    parts: dict[str, Tensor]
    """g · x_c by part; the last axis is the position"""
    final: Float[Tensor, "scored d_model"]
    """x"""
    sigma: Float[Tensor, " scored"]
    """1 / s"""
    logit: Float[Tensor, " scored"]
    """Logit that the model itself computes, before any soft cap."""


def _run(model: HookedTransformer, batch: Batch, readout: _Readout, direction: Float[Tensor, "scored d_model"]) -> _Run:
    home, device = direction.device, model.embed.W_E.device
    written = decompose.written_along(model, batch.tokens.to(device), batch.scored.to(device), direction.to(device))
    normed, scale = decompose.final_norm(model, written.final)
    parts = {
        name: along.to(home)
        for name in ("embed", "pos_embed", "heads", "attn_bias", "mlp")
        if (along := getattr(written, name)) is not None
    }
    logit = (decompose.high(normed).to(home) * readout.column).sum(-1) + readout.constant
    return _Run(parts, decompose.high(written.final).to(home), 1 / scale.to(home), logit)


def _readout(model: HookedTransformer, batch: Batch, baseline: str, foils: Tensor | None) -> _Readout:
    device = model.embed.W_E.device
    column, constant = decompose.target_readout(model, batch.targets.to(device))
    if baseline == "mean":
        mean_column, mean_constant = decompose.mean_readout(model)
        column, constant = column - mean_column, constant - mean_constant
    if foils is not None:
        # Positions without a foil are left out afterwards; token 0 stands in for one here.
        foil_column, foil_constant = decompose.target_readout(model, foils.to(device).clamp(min=0))
        column, constant = column - foil_column, constant - foil_constant
    return _Readout(column, constant, decompose.gain(model.ln_final), decompose.offset(model.ln_final))


def _per_prompt(values: dict[str, Tensor], batch: Batch, foils: Tensor | None) -> dict[str, Tensor]:
    """Mean over the scored positions of each prompt, in float64 on the CPU."""
    rows = batch.rows.cpu()
    counts = torch.ones(len(rows), dtype=torch.float64) if foils is None else (foils != NO_FOIL).double()
    count = torch.zeros(len(batch.tokens), dtype=torch.float64).index_add(0, rows, counts)
    means = {}
    for name, value in values.items():
        total = torch.zeros(*value.shape[:-1], len(batch.tokens), dtype=torch.float64)
        total.index_add_(-1, rows, value.cpu().double() * counts)
        means[name] = total / count  # 0 / 0 where a prompt has no foil: NaN, which is what is meant
    return means


def _labelled(values: Mapping[str, np.ndarray], prompts: Prompts, spec: Mapping[str, Any]) -> LogitAttribution:
    """Name the axes of what was computed; ``values`` have the prompt as their last."""
    variables: dict[str, Any] = {name: ((*DIMS.get(name, ()), "prompt"), value) for name, value in values.items()}
    variables["total"] = ("prompt", values["logit_donor"] - values["logit_recipient"])
    n_layers, n_heads, n_prompts = values["heads"].shape
    coords = {
        "layer": np.arange(n_layers),
        "head": np.arange(n_heads),
        "prompt": np.arange(n_prompts),
        "prompt_text": ("prompt", np.array(prompts.prompt_texts, dtype=str)),
        "question": ("prompt", np.array(prompts.questions, dtype=str)),
        "answer_text": ("prompt", np.array(prompts.answer_texts, dtype=str)),
    }
    attrs = {
        "format": LogitAttribution.FORMAT,
        "spec": json.dumps(dict(spec)),
        "unit": "logits",
        "prompts": prompts.fingerprint(),
        "versions": json.dumps(versions()),
    }
    return LogitAttribution(xr.Dataset(variables, coords=coords, attrs=attrs))
