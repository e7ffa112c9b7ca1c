"""Lenses: the last layer is the output, every layer is what transformers gives, and the tuned lens learns to read."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError, Undefined
from dissect.measures import measure
from dissect.measures.depth import logit_lens_measures as logit_lens
from dissect.measures.depth import tuned_lens
from dissect.measures.examined import Settings
from dissect.reading import tuned_lens_fit
from dissect.reading.layer_lens import LayerScores, layer_scores
from dissect.reading.residual_states import states
from dissect.reading.token_scores import token_scores
from dissect.reading.tuned_lens_fit import FitSettings, fit
from tests.support import depth

FOUR = ["llama", "gpt2", "neox", "gemma2"]
OTHERS = Facts(
    [
        Fact(question=f"{question} {name}?", answer=answer)
        for name in ("Mia", "Tom", "Sue", "Bob", "Eve", "Kim")
        for question, answer in (("Where lives", "by the sea"), ("What reads", "old houses"), ("Who is", "a painter"))
    ]
)
KINDS = ("logprob", "rank", "top_k", "entropy")
LENSES = ("tuned", "logit")


def compute(name, examined):
    return measure.get(name).compute(examined)


def settings(**options) -> Settings:
    return Settings(batch_size=2, options={name.replace("__", "."): value for name, value in options.items()})


def test_from_tokens_to_facts_by_hand():
    scores = LayerScores(
        row=np.array([0, 0, 1]),
        logprob=np.array([[-1.0, -3.0, -5.0], [-2.0, -2.0, -1.0]]),
        rank=np.array([[3.0, 11.0, 9.0], [10.0, 12.0, 1.0]]),
        entropy=np.zeros((2, 3)),
        n_rows=2,
    )
    assert scores.per_row(scores.logprob).tolist() == [[-2.0, -5.0], [-2.0, -1.0]]
    assert scores.per_row(scores.rank <= 10).tolist() == [[0.5, 1.0], [0.5, 1.0]]
    assert scores.first_layer(10).tolist() == [0.0, 2.0, 0.0]
    assert scores.first_layer(2).tolist() == [2.0, 2.0, 1.0]


@pytest.mark.parametrize("architecture", FOUR)
def test_the_last_layer_is_the_output(architecture, tiny_pair, facts):
    _, unlearned = depth.examined(tiny_pair(architecture), facts, settings=settings(logit_lens__head="own"))
    found, own = logit_lens.scores_of(unlearned), token_scores(unlearned.model, unlearned.prompts)
    assert found.row.tolist() == own.row.tolist()
    np.testing.assert_allclose(found.logprob[-1], own.logprob, atol=2e-6)
    np.testing.assert_array_equal(found.rank[-1], own.rank)
    np.testing.assert_allclose(found.entropy[-1], -own.mean, atol=2e-6)


@pytest.mark.parametrize("architecture", FOUR)
def test_every_layer_is_what_transformers_gives(architecture, tiny_pair, facts, monkeypatch):
    """With the base model's head on the unlearned model's states, some logits at a time."""
    monkeypatch.setattr("dissect.reading.layer_lens.LOGITS_AT_ONCE", 3 * 320)
    _, unlearned = depth.examined(tiny_pair(architecture), facts, dtype="float64", settings=settings(logit_lens__k=40))
    base, model = (depth.hf(directory) for directory in tiny_pair(architecture))
    rows = []
    for ids, answer in depth.texts(unlearned.prompts):
        layers = []
        for logits in depth.lens_logits(model, base, ids, answer, architecture):
            logs, targets = logits.log_softmax(-1), ids[0, answer]
            own = logs.gather(-1, targets[:, None])
            places = 1 + (logs > own).sum(-1).double()
            entropy = torch.distributions.Categorical(logits=logits).entropy()
            columns = (own[:, 0], places, (places <= 40).double(), entropy)
            layers.append([column.mean().item() for column in columns])
        rows.append(layers)
    for kind, expected in zip(KINDS, np.array(rows).transpose(2, 1, 0), strict=True):
        found = compute(f"logit_lens_{kind}", unlearned)
        assert [e.at for e in found] == [{"layer": layer} for layer in range(3)]
        np.testing.assert_allclose([e.items for e in found], expected, atol=1e-5, err_msg=kind)
        np.testing.assert_allclose([e.value for e in found], expected.mean(1), atol=1e-5)
    assert 0 <= compute("logit_lens_first_layer", unlearned).value <= 3


def test_whose_head_reads(tiny_pair, facts):
    base, unlearned = depth.examined(tiny_pair("llama"), facts)
    with_base = [e.value for e in compute("logit_lens_logprob", unlearned)]
    unlearned.attach(base=None, retrained=None)
    with pytest.raises(Undefined, match=r"pass base=\.\.\., or set logit_lens\.head='own'"):
        compute("logit_lens_logprob", unlearned)
    _, own = depth.examined(tiny_pair("llama"), facts, settings=settings(logit_lens__head="own"))
    own.attach(base=None, retrained=None)
    with_own = [e.value for e in compute("logit_lens_logprob", own)]
    assert np.abs(np.subtract(with_base, with_own)).min() > 1e-3
    for name, wrong in {"logit_lens.head": "theirs", "logit_lens.k": 0}.items():
        odd, _ = depth.examined(tiny_pair("llama"), facts, settings=Settings(options={name: wrong}))
        with pytest.raises(DissectError, match=name):
            compute("logit_lens_top_k", odd)
    other = depth.examined(tiny_pair("gpt2"), facts)[1]
    other.attach(base=base, retrained=None)
    with pytest.raises(Undefined, match="cannot be compared"):
        compute("logit_lens_rank", other)


def test_uds_with_the_logit_lens(tiny_pair, facts):
    base, unlearned = depth.examined(tiny_pair("llama"), facts)
    with pytest.raises(Undefined, match="trained without the forget facts"):
        compute("uds_logit_lens", unlearned)
    for examined in (base, unlearned):
        examined.attach(base=base, retrained=unlearned)
    assert compute("uds_logit_lens", base).value == 0
    assert compute("uds_logit_lens", unlearned).value == 1


@pytest.fixture
def fitting(tiny_pair, facts):
    """Subjects with something to fit a lens on; 60 short steps."""

    def make(architecture="llama", retain=OTHERS, **options):
        how = settings(**{"tuned_lens__steps": 60, **options})
        return depth.examined(tiny_pair(architecture), facts, settings=how, retain=retain)

    return make


def test_without_steps_it_is_the_logit_lens(fitting):
    _, unlearned = fitting(tuned_lens__steps=0)
    for kind in KINDS:
        tuned, logit = (compute(f"{lens}_{kind}", unlearned) for lens in ("tuned_lens", "logit_lens"))
        assert [e.value for e in tuned] == [e.value for e in logit]


@pytest.mark.parametrize("architecture", FOUR)
def test_it_reads_better_what_it_has_not_seen(architecture, fitting):
    base, unlearned = fitting(architecture)
    for examined in (base.on("retain"), base):  # the held-out retained facts, the facts to be forgotten
        found = {lens: [e.value for e in compute("tuned_lens_kl", examined) if e.at["lens"] == lens] for lens in LENSES}
        assert all(tuned < logit for tuned, logit in zip(found["tuned"][:-1], found["logit"][:-1], strict=True)), found
        assert found["tuned"][-1] == pytest.approx(0, abs=1e-6) == found["logit"][-1]
    last = compute("tuned_lens_logprob", base)[-1].value
    assert last == pytest.approx(base.scores.per_row(base.scores.logprob).mean(), abs=1e-5)
    assert last == compute("logit_lens_logprob", base)[-1].value
    assert compute("tuned_lens_logprob", unlearned)[0].value != compute("logit_lens_logprob", unlearned)[0].value


def test_it_is_fitted_once_on_the_base_model(fitting, monkeypatch):
    heads = []

    def counting(head, *args):
        heads.append(head)
        return fit(head, *args)

    monkeypatch.setattr(tuned_lens, "fit", counting)
    base, unlearned = fitting(tuned_lens__steps=2)
    for examined in (unlearned, unlearned.on("retain"), base):
        compute("tuned_lens_rank", examined)
        compute("tuned_lens_first_layer", examined)
    assert heads == [base.model]
    assert all(parameter.grad is None for parameter in base.model.parameters())


def test_what_it_is_fitted_on(fitting, facts):
    base, _ = fitting(retain=OTHERS + facts, tuned_lens__texts=["He likes to swim.", "Once upon a time."])
    seen, held_out = tuned_lens._material(base)
    fitted_on = [text for prompts in seen for text in prompts.texts]
    assert not set(fitted_on) & set(base.prompts.texts)
    assert not set(held_out["retain"].texts) & set(base.prompts.texts)
    assert fitted_on[-2:] == ["He likes to swim.", "Once upon a time."]
    assert set(fitted_on[:-2]) | set(held_out["retain"].texts) == set(base.on("retain").prompts.texts[: len(OTHERS)])
    assert len(held_out["retain"]) == round(0.2 * len(OTHERS))
    assert tuned_lens.fitted(base).n_tokens == sum(int((p.lengths - 1).sum()) for p in seen)
    few, _ = fitting(tuned_lens__max_tokens=40)
    assert 0 < tuned_lens.fitted(few).n_tokens <= 40


def test_without_other_facts_it_is_refused(tiny_pair, facts, fitting):
    _, unlearned = depth.examined(tiny_pair("llama"), facts)
    with pytest.raises(Undefined, match=r"pass retain=\.\.\., unrelated"):
        compute("tuned_lens_rank", unlearned)
    _, unlearned = fitting(retain=facts)
    with pytest.raises(Undefined, match=r"pass retain=\.\.\., unrelated"):
        compute("tuned_lens_rank", unlearned)
    for name, wrong in {"steps": -1, "max_tokens": 2, "texts": "one text"}.items():
        _, unlearned = fitting(**{f"tuned_lens__{name}": wrong})
        with pytest.raises(DissectError, match=rf"tuned_lens\.{name}"):
            compute("tuned_lens_rank", unlearned)
    _, unlearned = fitting(retain=OTHERS[:2], tuned_lens__steps=1)
    with pytest.raises(Undefined, match="at least 3"):
        compute("tuned_lens_kl", unlearned.on("retain"))


def test_one_step_follows_the_plain_gradient(tiny_pair, facts):
    """Adam's first step is the sign of the gradient; that is taken here with transformers' own norm and head."""
    base, _ = depth.examined(tiny_pair("llama"), facts, dtype="float64")
    model = depth.hf(tiny_pair("llama")[0])
    found = torch.from_numpy(states(base.model, base.prompts, base.prompts.answer_mask).values)
    lens = fit(base.model, found, FitSettings(steps=1, lr=0.1, batch_size=5, seed=3))
    chosen = torch.randint(found.shape[1], (5,), generator=torch.Generator().manual_seed(3))
    target = model.lm_head(model.model.norm(found[-1, chosen]).double()).log_softmax(-1).detach()
    for layer in range(2):
        weight, bias = torch.zeros(32, 32, dtype=torch.float64), torch.zeros(32, dtype=torch.float64)
        weight.requires_grad_(), bias.requires_grad_()
        h = found[layer, chosen]
        moved = h + torch.einsum("ij,tj->ti", weight, h) + bias
        logs = model.lm_head(model.model.norm(moved).double()).log_softmax(-1)
        (target.exp() * (target - logs)).sum(-1).mean().backward()
        size = found[layer].square().mean().sqrt()
        for step, gradient, rate in ((lens.weight, weight.grad, 0.1 / 32**0.5), (lens.bias, bias.grad, 0.1 * size)):
            clear = gradient.abs() > 1e-4 * gradient.abs().max()
            assert clear.float().mean() > 0.9
            torch.testing.assert_close(step[layer][clear], (-rate * gradient.sign())[clear], rtol=1e-3, atol=0)


def test_layers_side_by_side_or_one_by_one(tiny_pair, facts, monkeypatch):
    base, _ = depth.examined(tiny_pair("gpt2"), facts, dtype="float64")
    found = torch.from_numpy(states(base.model, base.prompts, base.prompts.answer_mask).values)
    how = FitSettings(steps=5)
    together = fit(base.model, found, how)
    again = fit(base.model, found, how)
    assert torch.equal(together.weight, again.weight) and torch.equal(together.bias, again.bias)
    monkeypatch.setattr(tuned_lens_fit, "LOGITS_AT_ONCE", 1)
    apart = fit(base.model, found, how)
    torch.testing.assert_close(apart.weight, together.weight)
    torch.testing.assert_close(apart.bias, together.bias)
    assert not torch.equal(apart.weight, fit(base.model, found, FitSettings(steps=5, seed=1)).weight)


def test_the_divergence_is_that_of_the_output(tiny_pair, facts):
    base, unlearned = depth.examined(tiny_pair("gpt2"), facts, dtype="float64")
    head, model = (depth.hf(directory) for directory in tiny_pair("gpt2"))
    found = tuned_lens.lens_kl(unlearned.model, unlearned.prompts, logit_lens.logit_lens(base.model), batch_size=2)
    for row, (ids, answer) in enumerate(depth.texts(unlearned.prompts)):
        own = depth.lens_logits(model, model, ids, answer, "gpt2")[-1].log_softmax(-1)
        for layer, logits in enumerate(depth.lens_logits(model, head, ids, answer, "gpt2")):
            logs = logits.log_softmax(-1)
            kl = functional.kl_div(logs, own, log_target=True, reduction="batchmean").item()
            assert found[layer, row] == pytest.approx(kl, abs=1e-8)


def test_a_model_of_one_layer_needs_no_translator(tiny_pair, facts):
    base, _ = depth.examined(tiny_pair("llama"), facts)
    found = torch.from_numpy(states(base.model, base.prompts, base.prompts.answer_mask).values)[-1:]
    lens = fit(base.model, found, FitSettings(steps=3))
    assert torch.equal(lens.translated(0, found[0]), found[0])


def test_scores_do_not_depend_on_the_batches(tiny_pair, facts):
    base, _ = depth.examined(tiny_pair("gemma2"), facts)
    lens = logit_lens.logit_lens(base.model)
    one, all_ = (layer_scores(base.model, base.prompts, lens, batch_size=n) for n in (1, 3))
    np.testing.assert_allclose(one.logprob, all_.logprob, atol=1e-5)
    np.testing.assert_array_equal(one.rank, all_.rank)
