"""Depth measures written plainly (transformers, hooks, one unpadded text at a time), and checkpoints to measure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

import dissect
from dissect.data.facts import Facts
from dissect.data.prompts import Prompts
from dissect.measures.examined import Examined, Settings
from tests.support.tiny import randomise

LAYERS = {
    "llama": "model.layers",
    "gemma2": "model.layers",
    "olmo2": "model.layers",
    "gpt2": "transformer.h",
    "neox": "gpt_neox.layers",
}
NORMS = {"llama": "model.norm", "gemma2": "model.norm", "gpt2": "transformer.ln_f", "neox": "gpt_neox.final_layer_norm"}


def retrained(model: PreTrainedModel) -> None:
    """A stand-in for a model that never saw the facts: every weight moves a little, not as ``conftest.moved`` does."""
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    randomise(model, seed=7)
    for name, parameter in model.named_parameters():
        parameter.copy_(before[name] + 0.3 * (parameter - before[name]))


def examined(
    directories: Sequence[Path],
    facts: Facts,
    *,
    dtype: str = "float32",
    settings: Settings | None = None,
    **sets: Facts,
) -> list[Examined]:
    """Base, unlearned and, if there is a third directory, a retrained model, asked about ``facts``."""
    made = [
        Examined(
            dissect.load(directory, dtype=dtype, progress=False),
            {"forget": facts, **sets},
            name=name,
            settings=settings or Settings(batch_size=2),
        )
        for directory, name in zip(directories, ("base", "unlearned", "retrained"), strict=False)
    ]
    for each in made:
        each.attach(base=made[0], retrained=made[2] if len(made) > 2 else None)
    return made


def hf(directory: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager").eval().double()


def texts(prompts: Prompts) -> list[tuple[Tensor, list[int]]]:
    """Token ids [1, pos] of each row, and the places of its answer's tokens."""
    return [
        (row[None, :length], mask.nonzero()[:, 0].tolist())
        for row, length, mask in zip(prompts.tokens, prompts.lengths.tolist(), prompts.answer_mask, strict=True)
    ]


def logprob(model: nn.Module, ids: Tensor, answer: Sequence[int]) -> float:
    logs = model(ids).logits.double().log_softmax(-1)[0]
    return float(np.mean([logs[place - 1, ids[0, place]].item() for place in answer]))


@torch.no_grad()
def drops(
    base: nn.Module,
    source: nn.Module,
    rows: Sequence[tuple[Tensor, list[int]]],
    architecture: str,
    donors: Sequence[tuple[Tensor, list[int]]] | None = None,
) -> np.ndarray:
    """Δ [layer, text]; with ``donors`` the source reads those, answer token for answer token."""
    blocks = base.get_submodule(LAYERS[architecture])
    result = np.zeros((len(blocks), len(rows)))
    for text, ((ids, answer), (read, places)) in enumerate(zip(rows, donors or rows, strict=True)):
        full = logprob(base, ids, answer)
        for layer, block in enumerate(blocks):
            seen: dict[str, Tensor] = {}
            handle = source.get_submodule(LAYERS[architecture])[layer].register_forward_hook(
                lambda module, args, out, seen=seen: seen.update(out=first(out).clone())
            )
            source(read)
            handle.remove()

            def put(module, args, out, state=seen["out"], answer=answer, places=places):
                new = first(out).clone()
                for here, there in zip(answer, places, strict=True):
                    new[0, here - 1] = state[0, there - 1]
                return (new, *out[1:]) if isinstance(out, tuple) else new

            handle = block.register_forward_hook(put)
            result[layer, text] = full - logprob(base, ids, answer)
            handle.remove()
    return result


def first(out: Tensor | tuple) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


@torch.no_grad()
def lens_logits(
    model: nn.Module, head: nn.Module, ids: Tensor, answer: Sequence[int], architecture: str
) -> list[Tensor]:
    """For each layer the logits [answer token, vocabulary] that ``head``'s norm and unembedding read off ``model``."""
    seen: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda module, args, out: seen.append(first(out)))
        for block in model.get_submodule(LAYERS[architecture])
    ]
    model(ids)
    for handle in handles:
        handle.remove()
    norm, unembed = head.get_submodule(NORMS[architecture]), head.get_output_embeddings()
    found = []
    for states in seen:
        logits = unembed(norm(states[0, [place - 1 for place in answer]]).to(unembed.weight.dtype)).double()
        cap = getattr(head.config, "final_logit_softcapping", None)
        found.append(logits if cap is None else cap * torch.tanh(logits / cap))
    return found
