"""Depth: UDS and its kin on arrays worked out by hand, against plain hooks, and where nothing is defined."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError, Undefined
from dissect.measures import measure
from dissect.measures.depth import erasure_curve
from dissect.measures.depth.erasure_curve import drops
from dissect.measures.depth.erasure_depth import depths, lost, other_drops
from dissect.measures.depth.uds import depth_scores, erasure_ratios
from dissect.measures.examined import Settings
from dissect.patching.patch import patch
from dissect.reading.other_question import drops_between, other_questions
from tests.support import depth
from tests.support.tiny import make_checkpoint

CLOSE = {"llama": 1e-5, "gpt2": 1e-8, "neox": 1e-6, "gemma2": 1e-5}
FOUR = list(CLOSE)


@pytest.fixture(scope="session")
def triple(tiny_pair, tmp_path_factory):
    """Directories of base, unlearned and retrained checkpoints of an architecture."""
    made: dict[str, list[Path]] = {}

    def get(architecture: str) -> list[Path]:
        if architecture not in made:
            third = tmp_path_factory.mktemp("retrained") / architecture
            make_checkpoint(architecture, third, change=depth.retrained)
            made[architecture] = [*tiny_pair(architecture), third]
        return made[architecture]

    return get


def compute(name, examined):
    return measure.get(name).compute(examined)


# facts: all layers count; the second and third do not; none; none, 0.05 is not above 0.05
REFERENCE = np.array([[0.2, 1.0, 0.01, 0.05], [0.4, 0.05, 0.0, 0.02], [1.4, -3.0, -1.0, 0.05]])
EVALUATED = np.array([[0.1, 0.25, 9.0, 9.0], [0.8, 9.0, 9.0, 9.0], [-0.7, 9.0, 9.0, 9.0]])


def test_score_by_hand():
    nan = np.nan
    ratios = [[0.5, 0.25, nan, nan], [1.0, nan, nan, nan], [0.0, nan, nan, nan]]  # 2 is cut to 1, -0.5 to 0
    np.testing.assert_allclose(erasure_ratios(REFERENCE, EVALUATED), ratios)
    # (0.2 · 0.5 + 0.4 · 1 + 1.4 · 0) / 2
    np.testing.assert_allclose(depth_scores(REFERENCE, EVALUATED), [0.25, 0.25, nan, nan])
    # with a lower threshold the second fact's second layer, and the last fact's, count too
    np.testing.assert_allclose(depth_scores(REFERENCE, EVALUATED, 0.03), [0.25, (1.0 * 0.25 + 0.05) / 1.05, nan, 1.0])


def test_the_ends_of_the_scale():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5, 40))
    known = (reference > 0.05).any(0)
    np.testing.assert_array_equal(depth_scores(reference, np.zeros_like(reference))[known], 0.0)
    np.testing.assert_allclose(depth_scores(reference, reference)[known], 1.0, rtol=1e-12)
    np.testing.assert_allclose(depth_scores(reference, 0.3 * reference)[known], 0.3, rtol=1e-12)


@pytest.mark.parametrize("architecture", FOUR)
def test_drops_equal_plain_hooks(architecture, triple, facts):
    """As closely as transformers computes: its RMS norms and rotations are in float32 in a float64 model too."""
    base, *others = depth.examined(triple(architecture), facts, dtype="float64")
    models = [depth.hf(directory) for directory in triple(architecture)]
    rows = depth.texts(base.prompts)
    for examined, model in zip(others, models[1:], strict=True):
        expected = depth.drops(models[0], model, rows, architecture)
        assert np.abs(expected).max() > 0.05
        actual = drops(examined, base)
        np.testing.assert_allclose(actual, expected, atol=CLOSE[architecture])


@pytest.mark.parametrize("architecture", [*FOUR, "olmo2"])
def test_a_model_patched_into_itself_loses_exactly_nothing(architecture, triple, facts):
    base, unlearned, retrained = depth.examined(triple(architecture), facts)
    assert (drops(base, base) == 0).all()
    assert compute("uds", base).value == 0
    assert compute("uds", retrained).value == 1
    assert [e.value for e in compute("erasure_curve", base)] == [0.0] * base.model.cfg.n_layers
    assert not np.nan_to_num(depths(other_drops(base), drops(base, base))).any()
    assert 0 <= compute("uds", unlearned).value <= 1


def test_the_measure_is_the_mean_over_facts_that_say_something(triple, facts):
    base, unlearned, retrained = depth.examined(triple("llama"), facts)
    models = [depth.hf(directory) for directory in triple("llama")]
    rows = depth.texts(base.prompts)
    s1, s2 = (depth.drops(models[0], model, rows, "llama") for model in (models[2], models[1]))
    per_fact = []
    for one, two in zip(s1.T, s2.T, strict=True):
        chosen = [layer for layer in range(len(one)) if one[layer] > 0.05]
        if chosen:
            ratio = {layer: min(max(two[layer] / one[layer], 0.0), 1.0) for layer in chosen}
            per_fact.append(sum(one[x] * ratio[x] for x in chosen) / sum(one[x] for x in chosen))
    found = compute("uds", unlearned)
    assert found.n == len(per_fact) > 0
    assert found.value == pytest.approx(np.mean(per_fact), abs=1e-4)
    assert np.isnan(found.items).sum() == len(facts) - len(per_fact)
    layers = compute("uds_by_layer", unlearned)
    assert [e.at["layer"] for e in layers] == [0, 1, 2]
    for estimate, one, two in zip(layers, s1, s2, strict=True):
        inside = one > 0.05
        assert estimate.n == inside.sum()
        if inside.any():
            assert estimate.value == pytest.approx(np.clip(two[inside] / one[inside], 0, 1).mean(), abs=1e-4)
        else:
            assert np.isnan(estimate.value)
    curve = compute("erasure_curve", retrained)
    np.testing.assert_allclose([e.value for e in curve], s1.mean(1), atol=1e-5)


def test_the_retrained_model_is_run_once(triple, facts, monkeypatch):
    ran = []

    def counting(pair, *args, **how):
        ran.append(pair.unlearned)
        return patch(pair, *args, **how)

    monkeypatch.setattr(erasure_curve, "patch", counting)
    base, unlearned, retrained = depth.examined(triple("llama"), facts)
    for examined in (unlearned, base, retrained):
        for name in ("uds", "uds_by_layer", "erasure_curve", "erasure_depth"):
            compute(name, examined)
    assert ran == [retrained.model, unlearned.model, base.model]


def test_other_components(triple, facts):
    settings = Settings(options={"uds.component": "attn_out"})
    base, unlearned, retrained = depth.examined(triple("llama"), facts, settings=settings)
    found = drops(unlearned, base, component="attn_out")
    assert (drops(base, base, component="attn_out") == 0).all()
    assert np.abs(found - drops(unlearned, base)).max() > 1e-3
    expected = depth_scores(drops(retrained, base, component="attn_out"), found)
    np.testing.assert_array_equal(compute("uds", unlearned).items, expected)


def test_what_is_not_defined_is_refused(triple, facts):
    base, unlearned = depth.examined(triple("llama")[:2], facts)
    with pytest.raises(Undefined, match="trained without the forget facts"):
        compute("uds", unlearned)
    assert len(compute("erasure_curve", unlearned)) == 3
    base.attach(base=base, retrained=base)
    unlearned.attach(base=base, retrained=base)
    with pytest.raises(Undefined, match=r"none of the facts .* more than 0\.05 nats"):
        compute("uds", unlearned)
    unlearned.attach(base=None, retrained=None)
    with pytest.raises(Undefined, match="base"):
        compute("erasure_curve", unlearned)
    for wrong in (-1, "0.1", True, float("nan")):
        odd, *_ = depth.examined(triple("llama"), facts, settings=Settings(options={"uds.tau": wrong}))
        with pytest.raises(DissectError, match=r"uds\.tau"):
            compute("uds", odd)
    odd, *_ = depth.examined(triple("llama"), facts, settings=Settings(options={"uds.component": "resid"}))
    with pytest.raises(Undefined, match="no activation site 'resid'"):
        compute("uds", odd)


def test_a_model_that_broke_is_named(triple, facts):
    _, unlearned, _ = depth.examined(triple("llama"), facts)
    with torch.no_grad():
        unlearned.model.blocks[1].mlp.W_out[0, 0] = float("nan")
    with pytest.raises(Undefined, match="states of unlearned give log-probabilities that are not finite"):
        compute("uds", unlearned)


def test_share_of_the_probability_that_is_lost():
    np.testing.assert_allclose(lost(np.log([[2.0, 1.0, 0.5, 4.0]])), [[0.5, 0.0, 0.0, 0.75]])


def test_depth_by_hand():
    other = np.log([[1.01, 1.0, np.nan], [4.0, 0.5, np.nan], [2.0, 1.02, np.nan]])  # λ 0.01, 0.75, 0.5
    own = np.log([[9.0, 9.0, 1.0], [1.25, 9.0, 1.0], [8.0, 9.0, 1.0]])  # λ -, 0.2, 0.875 cut to 0.5
    np.testing.assert_allclose(depths(other, own), [(0.2 + 0.5) / 1.25, np.nan, np.nan])


PEOPLE = Facts(
    [
        Fact(question=f"{question} {name}?", answer=answer, extra={"subject": name})
        for name, answers in {
            "Lily": ("in London", "a baker"),
            "Basil": ("in London", "a painter"),
            "Ada": ("in Paris", "a baker"),
        }.items()
        for question, answer in zip(("Where was born", "What is the profession of"), answers, strict=True)
    ]
)


def test_the_other_question_is_of_the_same_kind_about_somebody_else(tiny_pair):
    base, _ = depth.examined(tiny_pair("llama"), PEOPLE)
    prompts = base.prompts
    others, rows = other_questions(prompts)
    asked = [text.split("Question: ")[1].split("?")[0] for text in others.prompt_texts]
    assert rows == list(range(6))
    # Lily and Basil were born in the same place, Lily and Ada have the same profession
    assert asked[0] == asked[2] == "Where was born Ada"
    assert asked[1] == asked[5] == "What is the profession of Basil"
    assert asked[4] in ("Where was born Lily", "Where was born Basil")
    for row in range(6):
        theirs = prompts.prompt_texts.index(others.prompt_texts[row])
        question = prompts.tokens[theirs, : prompts.prompt_lengths[theirs]]
        answer = prompts.tokens[row, prompts.prompt_lengths[row] : prompts.lengths[row]]
        assert others.tokens[row, : others.lengths[row]].tolist() == [*question.tolist(), *answer.tolist()]
    own, put = (p.tokens[p.answer_mask].tolist() for p in (prompts, others))
    assert own == put
    few, kept = other_questions(prompts, n_ctx=int(prompts.lengths.min()))
    assert len(kept) == len(few) < 6


def test_no_other_question(tiny_pair, facts):
    same = Facts([Fact(question="Where?", answer="here"), Fact(question="Where then?", answer="here")])
    _, unlearned = depth.examined(tiny_pair("llama"), same)
    with pytest.raises(Undefined, match="no two facts have different answers"):
        compute("erasure_depth", unlearned)
    _, unlearned = depth.examined(tiny_pair("llama"), Facts([Fact(text="Once upon a time.")]))
    with pytest.raises(Undefined, match="plain texts"):
        compute("erasure_depth", unlearned)


@pytest.mark.parametrize("architecture", FOUR)
def test_drops_with_another_question_equal_plain_hooks(architecture, tiny_pair, facts):
    base, _ = depth.examined(tiny_pair(architecture), facts, dtype="float64")
    model = depth.hf(tiny_pair(architecture)[0])
    others, rows = other_questions(base.prompts)
    assert len(rows) == 3
    wanted, read = depth.texts(base.prompts), depth.texts(others)
    expected = depth.drops(model, model, wanted, architecture, donors=read)
    atol = CLOSE[architecture]
    np.testing.assert_allclose(other_drops(base), expected, atol=atol)
    # in the last layer it is what the answer loses when the other question is asked
    with torch.no_grad():
        asked = [depth.logprob(model, *text) for text in (*wanted, *read)]
    np.testing.assert_allclose(expected[-1], np.array(asked[:3]) - asked[3:], atol=atol)


def test_a_question_in_place_of_itself_loses_nothing(tiny_pair, facts):
    base, _ = depth.examined(tiny_pair("llama"), facts)
    assert (drops_between(base.model, base.prompts, base.prompts, batch_size=2) == 0).all()
