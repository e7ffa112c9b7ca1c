"""Concept vectors: single value vectors known to hold a concept, and what unlearning did to them.

Hong et al. 2024, "Intrinsic Test of Unlearning Using Parametric Knowledge Traces" (arXiv:2406.11614). A vector v is the
row of a layer's ``W_out`` that belongs to one neuron (a column of ``down_proj.weight``); what it says is read off from
E·v, E the unembedding, with no norm in between.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.errors import Undefined
from dissect.measures.estimate import Estimate, mean_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import Option, choice, whole_number
from dissect.undoing.gradient_mode import without_gradients

TOP = whole_number("concept.top", 200, "Number of tokens that a vector says most.")
UNEMBEDDING = choice("concept.unembedding", ("own", "base"), "Unembedding that reads this model's vectors.")
VECTORS: Option[Any] = Option(
    "concept.vectors",
    None,
    "Concept vectors as (layer, neuron) pairs, where the facts name none.",
    "a list of (layer, neuron) pairs",
    lambda pairs: isinstance(pairs, (list, tuple)),
)


def concept_jaccard(examined: Examined) -> Estimate:
    """|T ∩ T'| / |T ∪ T'| of the tokens that the vector says most, before and after, each by its own unembedding.

    ``concept.unembedding`` = "base" reads both by the base's; ``concept.top`` is how many tokens.
    """
    top, vocabulary = examined.option(TOP), examined.model.cfg.d_vocab_out
    if not top < vocabulary:
        raise Undefined(f"concept.top must be a number of tokens below the vocabulary's {vocabulary}, got {top}")
    before = examined.base.model
    reader = before if examined.option(UNEMBEDDING) == "base" else examined.model

    def overlap(old: Tensor, new: Tensor) -> float:
        return jaccard(top_tokens(before, old, top), top_tokens(reader, new, top))

    return _mean(examined, overlap)


def concept_cosine(examined: Examined) -> Estimate:
    """cos(v, v'), at most 1."""
    return _mean(examined, cosine)


def concept_distance(examined: Examined) -> Estimate:
    """‖v - v'‖."""
    return _mean(examined, lambda old, new: float(torch.linalg.vector_norm(old - new)))


@without_gradients()
def value_vector(model: HookedTransformer, layer: int, neuron: int) -> Float[Tensor, " d_model"]:
    """Return the neuron's value vector: what it writes into the stream at coefficient 1, in float64, on the CPU."""
    return model.blocks[layer].mlp.W_out[neuron].detach().double().cpu()


@without_gradients()
def top_tokens(model: HookedTransformer, vector: Float[Tensor, " d_model"], n: int) -> list[int]:
    """The n tokens with the highest E·v, the first of equals before the others."""
    matrix = model.unembed.W_U
    exact = matrix if matrix.dtype == torch.float64 else matrix.float()
    scores = vector.to(exact) @ exact
    return np.argsort(-scores.cpu().numpy(), kind="stable")[:n].tolist()


def jaccard(one: Iterable[int], other: Iterable[int]) -> float:
    """Size of the intersection over that of the union."""
    a, b = set(one), set(other)
    return len(a & b) / len(a | b)


def cosine(old: Float[Tensor, " d"], new: Float[Tensor, " d"]) -> float:
    """Cosine of two vectors, at most 1; NaN where one is zero."""
    scale = float(torch.linalg.vector_norm(old) * torch.linalg.vector_norm(new))
    return min(1.0, float(old @ new) / scale) if scale > 0 else float("nan")


def _mean(examined: Examined, of: Callable[[Tensor, Tensor], float]) -> Estimate:
    base, places = examined.base.model, concept_places(examined)
    values = [of(value_vector(base, *at), value_vector(examined.model, *at)) for at in places]
    return mean_of(np.array(values), unit="vectors")


def concept_places(examined: Examined) -> list[tuple[int, int]]:
    """(layer, neuron) of every concept vector: the option ``concept.vectors``, or what the facts are about.

    Raises:
        Undefined: there is none, or the model has no such neuron.
    """
    pairs = examined.option(VECTORS)
    if pairs is None:
        marked = [fact.extra for fact in examined.facts if "Layer" in fact.extra and "Dim" in fact.extra]
        pairs = [(extra["Layer"], extra["Dim"]) for extra in marked]
        if not pairs:
            raise Undefined(
                "no concept vector is annotated: use a ConceptVectors file (Layer and Dim in extra), or give "
                "(layer, neuron) pairs as the option concept.vectors"
            )
    return [_place(pair, examined.model) for pair in dict.fromkeys(map(_pair, pairs))]


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _place(pair: tuple[Any, ...], model: HookedTransformer) -> tuple[int, int]:
    try:
        layer, neuron = (int(number) for number in pair)
    except (TypeError, ValueError):
        raise Undefined(f"a concept vector is a pair (layer, neuron), got {pair!r}") from None
    cfg = model.cfg
    if not (0 <= layer < cfg.n_layers and 0 <= neuron < cfg.d_mlp):
        raise Undefined(
            f"no neuron {neuron} in layer {layer}: the model has layers 0 to {cfg.n_layers - 1} with neurons 0 to "
            f"{cfg.d_mlp - 1}. Concept vectors are those of one model: take the file of this one"
        )
    return layer, neuron


_VECTOR = (
    "of annotated concept vectors (rows of W_out) in the base model and in this one (ConceptVectors, Hong et al. 2024)"
)

MEASURES = (
    Measure(
        name="concept_jaccard",
        label="concept vectors: Jaccard",
        definition=f"Jaccard index of the {TOP.default} tokens with the highest E·v, each model's own unembedding, "
        f"{_VECTOR}",
        family="depth",
        compute=concept_jaccard,
        options=(TOP, UNEMBEDDING, VECTORS),
        sets=("forget",),
        knows="high",
    ),
    Measure(
        name="concept_cosine",
        label="concept vectors: cosine",
        definition=f"cosine {_VECTOR}",
        family="depth",
        compute=concept_cosine,
        options=(VECTORS,),
        sets=("forget",),
        knows="high",
    ),
    Measure(
        name="concept_distance",
        label="concept vectors: distance",
        definition=f"Euclidean distance {_VECTOR}",
        family="depth",
        compute=concept_distance,
        options=(VECTORS,),
        sets=("forget",),
        knows="low",
    ),
)
