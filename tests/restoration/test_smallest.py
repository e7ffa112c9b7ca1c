"""The search for the smallest set of blocks: what it finds is verified by exact runs of its own."""

from functools import partial

import numpy as np
import pytest
import torch

import dissect
from dissect import plots
from dissect.metrics import metric as metrics_by_name
from dissect.metrics.metric import Scored
from dissect.models.running.forward import embed, logits_at
from dissect.models.running.partial import run_layers
from dissect.restoration.candidates import candidates_of
from dissect.restoration.parameter_scores import parameter_scores
from dissect.restoration.smallest_result import SmallestSet
from dissect.sweep.batch import Batch, batches
from tests.patching.test_patch import prompts_of, sha
from tests.support.tiny import make_checkpoint


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A pair in which two blocks changed a lot and everything else hardly."""
    root = tmp_path_factory.mktemp("planted")

    def change(model: torch.nn.Module) -> None:
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter += 1e-3 * torch.randn(parameter.shape, generator=generator)
        for module in (model.model.layers[1].mlp.down_proj, model.model.layers[2].self_attn.v_proj):
            module.weight += 0.3 * torch.randn(module.weight.shape, generator=generator)

    base = make_checkpoint("llama", root / "base")
    return dissect.load_pair(base, make_checkpoint("llama", root / "other", change=change), progress=False)


PLANTED = {(1, "mlp.W_out"), (2, "attn.W_V")}


def pooled_krs(pair, prompts, blocks, *, donor, recipient) -> float:
    """The recovery of a set of blocks, by way of a context and of logits that no sweep computes."""
    targets = getattr(pair, donor)(prompts.tokens, padding_side="right")[prompts.predicting_mask]
    model = getattr(pair, recipient)
    before = model(prompts.tokens, padding_side="right")[prompts.predicting_mask]
    if not blocks:
        return 0.0
    with dissect.restored(model, getattr(pair, donor), blocks=blocks):
        after = model(prompts.tokens, padding_side="right")[prompts.predicting_mask]
    rows = prompts.predicting_mask.nonzero()[:, 0]
    loss = [
        sum(float((logits - targets)[rows == row].double().square().mean()) for row in range(len(prompts)))
        for logits in (before, after)
    ]
    return 1 - loss[1] / loss[0]


@pytest.mark.parametrize(("donor", "recipient"), [("base", "unlearned"), ("unlearned", "base")])
@torch.no_grad()
def test_planted_changes_are_found_and_verified(donor, recipient, planted, facts):
    prompts, before = prompts_of(facts, planted), [sha(planted.base), sha(planted.unlearned)]
    found = dissect.smallest_set(planted, prompts, donor=donor, recipient=recipient, threshold=0.95, progress=False)
    assert [sha(planted.base), sha(planted.unlearned)] == before
    assert set(found.members) == PLANTED and found.reached
    direction = {"donor": donor, "recipient": recipient}
    assert found.recovery == pytest.approx(pooled_krs(planted, prompts, found.members, **direction), abs=1e-5)
    assert found.recovery >= 0.95
    for part, without in zip(found.members, found.without, strict=True):
        rest = [other for other in found.members if other != part]
        assert without == pytest.approx(pooled_krs(planted, prompts, rest, **direction), abs=1e-5) and without < 0.95
    assert max(found.random) < found.recovery


def test_what_becomes_dispensable_is_taken_out_again(planted, facts):
    """With a beam of one, candidates are added in the order of their gradients, and some turn out not to be needed."""
    found = dissect.smallest_set(planted, prompts_of(facts, planted), threshold=0.9, beam=1, progress=False)
    actions = [step.action for step in found.path]
    assert actions[0] == "start" and found.path[0].recovery == 0.0
    assert [step.size for step in found.path] == [0, *np.cumsum([1 if a == "add" else -1 for a in actions[1:]])]
    assert found.path[-1].recovery == found.recovery >= 0.9 > max(found.without)
    assert found.path[-1].size == len(found.members)


def test_everything_together_gives_everything_back(tiny_pair, facts):
    for architecture in ("gpt2", "qwen3", "olmo", "neox"):
        pair = dissect.load_pair(*tiny_pair(architecture), progress=False)
        candidates = candidates_of(pair.unlearned, None, None)
        names = [name for one in candidates for name in one.names]
        assert len(names) == len(set(names))
        parts = [one.part for one in candidates]
        tokens = prompts_of(facts, pair).tokens
        with dissect.restored(pair.unlearned, pair.base, blocks=parts) as model, torch.no_grad():
            assert torch.equal(model(tokens, padding_side="right"), pair.base(tokens, padding_side="right"))


def total_logprob(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
    scored = Scored(logits, logits, batch.targets)
    return metrics_by_name.get("logprob").per_prompt(scored, batch.rows, len(batch.tokens)).sum()


def test_scores_are_derivatives(tiny_pair, facts):
    """Against central differences along the way to the donor, in float64; a tied embedding counts both of its uses."""
    for architecture in ("llama_tied", "gpt2", "gemma2"):
        pair = dissect.load_pair(*tiny_pair(architecture), dtype="float64", progress=False)
        model, prompts = pair.unlearned, prompts_of(facts, pair)
        batch = next(batches(prompts, 8))
        objective = partial(total_logprob, batch)
        names = ["embed.W_E", "blocks.1.mlp.W_out", "blocks.0.attn.W_O", "blocks.2.ln2.w"]
        flags = [parameter.requires_grad for parameter in model.parameters()]
        found = parameter_scores(model, batch, objective, pair.base.get_parameter, names)
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
        assert all(parameter.grad is None for parameter in model.parameters()) and set(found) == set(names)
        for name in names:
            own, there = model.get_parameter(name).data, pair.base.get_parameter(name).data
            ends = []
            for step in (1e-5, -1e-5):
                model.get_parameter(name).data = own + step * (there - own)
                with torch.no_grad():
                    final = run_layers(model, embed(model, batch.tokens), start=0)
                    ends.append(float(objective(logits_at(model, final, batch.scored))))
            model.get_parameter(name).data = own
            assert found[name] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5), (architecture, name)


def test_one_model_at_a_time_finds_the_same(planted, facts):
    prompts = prompts_of(facts, planted)
    expected = dissect.smallest_set(planted, prompts, blocks=["attn", "mlp"], progress=False)
    with planted.sequential():
        found = dissect.smallest_set(planted, prompts, blocks=["attn", "mlp"], progress=False)
    assert found == expected
    assert set(found.members) == {(1, "mlp"), (2, "attn")}


def test_other_metrics_and_means(planted, facts):
    prompts = prompts_of(facts, planted)
    for settings in ({"metric": "kl"}, {"metric": "krs", "pooled": False}, {"metric": "logprob"}):
        found = dissect.smallest_set(planted, prompts, threshold=0.9, n_random=0, progress=False, **settings)
        assert found.reached and set(found.members) <= PLANTED and found.random == []


def test_giving_up_says_so(planted, facts):
    found = dissect.smallest_set(planted, prompts_of(facts, planted), threshold=0.99, max_size=1, progress=False)
    assert not found.reached and len(found.members) == 1 and "<" in repr(found).splitlines()[0]


def test_results_are_stored_and_drawn(planted, facts, tmp_path):
    found = dissect.smallest_set(planted, prompts_of(facts, planted), beam=2, progress=False)
    found.save(tmp_path / "found.json")
    read = SmallestSet.load(tmp_path / "found.json")
    assert read == found
    figure = plots.path(read)
    line = figure.data[0]
    np.testing.assert_allclose(line.x, [step.recovery for step in found.path[1:]])
    assert all("layer" in name or "embed" in name for name in line.y)
    assert list(found.to_dataframe()["part"][1:]) == [name.split(" ", 3)[-1] for name in line.y]
    assert "recovery without it" in found._repr_html_()
    (tmp_path / "broken.json").write_text('{"format": "dissect-smallest-1"}')
    with pytest.raises(dissect.DissectError, match="cannot be read"):
        SmallestSet.load(tmp_path / "broken.json")
    with pytest.raises(dissect.DissectError, match="no file"):
        SmallestSet.load(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"threshold": 0.0}, "threshold=0.0"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"beam": 0}, "beam=0"),
        ({"max_size": 0}, "max_size=0"),
        ({"metric": "rank"}, "has no gradient"),
        ({"metric": "rouge"}, "no metric 'rouge'"),
        ({"blocks": ["mlp", "mlp.W_out"]}, "two of them hold blocks.0.mlp.W_out"),
        ({"blocks": ["mlp_post"]}, "no parameter block"),
        ({"blocks": []}, "nothing to sweep"),
        ({"layers": [4]}, "no layer 4"),
        ({"donor": "retrained"}, "no retrained model"),
        ({"donor": "unlearned"}, "there is nothing to recover"),
    ],
)
def test_what_cannot_be_searched_is_refused(asked, said, planted, facts):
    with pytest.raises(dissect.DissectError, match=said):
        dissect.smallest_set(planted, prompts_of(facts, planted), progress=False, **asked)
