"""Diagonal Fisher information: how much the log-probability of the answers hangs on each layer's parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, mean_of, statistic_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import whole_number
from dissect.models.parameters import in_checkpoint, layer_block_parameters
from dissect.models.running.forward import final_residual, logits_at
from dissect.reading.residual_states import drawn
from dissect.undoing.change import undone
from dissect.undoing.gradient_mode import with_gradients

BLOCKS = ("attn", "mlp", "block")
"""Blocks of each layer; ``block`` is the whole layer, norms included."""
MAX_FACTS = whole_number("fisher.max_facts", 200, "Number of facts, drawn by the seed: each takes a backward pass.")


def fisher(examined: Examined) -> list[Estimate]:
    """Trace of the empirical Fisher of each layer and block, and its mean diagonal entry.

    ``scale`` is "trace" (the sum over the block's parameters) or "mean" (the trace over their number).
    """
    traces, sizes = _traces(examined), _sizes(examined.model)
    return [
        mean_of(items / size, layer=layer, block=block, scale=scale)
        for (layer, block), items in traces.items()
        for scale, size in (("trace", 1), ("mean", sizes[layer, block]))
    ]


def fisher_ratio(examined: Examined) -> list[Estimate]:
    """Trace of this checkpoint over that of the base model, of the same facts."""
    base, ours = _traces(examined.base), _traces(examined)
    ratios = []
    for (layer, block), items in ours.items():
        defined = ~np.isnan(items)
        pairs = np.stack([items[defined], base[layer, block][defined]])
        ratios.append(statistic_of([np.arange(pairs.shape[1])], _ratio_of(pairs), layer=layer, block=block))
    return ratios


def _ratio_of(pairs: Float[np.ndarray, "2 fact"]) -> Any:
    def ratio(drawn: Any, axis: int = -1) -> Any:
        own, base = pairs[0][drawn].sum(axis), pairs[1][drawn].sum(axis)
        with np.errstate(invalid="ignore", divide="ignore"):
            return own / base

    return ratio


def squared_gradients(
    model: HookedTransformer, prompts: Prompts, names: Mapping[Any, tuple[str, ...]]
) -> dict[Any, Float[np.ndarray, " fact"]]:
    """Σ_θ (∂ log p(answer of the fact) / ∂θ)² over the parameters of each entry of ``names``, fact by fact.

    log p is the sum over the answer's tokens. The mean over facts is the trace of the empirical Fisher: the answers
    are those given, not drawn from the model. Every gradient is that of one fact: squaring the gradient of a batch
    would square a sum in which facts cancel. Gradients are summed up in float64 and dropped one parameter at a time;
    what stands in ``.grad`` is left alone.
    """
    wanted = sorted({name for group in names.values() for name in group})
    squared = {key: np.zeros(len(prompts)) for key in names}
    device = model.embed.W_E.device
    with with_gradients(), _squared(model, wanted) as squares:
        for i, one in enumerate(prompts.batches(1)):
            squares.clear()
            logits = logits_at(model, final_residual(model, one.tokens.to(device)), one.predicting_mask.to(device))
            targets = one.tokens[one.answer_mask].to(device)
            logits.log_softmax(-1).gather(-1, targets[:, None]).sum().backward()
            for key, group in names.items():
                squared[key][i] = sum(float(squares.get(name, 0.0)) for name in group)
    return squared


@undone
def _squared(model: HookedTransformer, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """In the body a backward pass leaves the squared norm of each named parameter's gradient, and no gradient."""
    squares: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    kept = {name: parameters[name].grad for name in names}
    handles = []

    def keeper(name: str) -> Any:
        def keep(parameter: nn.Parameter) -> None:
            assert parameter.grad is not None
            squares[name] = torch.linalg.vector_norm(parameter.grad, dtype=torch.float64).square()
            parameter.grad = None

        return keep

    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in kept)
        for name in names:
            parameters[name].grad = None
            handles.append(parameters[name].register_post_accumulate_grad_hook(keeper(name)))
        yield squares
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in parameters.items():
            parameter.requires_grad_(required[name])
        for name in names:
            parameters[name].grad = kept[name]


def _traces(examined: Examined) -> dict[tuple[int, str], Float[np.ndarray, " fact"]]:
    """By layer and block; NaN for facts that were not drawn."""
    limit = examined.option(MAX_FACTS)
    if examined.model.cfg.dtype == torch.float16:
        raise Undefined("float16 cannot hold such small gradients: load the model in float32 or bfloat16")

    def make() -> dict[tuple[int, str], np.ndarray]:
        n = len(examined.prompts)
        rows = drawn(np.ones(n, dtype=np.int64), limit, seed=examined.settings.seed)
        names = _names(examined.model)
        traces = squared_gradients(examined.model, examined.prompts[torch.as_tensor(rows)], names)
        spread = {key: np.full(n, np.nan) for key in traces}
        for key, values in traces.items():
            spread[key][rows] = values
        return spread

    return examined.memo(("fisher", examined.set), make)


def _names(model: HookedTransformer) -> dict[tuple[int, str], tuple[str, ...]]:
    """The parameters of each layer and block that the checkpoint has."""
    stored = frozenset(in_checkpoint(model))
    return {
        (layer, block): tuple(name for name in layer_block_parameters(model, block, layer) if name in stored)
        for layer in range(model.cfg.n_layers)
        for block in BLOCKS
    }


def _sizes(model: HookedTransformer) -> dict[tuple[int, str], int]:
    return {key: sum(model.get_parameter(name).numel() for name in names) for key, names in _names(model).items()}


_WHAT = (
    "empirical Fisher (the labels are the given answers) by layer and block: mean over facts of the squared gradient "
    "of log p(answer), each fact's own gradient, answer tokens alone (after arXiv:2505.16831). It is "
    "large where the answers have become unlikely, so it rises as they are forgotten"
)

MEASURES = (
    Measure(
        name="fisher",
        label="Fisher information",
        definition=f"trace and mean entry of the diagonal {_WHAT}",
        family="depth",
        compute=fisher,
        options=(MAX_FACTS,),
        sets=("forget", "retain"),
        slow=True,
    ),
    Measure(
        name="fisher_ratio",
        label="Fisher information, base = 1",
        definition=f"trace over the base model's of the {_WHAT}",
        family="depth",
        compute=fisher_ratio,
        options=(MAX_FACTS,),
        sets=("forget", "retain"),
        slow=True,
    ),
)
