"""Models of which it is known what was done to them, made from the base model of a tiny world."""

from pathlib import Path

import torch

import dissect
from dissect.data.facts import Facts
from dissect.models.running.forward import caching, final_residual

ATTRIBUTE, N_NEURONS, SCALE = "birthplace", 20, -3.0


def one_attribute(demo: Path) -> tuple[Facts, Facts]:
    """Everybody's birthplace, and everything else."""
    facts = dissect.Facts.read(demo / "forget.jsonl") + dissect.Facts.read(demo / "retain.jsonl")
    return (
        facts.filter(lambda fact: fact.extra["attribute"] == ATTRIBUTE),
        facts.filter(lambda fact: fact.extra["attribute"] != ATTRIBUTE),
    )


def suppressed(demo: Path, out: Path) -> tuple[Path, int]:
    """Only coefficients of the last layer are changed: those that write birthplaces are turned down below zero.

    Nothing before the last layer and no value vector moves, so everything that the model knows is still in it. Returns
    the checkpoint and the layer.
    """
    model = dissect.load(demo / "base", progress=False)
    layer = model.cfg.n_layers - 1
    forget, rest = one_attribute(demo)
    written, elsewhere = (_written(model, facts, layer) for facts in (forget, rest))
    chosen = (written - elsewhere.clamp(min=0)).argsort(descending=True)[:N_NEURONS]
    with torch.no_grad():
        model.blocks[layer].mlp.W_in[:, chosen] *= SCALE  # m = act(gate) * in: scales m of these neurons
    dissect.save_hf(model, out)
    return out, layer


def broken(demo: Path, out: Path) -> Path:
    """Noise as large as the weights, everywhere."""
    model = dissect.load(demo / "base", progress=False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in model.checkpoint.frozen:
                parameter += parameter.std() * torch.randn(parameter.shape, generator=generator)
    dissect.save_hf(model, out)
    return out


@torch.no_grad()
def _written(model, facts: Facts, layer: int) -> torch.Tensor:
    """What each neuron adds to the answers' logits, on average."""
    prompts, hook = facts.prompts(model), f"blocks.{layer}.mlp.hook_post"
    with caching(model, [hook]) as cache:
        final_residual(model, prompts.tokens)
    m, targets = cache[hook][prompts.predicting_mask], prompts.tokens[prompts.answer_mask]
    unembedding = model.W_U - model.W_U.mean(1, keepdim=True)
    return (m.T * (model.blocks[layer].mlp.W_out @ unembedding[:, targets])).mean(1)
