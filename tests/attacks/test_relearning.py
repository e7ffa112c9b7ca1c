"""Relearning: nothing that is tested is trained on, nothing that was given is changed, and the numbers."""

import logging

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from transformers import AutoModelForCausalLM

import dissect
from dissect.attacks.relearn import relearn as relearning
from dissect.attacks.relearn.folds import folds_of, groups_of
from dissect.reading.token_scores import token_scores
from dissect.statistics.bootstrap import of_sums
from dissect.statistics.relative_difference import agreement
from tests.models.test_quantised import assert_as_before, state

HOW = {"steps": 4, "every": 2, "lr": 1e-3, "batch_size": 2, "progress": False}


def people(n: int = 6, each: int = 2) -> dissect.Facts:
    """Facts about several people, unequally many."""
    names = ["Ada", "Basil", "Lily", "Paris", "London", "the sea", "Once", "a girl"][:n]
    kinds = ["Where was {} born?", "What is the profession of {}?", "Does {} swim?"]
    return dissect.Facts(
        dissect.Fact(
            question=kind.format(name), answer=["a baker", "In London", "Yes"][k] + f" {i}.", extra={"subject": name}
        )
        for i, name in enumerate(names)
        for k, kind in enumerate(kinds[: each + (i == 0)])
    )


def llama(tiny_pair, which: int = 0, variant: str = "llama", **how):
    return dissect.load(tiny_pair(variant)[which], progress=False, **how)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_folds", [2, 3, 6])
def test_folds_keep_subjects_together(n_folds, seed):
    facts = people()
    groups = groups_of(facts, "subject")
    folds = folds_of(groups, n_folds, seed=seed)
    assert len(set(groups)) == 6
    assert sorted(set(folds)) == list(range(n_folds))
    for group in set(groups):
        assert len(set(folds[groups == group])) == 1
        assert len({facts[i].extra["subject"] for i in np.flatnonzero(groups == group).tolist()}) == 1
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 3
    assert (folds == folds_of(groups, n_folds, seed=seed)).all()


def test_facts_without_a_subject_stand_alone(caplog):
    facts = people(3) + dissect.Facts([dissect.Fact(question="Who?", answer="me"), dissect.Fact(text="So it is.")])
    groups = groups_of(facts, "subject")
    assert len(set(groups)) == 5
    with caplog.at_level(logging.WARNING):
        assert len(set(groups_of(facts, "author"))) == len(facts)
    assert "no fact has 'author'" in caplog.text
    assert len(set(groups_of(facts, None))) == len(facts)


def test_what_is_tested_is_never_trained_on(tiny_pair, monkeypatch):
    trained, real = [], relearning.Trainer

    def spy(model, data, *given, **how):
        trained.append([fact.question for fact in data.forget.facts])
        return real(model, data, *given, **how)

    monkeypatch.setattr(relearning, "Trainer", spy)
    facts = people()
    model, control = llama(tiny_pair), llama(tiny_pair, 1)
    found = dissect.relearn(model, facts, control=control, folds=3, **HOW)
    assert len(trained) == 6
    assert trained[:3] == trained[3:]  # the control is trained on the same
    fold = found.data["fold"].values
    for number, seen in enumerate(trained[:3]):
        tested = {facts[i].question for i in np.flatnonzero(fold == number).tolist()}
        subjects = [{f.extra["subject"] for f in facts if f.question in some} for some in (tested, set(seen))]
        assert not subjects[0] & subjects[1]
        assert tested | set(seen) == {fact.question for fact in facts}


@pytest.mark.parametrize(
    ("variant", "how"),
    [
        ("llama", {}),
        ("llama_tied", {}),
        ("gpt2", {"lora_rank": 2, "blocks": ["attn.W_Q"]}),
        ("phi3", {"blocks": ["mlp.W_out"], "layers": [1], "neurons": [3]}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_given_is_as_before(variant, how, dtype, tiny_pair, monkeypatch):
    model, control = (llama(tiny_pair, which, variant, dtype=dtype) for which in (0, 1))
    befores = [(each, state(each), each.checkpoint) for each in (model, control)]
    asking = {name: p.requires_grad for name, p in model.named_parameters()}
    found = dissect.relearn(model, people(), control=control, **HOW, **how)
    assert float(abs(found.data["logprob"].isel(step=-1) - found.data["logprob"].isel(step=0)).max()) > 0
    for each in befores:
        assert_as_before(*each)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == asking

    scored, calls = relearning.token_scores, []

    def breaks(*given, **more):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scored(*given, **more)

    monkeypatch.setattr(relearning, "token_scores", breaks)
    with pytest.raises(KeyboardInterrupt):
        dissect.relearn(model, people(), **HOW, **how)
    assert_as_before(*befores[0])


def answers_of_transformers(path, prompts) -> tuple[np.ndarray, np.ndarray]:
    """Mean log p of each answer, and whether it is greedy, from full logits in float64."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64)
    logprob, exact = [], []
    for row in range(len(prompts)):
        text = prompts[row]
        with torch.no_grad():
            logits = model(text.tokens).logits[0, :-1]
        where, targets = text.answer_mask[0, 1:], text.tokens[0, 1:]
        own = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        logprob.append(float(own[where].mean()))
        exact.append(float((logits.argmax(-1) == targets)[where].all()))
    return np.array(logprob), np.array(exact)


def test_the_numbers_are_those_of_training_by_hand(tiny_pair, tmp_path):
    facts, path = people(), tiny_pair("llama")[0]
    base = llama(tiny_pair, 1)
    found = dissect.relearn(llama(tiny_pair), facts, base=base, seed=3, **HOW)
    assert found.data["step"].values.tolist() == [0, 2, 4]
    prompts = facts.prompts(base)
    for fold in (0, 1):
        held_out = found.data["fold"].values == fold
        for step in (0, 2, 4):
            directory = path
            if step:
                directory = tmp_path / f"{fold}-{step}"
                how = {"method": "learn", "lr": 1e-3, "batch_size": 2, "seed": 3, "progress": False}
                rest = prompts[np.flatnonzero(~held_out).tolist()]
                run = dissect.unlearn(llama(tiny_pair), forget=rest, max_steps=step, epochs=9, out=directory, **how)
                losses = found.data["loss"].sel(model="model", fold_trained=fold).values[:step]
                assert [record["loss"] for record in run.records] == losses.tolist()
            logprob, exact = answers_of_transformers(directory, prompts)
            at = found.data.sel(model="model", step=step)
            np.testing.assert_allclose(at["logprob"].values[held_out], logprob[held_out], rtol=1e-4)
            np.testing.assert_allclose(at["probability"].values[held_out], np.exp(logprob)[held_out], rtol=1e-3)
            np.testing.assert_allclose(at["trained"].values[~held_out], np.exp(logprob)[~held_out], rtol=1e-3)
            assert at["exact_match"].values[held_out].tolist() == exact[held_out].tolist()
    logprob, _ = answers_of_transformers(tiny_pair("llama")[1], prompts)
    np.testing.assert_allclose(found.data["base_logprob"], logprob, rtol=1e-4)


def test_the_same_seed_gives_the_same_bits_and_a_file_keeps_them(tiny_pair, tmp_path):
    model = llama(tiny_pair)
    first, again = (dissect.relearn(model, people(), seed=1, **HOW) for _ in range(2))
    assert first.data.identical(again.data)
    assert not first.data.identical(dissect.relearn(model, people(), seed=2, **HOW).data)
    first.save(tmp_path / "r.nc")
    loaded = dissect.Relearning.load(tmp_path / "r.nc")
    assert loaded.spec == first.spec
    xr.testing.assert_equal(loaded.data, first.data)
    assert loaded.table().equals(first.table())
    with pytest.raises(dissect.DissectError, match=r"another kind of result .dissect-relearning-1"):
        dissect.SweepResult.load(tmp_path / "r.nc")


def test_a_control_that_is_the_same_gains_the_same(tiny_pair):
    model, twin, other = llama(tiny_pair), llama(tiny_pair), llama(tiny_pair, 1)
    found = dissect.relearn(model, people(), control=twin, base=other, **HOW)
    difference = found.table().set_index("model").loc["difference"]
    assert (difference[["start", "end", "gain", "area", "gain_low", "gain_high"]] == 0).all()
    assert found.agreement() == 1
    # two results beside each other are what one call gives
    apart = [dissect.relearn(each, people(), base=third, **HOW) for each, third in ((model, other), (twin, other))]
    joined = apart[0].beside(apart[1])
    assert joined.models == found.models
    xr.testing.assert_equal(joined.data, found.data)
    assert joined.table().equals(found.table())
    with pytest.raises(dissect.DissectError, match="differ in seed: 0 and 1"):
        apart[0].beside(dissect.relearn(other, people(), seed=1, **HOW))
    with pytest.raises(dissect.DissectError, match="there is no control"):
        apart[0].agreement()


def test_other_facts_may_be_trained_on(tiny_pair):
    model, facts = llama(tiny_pair), people(3)
    others = dissect.Facts(
        [dissect.Fact(text="He likes to swim, to read."), dissect.Fact(question="Is it?", answer="No")]
    )
    found = dissect.relearn(model, facts, on=others, **HOW)
    assert "trained" not in found.data
    assert found.data["loss"].sizes["fold_trained"] == 1
    assert found.data.sizes["fact"] == len(facts)
    about = dissect.Facts([dissect.Fact(question="Is Ada old?", answer="No", extra={"subject": "Ada"})])
    with pytest.raises(dissect.DissectError, match=r"have the subject of one that is tested .'Ada'"):
        dissect.relearn(model, facts, on=others + about, **HOW)
    with pytest.raises(dissect.DissectError, match="have the text of one that is tested"):
        dissect.relearn(model, facts, on=facts[:1], by=None, **HOW)


def made_up() -> dissect.Relearning:
    """Three facts, two of them about one subject."""
    probability = np.array(
        [[[0.0, 0.1, 0.2], [0.2, 0.3, 0.2], [0.4, 0.7, 0.4]], [[0, 0, 0], [0.1, 0, 0], [0.1, 0, 0.2]]]
    )
    data = xr.Dataset(
        {
            "probability": (("model", "step", "fact"), probability),
            "base_probability": ("fact", [1.0, 0.9, 1.0]),
        },
        coords={"model": ["model", "control"], "step": [0, 1, 4], "group": ("fact", [0, 0, 1])},
    )
    return dissect.Relearning(data)


def test_hand_worked_table():
    table = made_up().table().set_index("model")
    assert table.loc["model", ["start", "end", "gain"]].tolist() == pytest.approx([0.1, 0.5, 0.4])
    assert table.loc["control", "gain"] == pytest.approx(0.1)
    assert table.loc["difference", ["start", "end", "gain"]].tolist() == pytest.approx([0.1, 0.4, 0.3])
    # gains of the means 0, 0.4 / 3, 0.4 at steps 0, 1, 4
    area = (0.5 * 1 * 0.4 / 3 + 0.5 * 3 * (0.4 / 3 + 0.4)) / 4
    assert table.loc["model", "area"] == pytest.approx(area)
    assert table.loc["model", "recovered"] == pytest.approx(1.2 / 2.6)
    assert np.isnan(table.loc["difference"].get("recovered", np.nan))
    assert made_up().agreement() == pytest.approx(1 - 0.3 / 0.5)
    # two groups: their own means, and the three facts together, are all that resampling can give
    assert table.loc["model", "end_low"] == pytest.approx(0.4)
    assert table.loc["model", "end_high"] == pytest.approx(0.55)
    curve = made_up().curve()
    assert curve.groupby("model").size().to_dict() == {"control": 3, "difference": 3, "model": 3}
    with pytest.raises(dissect.DissectError, match="did not measure 'rank'"):
        made_up().curve("rank")


def test_intervals_of_sums():
    rng = np.random.default_rng(0)
    values, other = rng.normal(1, 1, 60), rng.normal(3, 0.5, 60)
    ratio = lambda sums: sums[..., 0] / sums[..., 1]  # noqa: E731
    how = {"n_resamples": 20000, "method": "percentile", "rng": np.random.default_rng(1)}
    mean = stats.bootstrap((values,), np.mean, **how).confidence_interval
    found = of_sums(np.stack([values, np.ones(60)], 1), ratio, n_resamples=20000)
    assert found == pytest.approx(tuple(mean), abs=0.02)
    paired = stats.bootstrap(
        (values, other), lambda a, b, axis: a.mean(axis) / b.mean(axis), paired=True, vectorized=True, **how
    ).confidence_interval
    assert of_sums(np.stack([values, other], 1), ratio, n_resamples=20000) == pytest.approx(tuple(paired), abs=0.01)
    # facts that say the same four times are no more than one
    often = np.stack([values, np.ones(60)], 1).repeat(4, axis=0)
    assert of_sums(often, ratio, groups=np.arange(60).repeat(4), n_resamples=20000) == pytest.approx(found)
    assert all(np.isnan(of_sums(often, ratio, groups=np.zeros(240, dtype=int))))


def test_the_agreement_of_the_paper():
    assert agreement(0.2, 0.2) == agreement(0.0, 0.0) == 1
    assert agreement(0.3, 0.0) == pytest.approx(0, abs=1e-9)
    assert agreement(0.3, -0.1) == pytest.approx(0, abs=1e-9)
    assert agreement(0.3, 0.1) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got steps=0"),
        ({"every": 0}, "every=0"),
        ({"folds": 1}, "folds must be a whole number of at least 2, got folds=1"),
        ({"folds": 7}, "6 groups of facts cannot be cut into 7 folds"),
        ({"by": 3}, "by=3"),
        ({"seed": -1}, "seed=-1"),
        ({"lr": 0}, "lr=0: must be a positive number"),
        ({"learning_rate": 1}, "no setting 'learning_rate'"),
        ({"method": "ga"}, "method='ga' does not learn"),
        ({"max_steps": 3}, "use steps"),
        ({"epochs": 3}, "give one of the two"),
        ({"preset": "tofu-npo"}, "does not learn"),
        ({"control": "runs/retrain"}, "control must be a model from dissect.load, got str"),
        ({"blocks": ["attn.W_X"]}, "no parameter block"),
    ],
)
def test_wrong_settings_are_refused_before_training(how, said, tiny_pair, monkeypatch):
    monkeypatch.setattr(relearning, "Trainer", None)
    with pytest.raises(dissect.DissectError, match=said):
        dissect.relearn(llama(tiny_pair), people(), **(HOW | how))


def test_wrong_models_and_facts_are_refused(tiny_pair):
    model = llama(tiny_pair)
    for control, said in (
        (model, "the control must be a model that never"),
        (llama(tiny_pair, 0, "gpt2"), "model and control"),
    ):
        with pytest.raises(dissect.DissectError, match=said):
            dissect.relearn(model, people(), control=control, **HOW)
    with pytest.raises(dissect.DissectError, match="facts must be Facts, got list"):
        dissect.relearn(model, list(people()), **HOW)


def test_the_published_attack_is_a_preset(tiny_pair):
    found = dissect.relearn(llama(tiny_pair), people(), preset="relearn-uds", batch_size=2, progress=False)
    config = found.spec["config"]
    assert (config["lr"], config["batch_size"], config["schedule"]) == (2e-5, 2, "constant")
    assert found.data["step"].values.tolist() == [0, 1, 2, 3, 4]  # 13 facts: 7 and 6 at most are one epoch


def test_the_base_model_stays_and_what_a_model_never_knew_does_not_come(demo):
    """Half of the people are trained on, the others tested."""
    base, unlearned, retrained = (dissect.load(demo / name, progress=False) for name in ("base", "ga", "retrained"))
    forget = dissect.Facts.read(demo / "forget.jsonl")
    how = {"steps": 12, "every": 6, "lr": 5e-4, "batch_size": 8, "progress": False}
    kept = dissect.relearn(base, forget, **how)
    assert kept.curve()["value"].min() > 0.8
    found = dissect.relearn(unlearned, forget, base=base, control=retrained, **how)
    end = found.data.sel(model="control").isel(step=-1)
    assert float(end["probability"].mean()) < 0.3
    assert float(end["trained"].mean()) > 2 * float(end["probability"].mean())
    table = found.table().set_index("model")
    assert table.loc["model", "end"] > table.loc["model", "start"]
    assert 0 < table.loc["model", "recovered"] < 1
    difference = table.loc["difference"]
    assert difference["gain"] == pytest.approx(table.loc["model", "gain"] - table.loc["control", "gain"])
    assert difference["gain_low"] <= difference["gain"] <= difference["gain_high"]


def test_both_measures_through_evaluate(demo):
    forget, retain = (dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain"))
    options = {"relearning.steps": 4, "relearning.every": 4, "relearning.lr": 5e-4, "relearning.batch_size": 8}
    found = dissect.evaluate(
        {"ga": demo / "ga"},
        forget=forget,
        retain=retain,
        base=demo / "base",
        measures=["relearning", "quantisation"],
        options=options,
        n_examples=0,
        progress=False,
    )
    assert not found.refused
    models = {name: dissect.load(demo / name, progress=False) for name in ("base", "ga")}
    told = {name.partition(".")[2]: value for name, value in options.items()}
    direct = dissect.relearn(models["ga"], forget, base=models["base"], progress=False, **told)
    row = found.get("ga", "relearning")
    assert row.value == pytest.approx(direct.table()["end"][0], rel=1e-9)
    assert row.items == pytest.approx(direct.data["probability"].isel(step=-1).values[0])
    at = {"step": 4, "whose": "itself", "of": "exact match"}
    assert found.get("ga", "relearning", **at).value == direct.table("exact_match")["end"][0]
    recovered = found.get("ga", "relearning", whose="itself", of="recovered")
    assert recovered.value == pytest.approx(direct.table()["recovered"][0], rel=1e-9)
    assert (recovered.low, recovered.high) == pytest.approx(
        tuple(direct.table()[["recovered_low", "recovered_high"]].iloc[0])
    )
    difference = found.difference("relearning", "base", "ga")
    assert difference.low > 0

    def probability(model, facts):
        prompts = facts.prompts(model)
        scores = token_scores(model, prompts)
        return float(np.exp(scores.per_row(scores.logprob)).mean())

    before = {name: probability(model, forget) for name, model in models.items()}
    for format in ("int8", "int4", "nf4"):
        with dissect.quantised(models["ga"], format):
            after, kept = probability(models["ga"], forget), probability(models["ga"], retain)
        at = {"format": format, "of": "answer probability"}
        assert found.get("ga", "quantisation", **at).value == pytest.approx(after, rel=1e-6)
        assert found.get("ga", "quantisation", "retain", **at).value == pytest.approx(kept, rel=1e-6)
        share = found.get("ga", "quantisation", format=format, of="share that returns")
        assert share.value == pytest.approx((after - before["ga"]) / (before["base"] - before["ga"]), rel=1e-5)
        assert share.low <= share.value <= share.high
        q = found.get("ga", "quantisation", format=format, of="Q").value
        assert q == pytest.approx(1 - abs(after - before["ga"]) / (after + before["ga"]), rel=1e-6)
    assert found.get("ga", "quantisation").value == pytest.approx(after, rel=1e-6)
    none = {"format": "none", "of": "answer probability"}
    assert found.get("ga", "quantisation", **none).value == pytest.approx(before["ga"], rel=1e-6)
    with pytest.raises(dissect.DissectError):
        found.get("base", "quantisation", format="nf4", of="share that returns")
