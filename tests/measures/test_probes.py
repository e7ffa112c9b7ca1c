"""Linear probes: the regression against scikit-learn, who learns from whom, and states with a planted truth."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dissect
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError, Undefined
from dissect.measures.depth.probe_design import MIN_MEMBERS, N_FOLDS, design
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import get
from dissect.reading.residual_states import States
from dissect.statistics.logistic import fit

CITIES, TRADES = ("Paris", "London", "Rome", "Basil"), ("baker", "painter", "swimmer")


def blobs(n: int, d: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.array(["one", "two", "three"])[np.arange(n) % 3]
    centres = {name: rng.normal(size=d) for name in ("one", "two", "three")}
    return 3.0 + np.stack([centres[name] for name in labels]) + 1.5 * rng.normal(size=(n, d)), labels


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 50)], ids=["more items", "more dimensions"])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_regression_is_that_of_sklearn(n: int, d: int, c: float):
    x, labels = blobs(n, d)
    new = blobs(30, d, seed=1)[0]
    ours = fit(x, labels, c=c, standardise=False)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(x, labels)
    assert ours.classes.tolist() == theirs.classes_.tolist()
    np.testing.assert_allclose(ours.weights, theirs.coef_.T, atol=1e-4)
    scores = ours.scores(new)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(p, theirs.predict_proba(new), atol=1e-5)
    scaled = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-10, max_iter=100_000)).fit(x, labels)
    assert (fit(x, labels, c=c).predict(new) == scaled.predict(new)).all()


def test_regression_of_two_points_is_where_its_derivative_vanishes():
    # weights (-w, w) on x = -1, 1: the loss 2 log(1 + exp(-2w)) + w² / c is least where 2w / c = 4 / (1 + exp(2w))
    probe = fit(np.array([[-1.0], [1.0]]), np.array([0, 1]), c=0.5)
    w = probe.weights[0, 1]
    assert probe.weights[0, 0] == pytest.approx(-w) and probe.bias[0] == pytest.approx(probe.bias[1])
    assert 2 * w / 0.5 == pytest.approx(4 / (1 + math.exp(2 * w)), abs=1e-5)


def test_constant_features_are_no_trouble():
    x, labels = blobs(30, 4)
    x[:, 2] = 7.0
    assert np.isfinite(fit(x, labels).scores(x)).all()


def people(n: int, *, start: int = 0, seed: int = 0) -> Facts:
    """Two facts each: a city and a trade."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(start, start + n):
        for attribute, values in (("city", CITIES), ("trade", TRADES)):
            made.append(
                Fact(
                    question=f"What {attribute} has {i}?",
                    answer=str(rng.choice(values)),
                    extra={"subject": f"person {i}", "attribute": attribute},
                )
            )
    return Facts(made)


def test_folds_test_every_fact_once_and_never_learn_from_its_subject():
    facts = people(40)
    plan = design(facts, None)
    assert len(plan.splits) == 2 * N_FOLDS and plan.n_others == 0
    assert sorted(np.concatenate([split.test for split in plan.splits]).tolist()) == list(range(len(facts)))
    for split in plan.splits:
        subjects = [{facts[int(i)].extra["subject"] for i in side} for side in (split.train, split.test)]
        groups = {facts[int(i)].extra["attribute"] for side in (split.train, split.test) for i in side}
        assert not subjects[0] & subjects[1] and len(groups) == 1
        # stratified: each class stands in every fold within one of its share
        for label in set(plan.labels[split.train]):
            share = (plan.labels[np.concatenate([split.train, split.test])] == label).sum() / N_FOLDS
            assert abs((plan.labels[split.test] == label).sum() - share) <= 1


def test_other_facts_are_learnt_from_but_not_those_that_are_tested():
    forget, retain = people(10), people(30, start=100, seed=1)
    plan = design(forget, Facts((*retain, forget[0])))
    assert len(plan.splits) == 2 and plan.n_others == 61
    assert all((split.train < 60).all() and (split.test >= 61).all() for split in plan.splits)
    assert np.isfinite(plan.per_fact(lambda _, split: np.ones(len(split.test)))).all()


def test_answers_that_are_too_rare_are_left_out():
    rare = Fact(question="What city has nobody?", answer="Atlantis", extra={"attribute": "city"})
    plan = design(Facts((*people(10), rare)), people(30, start=100))
    assert np.isnan(plan.per_fact(lambda _, split: np.ones(len(split.test)))[-1])
    for split in plan.splits:
        _, counts = np.unique(plan.labels[split.train], return_counts=True)
        assert counts.min() >= MIN_MEMBERS


def test_probes_without_recurring_answers_are_refused():
    unlike = Facts(Fact(question=f"Who is {i}?", answer=f"number {i}") for i in range(50))
    with pytest.raises(Undefined, match="answers have to recur, and these facts"):
        design(unlike, None)
    with pytest.raises(Undefined, match="and the retain facts have fewer"):
        design(people(10), unlike)
    with pytest.raises(Undefined, match="some facts have none"):
        design(Facts([Fact(text="Once upon a time")]), None)


@pytest.fixture
def planted(tiny_pair) -> tuple[Examined, Examined]:
    """Base and unlearned checkpoint with states of our making: noise in layer 0, the answer in the last one.

    There the unlearned model says it in turned states, and in layer 1 the base model alone says it.
    """
    sets = {"forget": people(20), "retain": people(40, start=100, seed=1)}
    names = (*CITIES, *TRADES)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    made = []
    for role, path in zip(("base", "unlearned"), tiny_pair("llama"), strict=True):
        examined = Examined(dissect.load(path, progress=False), sets, name=role, settings=Settings())
        for name, facts in sets.items():
            said = np.array([np.eye(8)[names.index(str(fact.answer))] for fact in facts])
            noise = rng.normal(size=(3, len(facts), 8)) * 0.05
            noise[1:] += said * ([[[1]], [[1]]] if role == "base" else [[[0]], [[1]]])
            if role == "unlearned":
                noise[2] = noise[2] @ turn
            states = States(noise.astype(np.float32), np.arange(len(facts)))
            examined.memo(("states", name, "last_prompt", None), lambda states=states: states)
        made.append(examined)
    for examined in made:
        examined.attach(base=made[0], retrained=None)
    return made[0], made[1]


def curve(examined: Examined, measure: str, **at: str) -> list[float]:
    found = [e for e in get(measure).compute(examined) if all(e.at[key] == value for key, value in at.items())]
    assert [e.at["layer"] for e in found] == [0, 1, 2]
    return [e.value for e in found]


@pytest.mark.parametrize("set", ["forget", "retain"])
def test_what_is_planted_is_found_where_it_is(planted, set: str):
    base, unlearned = (examined.on(set) for examined in planted)
    low = 0.6  # of 3 or 4 equally likely answers, with room for chance
    assert curve(base, "probe_accuracy", probe="own")[1:] == [1.0, 1.0]
    assert curve(base, "probe_accuracy", probe="own")[0] < low
    own = curve(unlearned, "probe_accuracy", probe="own")
    assert max(own[:2]) < low and own[2] == 1.0
    # the base's probe does not know the turned states: "there, in another form"
    transfer = curve(unlearned, "probe_transfer")
    assert max(transfer) < low
    assert curve(base, "probe_transfer") == curve(base, "probe_accuracy", probe="own")
    assert max(curve(base, "probe_accuracy", probe="shuffled labels")) < low


def test_selectivity_is_the_difference_and_majority_the_commonest_answer(planted):
    base = planted[0]
    own, shuffled = (curve(base, "probe_accuracy", probe=name) for name in ("own", "shuffled labels"))
    assert curve(base, "probe_selectivity") == pytest.approx(np.subtract(own, shuffled))
    retain, hits = base.on("retain").facts, []
    for attribute in ("city", "trade"):
        answers = [fact.answer for fact in retain if fact.extra["attribute"] == attribute]
        common = max(sorted(set(answers)), key=answers.count)
        hits += [fact.answer == common for fact in base.facts if fact.extra["attribute"] == attribute]
    assert curve(base, "probe_accuracy", probe="majority") == pytest.approx([np.mean(hits)] * 3)


def test_the_base_models_probe_needs_a_base_model(planted):
    alone = planted[1]
    alone.attach(base=None, retrained=None)
    with pytest.raises(Undefined, match="pass base="):
        get("probe_transfer").compute(alone)
    assert len(get("probe_accuracy").compute(alone)) == 9


def test_a_penalty_that_is_none_is_refused(planted):
    examined = Examined(planted[0].model, planted[0].sets, name="x", settings=Settings(options={"probe.c": "strong"}))
    with pytest.raises(DissectError, match="must be a positive number, got 'strong'"):
        get("probe_accuracy").compute(examined)
