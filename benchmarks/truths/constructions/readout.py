"""Suppressed without any training: one attribute of everybody is no longer read out, everything else stays.

The strength is searched: it rises until enough is forgotten, and the model must then still keep enough.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.truths.answering import answered
from benchmarks.truths.bench import BIRTHPLACE, Bench
from benchmarks.truths.constructions.blocks import TARGET
from benchmarks.truths.recipe import Made, Recipe
from benchmarks.truths.rows import IGNORED, Rows, asked_in

COEFFICIENTS = (0.1, 0.2, 0.4)
"""Share of the last layer's neurons whose coefficients are turned down, below zero where that is needed."""
ROWS = (0.5, 0.0, -1.0)
"""Factors of the output head's rows of the answers' tokens, to begin with."""
DIRECTIONS = (1, 2)
"""After which of the middle layers the directions are projected out: the first or the second."""
HEADS = (0.0, -0.5, -1.0)
"""Factors of the outputs of the chosen heads."""
ASKED = 60
"""Questions of each kind that a head is chosen by."""


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


def heads(bench: Bench, scale: float) -> Made:
    """Outputs of heads are scaled, one head after the other: each time the one that costs the attribute most and the
    rest least."""
    base, exam = bench.model_of("base"), bench.exam(BIRTHPLACE)
    width = int(base.config.head_dim or 0)
    every = [
        (layer, head)
        for layer in range(bench.settings.n_layers)
        for head in range(base.config.num_attention_heads or 0)
    ]
    mine, rest = (rows[range(0, len(rows), 1 + len(rows) // ASKED)] for rows in (exam.question, exam.retain))

    def change(model: LlamaForCausalLM, chosen: Iterable[tuple[int, int]], by: float) -> None:
        for layer, head in chosen:
            model.model.layers[layer].self_attn.o_proj.weight[:, head * width : (head + 1) * width] *= by

    def cost(model: LlamaForCausalLM, one: tuple[int, int]) -> float:
        weight = model.model.layers[one[0]].self_attn.o_proj.weight
        before = weight.clone()
        change(model, [one], scale)
        difference = answered(model, mine) - answered(model, rest)
        weight.copy_(before)
        return difference

    chosen: list[tuple[int, int]] = []
    model = bench.fresh("base")
    with torch.no_grad():
        while exam.most_said(model) > TARGET and len(chosen) < len(every) // 2:
            chosen.append(min((one for one in every if one not in chosen), key=lambda one: cost(model, one)))
            change(model, chosen[-1:], scale)
    return Made(model=model, how={"scale": scale, "heads": chosen}, undo={})


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
    recipe = partial(Recipe, kind="suppressed", dose=1.0, exact=True, forget=BIRTHPLACE)
    made = []
    for share in COEFFICIENTS:
        made.append(
            recipe(name=f"coefficients-{share:g}", family="coefficients", make=partial(coefficients, share=share))
        )
    for scale in ROWS:
        family = "rows of the output head"
        made.append(recipe(name=f"head-rows-{scale:g}", family=family, make=partial(head_rows, scale=scale)))
    for which in DIRECTIONS:
        made.append(recipe(name=f"direction-{which}", family="direction", make=partial(direction, which=which)))
    for scale in HEADS:
        made.append(recipe(name=f"heads-{scale:g}", family="heads", make=partial(heads, scale=scale)))
    return made
