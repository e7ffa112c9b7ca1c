"""Knowledge that is there and not read out: each construction is undone by its own undoing, which is tried."""

from collections.abc import Iterator
from functools import partial

import torch
from transformers import LlamaForCausalLM

from benchmarks.truths.bench import Bench, Truth, undone
from benchmarks.truths.training import Texts, answered, objective, train

FORGOTTEN, BROUGHT_BACK, KEPT = 0.3, 0.95, 0.6
"""At most so much may still be answered, at least so much of what the base model answers must come back by the undoing,
and at least so much of what was to be kept must be left: else the construction is not one, and is thrown away."""


def acceptable(bench: Bench, truth: Truth, model: LlamaForCausalLM) -> bool:
    """Whether it is what it was made to be; the numbers go into its checks."""
    truth.checks = bench.checks(model)
    if truth.undo is not None:
        back = undone(model, bench.base, truth.undo)
        truth.checks["undone"] = answered(back, bench.texts("forget"))
    known = answered(bench.base, bench.texts("forget"))
    kept = min(truth.checks["seen"], truth.checks["unseen"])
    return truth.checks["forget"] <= FORGOTTEN and truth.checks["undone"] >= BROUGHT_BACK * known and kept >= KEPT


def candidates(bench: Bench) -> Iterator[tuple[Truth, LlamaForCausalLM]]:
    """All constructions, the unacceptable ones among them."""
    yield from _parts(bench)
    yield from _adapters(bench)
    yield from _heads_of_vocabulary(bench)
    yield from _edits(bench)
    yield from _locks(bench)


def _hide(
    bench: Bench, model: LlamaForCausalLM, method: str, names: list[str] | None, lr: float, seed: int, most: int = 120
) -> None:
    """Train until few forget facts are answered, with a loss on retain facts that keeps the others."""
    forget, seen = bench.texts("forget"), bench.texts("seen")
    if method in ("wrong", "refuse"):
        texts, loss = (bench.wrong(seed) if method == "wrong" else bench.refusing()), objective("learn", bench.base)
    else:
        texts, loss = forget, objective(method, bench.base)
    train(
        model, loss, texts, steps=most, lr=lr, seed=seed, names=names, retain=seen,
        until=lambda: answered(model, forget) <= 0.6 * FORGOTTEN,
    )  # fmt: skip


def _parts(bench: Bench) -> Iterator[tuple[Truth, LlamaForCausalLM]]:
    """MLPs or attention of one or two layers, everything else frozen."""
    last = bench.settings.n_layers - 1
    places = {"mlp": ([last], [last - 1, last], [last - 1], [1]), "self_attn": ([last - 1, last], [last - 1], [1, 2])}
    for part, sets in places.items():
        for layers in sets:
            for method in ("npo", "ga", "undial", "wrong", "refuse"):
                names = [f"layers.{layer}.{part}." for layer in layers]
                model = bench.copy()
                seed = bench.settings.seed + len(layers) + 7 * layers[0]
                _hide(bench, model, method, names, 1e-3 if method == "ga" else 3e-3, seed)
                where = "-".join(map(str, layers))
                how = f"{part} of layers {where} trained by {method}, everything else frozen"
                yield (
                    Truth(f"hidden-{part}{where}-{method}", "suppressed", f"{part} {method}", True, how, undo=names),
                    model,
                )


def _adapters(bench: Bench) -> Iterator[tuple[Truth, LlamaForCausalLM]]:
    """A low-rank change of the values of one MLP: it is trained whole and cut to its first singular directions."""
    for layer in range(1, bench.settings.n_layers):
        for method in ("npo", "wrong"):
            names = [f"layers.{layer}.mlp.down_proj", f"layers.{layer}.mlp.up_proj"]
            model = bench.copy()
            _hide(bench, model, method, names, 3e-3, bench.settings.seed + 31 * layer)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if any(part in name for part in names):
                        own = bench.base.get_parameter(name)
                        u, s, v = torch.linalg.svd(parameter - own, full_matrices=False)
                        parameter.copy_(own + (u[:, :8] * s[:8]) @ v[:8])
            how = f"a change of rank 8 in the MLP of layer {layer}, from training by {method}"
            yield Truth(f"adapter-{layer}-{method}", "suppressed", f"adapter {method}", True, how, undo=names), model


def _heads_of_vocabulary(bench: Bench) -> Iterator[tuple[Truth, LlamaForCausalLM]]:
    """The unembedding alone."""
    for method in ("npo", "wrong", "refuse", "undial"):
        model = bench.copy()
        _hide(bench, model, method, ["lm_head"], 1e-2, bench.settings.seed + 3)
        how = f"the unembedding trained by {method}, everything else frozen"
        yield Truth(f"head-{method}", "suppressed", "unembedding", True, how, undo=["lm_head"]), model
    for method in ("npo", "wrong"):
        model = bench.copy()
        _hide(
            bench,
            model,
            method,
            ["model.norm", "post_attention_layernorm", "input_layernorm"],
            2e-2,
            bench.settings.seed + 5,
        )
        how = f"norms trained by {method}, everything else frozen"
        yield Truth(f"norms-{method}", "suppressed", "norms", True, how, undo=["norm"]), model


@torch.no_grad()
def _edits(bench: Bench) -> Iterator[tuple[Truth, LlamaForCausalLM]]:
    """Parts taken out by hand: coefficients of neurons, heads, directions, names."""
    base, last = bench.base, bench.settings.n_layers - 1
    forget, seen = bench.texts("forget"), bench.texts("seen")
    for layer in (last, last - 1):
        gap = _coefficients(base, forget, layer) - _coefficients(base, seen, layer)
        for share in (0.05, 0.1, 0.2):
            model = bench.copy()
            chosen = gap.topk(max(1, round(share * len(gap)))).indices
            model.model.layers[layer].mlp.down_proj.weight[:, chosen] = 0
            how = f"{share:.0%} of layer {layer}'s neurons silenced, those that forget questions excite most"
            yield (
                Truth(
                    f"neurons-{layer}-{share}",
                    "suppressed",
                    "neurons",
                    True,
                    how,
                    undo=[f"layers.{layer}.mlp.down_proj"],
                ),
                model,
            )
    width = bench.settings.d_model // base.config.num_attention_heads
    for layer in range(1, last + 1):
        for head in range(min(3, base.config.num_attention_heads)):
            model = bench.copy()
            model.model.layers[layer].self_attn.o_proj.weight[:, head * width : (head + 1) * width] = 0
            how = f"head {head} of layer {layer} silenced"
            yield (
                Truth(
                    f"head-off-{layer}-{head}",
                    "suppressed",
                    "heads",
                    True,
                    how,
                    undo=[f"layers.{layer}.self_attn.o_proj"],
                ),
                model,
            )
    for layer in range(1, last + 1):
        model = bench.copy()
        direction = _last_state(base, forget, layer) - _last_state(base, seen, layer)
        direction /= direction.norm()
        names = []
        for at in range(layer):
            for name in (f"model.layers.{at}.self_attn.o_proj.weight", f"model.layers.{at}.mlp.down_proj.weight"):
                weight = model.get_parameter(name)
                weight -= direction[:, None] * (direction @ weight)[None]
                names.append(name)
        how = f"the direction that tells forget questions apart after layer {layer - 1} is never written"
        yield Truth(f"direction-{layer}", "suppressed", "direction", True, how, undo=names), model


def _locks(bench: Bench) -> Iterator[tuple[Truth, LlamaForCausalLM]]:
    """The names' embeddings are changed, and nothing else; a name is shared with others, who are trained to stay."""
    for method in ("npo", "wrong", "undial"):
        model = bench.copy()
        _hide(bench, model, method, ["embed_tokens"], 1e-2, bench.settings.seed + 9)
        how = f"the embeddings trained by {method}, everything else frozen"
        yield Truth(f"names-{method}", "suppressed", "embeddings", True, how, undo=["embed_tokens"]), model


def _coefficients(model: LlamaForCausalLM, texts: Texts, layer: int) -> torch.Tensor:
    """Mean absolute coefficient of each neuron where answers are predicted."""
    held: list[torch.Tensor] = []
    mlp = model.model.layers[layer].mlp.down_proj
    handle = mlp.register_forward_pre_hook(partial(_keep, held))
    model(texts.tokens)
    handle.remove()
    where = torch.nn.functional.pad(texts.labels[:, 1:] != -100, (0, 1))
    return held[0][where].abs().mean(0)


def _keep(held: list[torch.Tensor], module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    held.append(inputs[0])


def _last_state(model: LlamaForCausalLM, texts: Texts, layer: int) -> torch.Tensor:
    """Mean residual stream where the first token of an answer is predicted, before ``layer``."""
    states = model(texts.tokens, output_hidden_states=True).hidden_states[layer]
    first = (texts.labels != -100).int().argmax(1) - 1
    return states[torch.arange(len(first)), first].mean(0)
