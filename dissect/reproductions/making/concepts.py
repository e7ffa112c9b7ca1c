"""Concept vectors and the facts that should hang on them; noise on one vector (Hong et al. 2024, ConceptVectors)."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformer_lens import HookedTransformer

from dissect.data.facts import Facts
from dissect.errors import DissectError
from dissect.undoing.change import undone
from dissect.undoing.gradient_mode import without_gradients


@dataclass(frozen=True)
class Concept:
    """A value vector and the facts that should hang on it."""

    name: str
    layer: int
    neuron: int
    target: Facts
    unrelated: Facts

    @property
    def place(self) -> tuple[int, int]:
        """Layer and neuron."""
        return self.layer, self.neuron


@undone
def noised(
    model: HookedTransformer, layer: int, neuron: int, scale: float, generator: torch.Generator
) -> Iterator[None]:
    """In the body one value vector has noise N(0, scale²) on it; afterwards it is what it was, bit for bit."""
    vector = model.blocks[layer].mlp.W_out.data[neuron]
    before = vector.clone()
    try:
        vector += scale * torch.randn(vector.shape, generator=generator).to(vector)
        yield
    finally:
        vector.copy_(before)


@without_gradients()
def strongest(model: HookedTransformer, token: int) -> tuple[int, int]:
    """Layer and neuron of the value vector v with the highest E·v at a token, E the unembedding."""
    reader = model.unembed.W_U[:, token].float()
    scores = torch.stack([block.mlp.W_out.float() @ reader for block in model.blocks])
    layer, neuron = divmod(int(scores.argmax()), scores.shape[1])
    return layer, neuron


def concepts_of(
    model: HookedTransformer, facts: Facts, unrelated: Facts | None, *, n: Any, n_unrelated: int, seed: int
) -> list[Concept]:
    """Annotated concepts where the facts carry ``Layer`` and ``Dim``, else shared answers with the vectors they have.

    ``n`` keeps so many at most: those with the most facts.

    Raises:
        DissectError: neither.
    """
    annotated = [fact for fact in facts if {"Layer", "Dim"} <= set(fact.extra)]
    by_name: dict[str, list[Any]] = {}
    for fact in annotated or facts:
        name = str(fact.extra.get("Concept", "")) if annotated else fact.target
        if name:
            by_name.setdefault(name, []).append(fact)
    counts = Counter({name: len(own) for name, own in by_name.items() if annotated or len(own) > 1})
    if not counts:
        raise DissectError(
            "no concept: facts need Layer and Dim of their concept vector, or answers that several of them share"
        )
    concepts = []
    for name, _ in counts.most_common(n):
        target = Facts(by_name[name])
        others = _others(facts, unrelated, name, annotated=bool(annotated))
        unrelated_facts = random.Random(f"{seed} {name}").sample(list(others), min(n_unrelated, len(others)))
        first = target[0].extra
        position = (int(first["Layer"]), int(first["Dim"])) if annotated else strongest(model, _token(model, name))
        _check(model, name, position)
        concepts.append(Concept(name, *position, target, Facts(unrelated_facts)))
    return concepts


def another(model: HookedTransformer, concept: Concept, seed: int) -> int:
    """A neuron of the same layer that is not the concept's own."""
    drawn = random.Random(f"{seed} {concept.name} control").randrange((model.cfg.d_mlp or 2) - 1)
    return drawn + (drawn >= concept.neuron)


def _others(facts: Facts, unrelated: Facts | None, name: str, *, annotated: bool) -> Facts:
    """Return facts unrelated to a concept: in ConceptVectors files, the concept's own list of unrelated questions."""
    if annotated and unrelated is not None:
        own = unrelated.filter(lambda fact: str(fact.extra.get("Concept", "")) == name)
        return own if len(own) else unrelated
    return (facts if unrelated is None else facts + unrelated).filter(
        lambda fact: (str(fact.extra.get("Concept", "")) if annotated else fact.target) != name
    )


def _token(model: HookedTransformer, answer: str) -> int:
    """The first token of an answer, as it stands after a blank."""
    tokenizer: Any = model.tokenizer
    ids = tokenizer(f" {answer}", add_special_tokens=False).input_ids
    return int(ids[0])


def _check(model: HookedTransformer, name: str, at: tuple[int, int]) -> None:
    layers, neurons = model.cfg.n_layers, model.cfg.d_mlp or 0
    if not (0 <= at[0] < layers and 0 <= at[1] < neurons):
        raise DissectError(
            f"concept {name!r} has layer {at[0]}, neuron {at[1]}, the model {layers} layers of {neurons}: take "
            "the concepts of this model"
        )
