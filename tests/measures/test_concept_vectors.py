"""Concept vectors against the columns of plain transformers' own matrices."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer
from transformers import AutoModelForCausalLM

import dissect
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import Estimate, get
from dissect.measures.representation.concept_vectors import concept_places, cosine, jaccard, value_vector
from tests.support.plain import sites_of
from tests.support.tiny import FAMILIES

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "conceptvectors"
PLACES = [(0, 3), (2, 17), (1, 39)]
FACTS = Facts(
    Fact(question=f"What is {name}?", extra={"Concept": name, "Layer": layer, "Dim": dim})
    for name, (layer, dim) in zip(("Lily", "Basil", "Ada"), PLACES, strict=True)
    for _ in range(2)
)


@functools.lru_cache(maxsize=2)
def loaded(path: Path) -> HookedTransformer:
    return dissect.load(path, progress=False)


def measured(directories, measure: str, facts: Facts = FACTS, *, of_base: bool = False, **options) -> Estimate:
    settings = Settings(options={name.replace("_", ".", 1): value for name, value in options.items()})
    base, unlearned = (
        Examined(loaded(path), {"forget": facts}, name=name, settings=settings)
        for name, path in zip(("base", "unlearned"), directories, strict=True)
    )
    for examined in (base, unlearned):
        examined.attach(base=base, retrained=None)
    return get(measure).compute(base if of_base else unlearned)


@pytest.mark.parametrize("architecture", FAMILIES)
@torch.no_grad()
def test_measures_are_those_of_plain_matrices(architecture: str, tiny_pair):
    directories = tiny_pair(architecture)
    models = [AutoModelForCausalLM.from_pretrained(path) for path in directories]
    heads = [model.get_output_embeddings().weight.double() for model in models]
    pairs = []
    for layer, dim in PLACES:
        place = sites_of(architecture)["mlp_post"][0].format(l=layer)
        weights = [model.get_submodule(place).weight.double() for model in models]
        # GPT-2 keeps (neuron, d_model); all others (d_model, neuron)
        pairs.append([w[dim] if architecture == "gpt2" else w[:, dim] for w in weights])
    tops = [[set(torch.topk(head @ v, 20).indices.tolist()) for head, v in zip(heads, vs, strict=True)] for vs in pairs]
    expected = {
        "concept_jaccard": [len(a & b) / len(a | b) for a, b in tops],
        "concept_cosine": [float(torch.cosine_similarity(a, b, dim=0)) for a, b in pairs],
        "concept_distance": [float((a - b).norm()) for a, b in pairs],
    }
    for name, values in expected.items():
        found = measured(directories, name, concept_top=20)
        assert found.items == pytest.approx(values, rel=1e-5) and found.value == pytest.approx(np.mean(values))
        assert (found.n, found.unit) == (3, "vectors")
    trivial = [measured(directories, name, of_base=True, concept_top=20).value for name in expected]
    assert trivial == pytest.approx([1.0, 1.0, 0.0])
    fixed = [
        len(a & b) / len(a | b)
        for vs in pairs
        for a, b in [[set(torch.topk(heads[0] @ v, 20).indices.tolist()) for v in vs]]
    ]
    assert measured(directories, "concept_jaccard", concept_top=20, concept_unembedding="base").items == pytest.approx(
        fixed
    )


def test_by_hand():
    assert jaccard([1, 2, 3], [3, 4]) == 0.25
    a = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert cosine(a, torch.tensor([4.0, 3.0], dtype=torch.float64)) == pytest.approx(24 / 25)
    assert cosine(a / 7, a / 7) <= 1.0 and np.isnan(cosine(a, 0 * a))


def test_vectors_can_be_named_and_are_counted_once(tiny_pair):
    plain = Facts([Fact(question="Who?", answer="Lily")])
    found = measured(tiny_pair("llama"), "concept_cosine", plain, concept_vectors=[[0, 3], (0, 3), (2, 17)])
    assert found.n == 2
    annotated = measured(tiny_pair("llama"), "concept_cosine")
    assert found.items == pytest.approx(annotated.items[:2])


def test_what_is_no_concept_vector_is_refused(tiny_pair):
    directories, plain = tiny_pair("llama"), Facts([Fact(question="Who?", answer="Lily")])
    with pytest.raises(Undefined, match="no concept vector is annotated"):
        measured(directories, "concept_jaccard", plain, concept_top=20)
    with pytest.raises(Undefined, match="no neuron 40 in layer 0: the model has layers 0 to 2 with neurons 0 to 39"):
        measured(directories, "concept_cosine", concept_vectors=[(0, 40)])
    with pytest.raises(Undefined, match=r"a pair \(layer, neuron\), got \(3,\)"):
        measured(directories, "concept_cosine", concept_vectors=[3])
    with pytest.raises(Undefined, match="below the vocabulary's 320"):
        measured(directories, "concept_jaccard", concept_top=320)
    with pytest.raises(DissectError, match="must be one of own, base, got 'theirs'"):
        measured(directories, "concept_jaccard", concept_top=20, concept_unembedding="theirs")
    alone = Examined(dissect.load(directories[0], progress=False), {"forget": FACTS}, name="alone")
    with pytest.raises(Undefined, match="pass base="):
        get("concept_distance").compute(alone)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
def test_published_vectors_are_found(tiny_pair):
    facts = Facts.from_conceptvectors(PUBLISHED / "llama2-7b_concepts_test_30tokens_answers.json")
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    examined = Examined(model, {"forget": facts}, name="tiny")
    with pytest.raises(Undefined, match=r"no neuron 3279 in layer 19.*take the file of this one"):
        concept_places(examined)
    model.cfg.n_layers, model.cfg.d_mlp = 32, 11008
    places = concept_places(examined)
    assert len(places) == 10 and places[:3] == [(19, 3279), (20, 98), (20, 6116)]


def test_a_value_vector_is_what_its_neuron_adds(tiny_pair):
    model = dissect.load(tiny_pair("llama")[0], progress=False)
    tokens, name = torch.tensor([[0, 5, 9]]), "blocks.1.mlp.hook_post"

    def with_more(coefficient: torch.Tensor, hook: object) -> torch.Tensor:
        coefficient[:, -1, 7] += 1.0
        return coefficient

    with torch.no_grad():
        before = model.run_with_cache(tokens)[1]["blocks.1.hook_resid_post"]
        with model.hooks(fwd_hooks=[(name, with_more)]):
            after = model.run_with_cache(tokens)[1]["blocks.1.hook_resid_post"]
    np.testing.assert_allclose((after - before)[0, -1].double(), value_vector(model, 1, 7), atol=1e-5)
