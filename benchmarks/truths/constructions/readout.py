"""Suppressed without any training: one attribute of everybody is no longer read out, everything else stays.

The strength is searched: it rises until enough is forgotten, and the model must then still keep enough.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.truths.bench import BIRTHPLACE, Bench
from benchmarks.truths.constructions.blocks import TARGET
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import IGNORED, Rows, asked_in

COEFFICIENTS = (0.1, 0.2, 0.4)
"""Share of the last layer's neurons whose coefficients are turned down, below zero where that is needed."""
ROWS = (0.5, 0.0, -1.0)
"""The same of the output head's rows of the answers' tokens, to begin with."""
DIRECTIONS = (1, 2)
"""After which of the middle layers the directions are projected out: the first or the second."""
HEADS = ("one by one", "layer by layer")


def coefficients(bench: Bench, share: float) -> Made:
    """Neurons of the last layer that write the answers are turned down, ever further, until it is enough."""
    layer = bench.settings.n_layers - 1
    base = bench.model_of("base")
    forget, rest = (_rows(bench, part) for part in ("forget", "retain_seen"))
    written, elsewhere = (_written(base, rows, layer) for rows in (forget, rest))
    chosen = (written - elsewhere.clamp(min=0)).argsort(descending=True)[: round(share * len(written))]

    def change(model: LlamaForCausalLM, down: int) -> None:
        model.model.layers[layer].mlp.up_proj.weight[chosen] *= -down  # m = act(gate) up

    return _weakest(bench, change, range(13), {"layer": layer, "neurons": len(chosen)})


def head_rows(bench: Bench, scale: float) -> Made:
    """Rows of the output head of the answers' tokens are scaled, ever further down."""
    tokens = _rows(bench, "forget")
    rows = tokens.labels[tokens.labels != IGNORED].unique()

    def change(model: LlamaForCausalLM, step: int) -> None:
        model.lm_head.weight[rows] *= scale - 0.25 * step

    return _weakest(bench, change, range(9), {"scale": scale, "rows": len(rows)})


def direction(bench: Bench, which: int) -> Made:
    """Directions in which prompts for the attribute differ from others are projected out of all that is written.

    The first is the difference of the means, the others the largest of what differs between its wordings.
    """
    layer = bench.settings.middle[min(which, len(bench.settings.middle)) - 1]
    base = bench.model_of("base")
    mine, rest = (_last_states(base, _rows(bench, part), layer) for part in ("forget", "retain_seen"))
    away = mine - rest.mean(0)
    found = torch.linalg.svd(away, full_matrices=False).Vh

    def change(model: LlamaForCausalLM, count: int) -> None:
        outward = torch.eye(found.shape[1]) - found[:count].T @ found[:count]
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight @ outward)
        for block in model.model.layers[: layer + 1]:
            for module in (block.self_attn.o_proj, block.mlp.down_proj):
                module.weight.copy_(outward @ module.weight)

    return _weakest(bench, change, range(1, 13), {"layer": layer})


def heads(bench: Bench, order: str) -> Made:
    """Heads are ablated, those first whose loss costs the attribute most and the rest least."""
    base, exam = bench.model_of("base"), bench.exam(BIRTHPLACE)
    n_heads, width = base.config.num_attention_heads, base.config.head_dim
    every = [(layer, head) for layer in range(bench.settings.n_layers) for head in range(n_heads)]
    sets = [[one] for one in every]
    if order == "layer by layer":
        sets = [[one for one in every if one[0] == layer] for layer in range(bench.settings.n_layers)]

    def ablate(model: LlamaForCausalLM, chosen: Iterable[tuple[int, int]]) -> None:
        for layer, head in chosen:
            model.model.layers[layer].self_attn.o_proj.weight[:, head * width : (head + 1) * width] = 0

    def cost(chosen: list[tuple[int, int]]) -> float:
        model = bench.fresh("base")
        with torch.no_grad():
            ablate(model, chosen)
        return exam.said(model, ("question",))["question"] - exam.kept(model)

    ranked = [one for each in sorted(sets, key=cost) for one in each]
    size = len(sets[0])
    return _weakest(bench, lambda model, count: ablate(model, ranked[: count * size]), range(1, 9), {"order": order})


def _weakest(
    bench: Bench, change: Callable[[LlamaForCausalLM, int], None], strengths: Iterable[int], how: dict
) -> Made:
    """The base model with the weakest change after which enough is forgotten, or with the strongest."""
    exam = bench.exam(BIRTHPLACE)
    for strength in strengths:
        model = bench.fresh("base")
        with torch.no_grad():
            change(model, strength)
        if exam.most_said(model) <= TARGET:
            break
    return Made(model=model, how={**how, "strength": strength}, undo={})


def _rows(bench: Bench, part: str) -> Rows:
    return bench.answers(asked_in(bench.facts(BIRTHPLACE)[part], "question"))


@torch.no_grad()
def _last_states(model: LlamaForCausalLM, rows: Rows, layer: int) -> Tensor:
    """States after ``layer`` at the last token of each prompt (row, width)."""
    states = model(rows.tokens, output_hidden_states=True).hidden_states[layer + 1]
    first = (rows.labels != IGNORED).int().argmax(1) - 1
    return states[torch.arange(len(rows)), first]


@torch.no_grad()
def _written(model: LlamaForCausalLM, rows: Rows, layer: int) -> Tensor:
    """Mean of what each neuron of ``layer`` adds to the logits of the answers' tokens (neuron)."""
    inputs: list[Tensor] = []
    down = model.model.layers[layer].mlp.down_proj
    handle = down.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    model(rows.tokens)
    handle.remove()
    scored = rows.labels[:, 1:] != IGNORED
    coefficients, targets = inputs[0][:, :-1][scored], rows.labels[:, 1:][scored]
    head = model.lm_head.weight - model.lm_head.weight.mean(0)
    return (coefficients * (head[targets] @ down.weight)).mean(0)


def recipes() -> list[Recipe]:
    """All of them."""
    made: list[tuple[str, str, Callable[[Bench], Made]]] = []
    for share in COEFFICIENTS:
        made.append((f"coefficients-{share:g}", "coefficients", lambda b, s=share: coefficients(b, s)))
    for scale in ROWS:
        made.append((f"head-rows-{scale:g}", "rows of the output head", lambda b, s=scale: head_rows(b, s)))
    for which in DIRECTIONS:
        made.append((f"direction-{which}", "direction", lambda b, w=which: direction(b, w)))
    for order in HEADS:
        made.append((f"heads-{order.replace(' ', '-')}", "heads", lambda b, o=order: heads(b, o)))
    return [
        Recipe(name=name, kind="suppressed", family=family, dose=1.0, exact=True, forget=BIRTHPLACE, make=make)
        for name, family, make in made
    ]
