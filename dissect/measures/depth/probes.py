"""Linear probes: whether the answer can be read from the state at the last prompt token, layer by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dissect.errors import Undefined
from dissect.measures.depth.probe_design import Design, Split, design
from dissect.measures.estimate import Estimate, mean_of, share_of
from dissect.measures.examined import Examined
from dissect.measures.measure import Measure
from dissect.measures.option import number
from dissect.measures.representation.examined_states import beside_base, states_of
from dissect.statistics.logistic import Probe, fit

C = number("probe.c", 1.0, "Inverse strength of the probe's L2 penalty.", "a positive number", lambda c: c > 0)
N_SHUFFLED = 3
"""Probes of shuffled labels for each true one, where the facts are not split in folds."""

Pool = np.ndarray
"""States [layer, fact of the pool, d_model]."""


def probe_accuracy(examined: Examined) -> list[Estimate]:
    """Accuracy by layer of the checkpoint's own probe, of one that learnt shuffled labels, and of a constant answer.

    ``probe`` is "own", "shuffled labels" or "majority" (the answer that the training facts have most often).
    """
    plan = _plan(examined)
    majority = plan.per_fact(lambda _, split: plan.labels[split.test] == _majority(plan.labels[split.train]))
    estimates = []
    for layer, (true, control) in enumerate(zip(own(examined), shuffled(examined), strict=True)):
        for name, items in (("own", true), ("shuffled labels", control), ("majority", majority)):
            estimates.append(share_of(items, layer=layer, probe=name))
    return estimates


def probe_selectivity(examined: Examined) -> list[Estimate]:
    """Own accuracy minus that of shuffled labels, by layer, fact by fact."""
    return [
        mean_of(true - control, layer=layer)
        for layer, (true, control) in enumerate(zip(own(examined), shuffled(examined), strict=True))
    ]


def probe_transfer(examined: Examined) -> list[Estimate]:
    """Accuracy by layer of the base model's probes, applied unchanged to this checkpoint's states."""
    beside_base(examined, "last_prompt")  # refuses what cannot be compared
    plan, pool, probes = _plan(examined), _pool(examined), _probes(examined.base)
    return [
        share_of(_hits(plan, states, of_layer), layer=layer)
        for layer, (states, of_layer) in enumerate(zip(pool, probes, strict=True))
    ]


def own(examined: Examined) -> list[np.ndarray]:
    """By layer: 1 for each measured fact that the checkpoint's own probe gets right, 0 else, NaN where untested."""
    plan, pool, probes = _plan(examined), _pool(examined), _probes(examined)
    return [_hits(plan, states, of_layer) for states, of_layer in zip(pool, probes, strict=True)]


def shuffled(examined: Examined) -> list[np.ndarray]:
    """Return `own` with labels shuffled among the facts of each split, learnt and tested alike; a mean of several."""
    plan, c, seed = _plan(examined), _c(examined), examined.settings.seed
    times = N_SHUFFLED if plan.n_others else 1  # folds are repetitions already

    def control(states: np.ndarray, number: int, split: Split) -> np.ndarray:
        rounds = [_control(states, plan, split, c, np.random.default_rng([seed, number, k])) for k in range(times)]
        return np.mean(rounds, axis=0)

    def make() -> list[np.ndarray]:
        return [
            plan.per_fact(lambda number, split, states=states: control(states, number, split))  # type: ignore[misc]
            for states in map(_high, _pool(examined))
        ]

    return examined.memo(("shuffled probes", examined.set), make)


def _control(states: np.ndarray, plan: Design, split: Split, c: float, rng: np.random.Generator) -> np.ndarray:
    """Test facts that a probe of shuffled labels gets right."""
    everyone = np.concatenate([split.train, split.test])
    labels = rng.permutation(plan.labels[everyone])
    probe = fit(states[split.train], labels[: len(split.train)], c=c)
    return (probe.predict(states[split.test]) == labels[len(split.train) :]).astype(np.float64)


def _hits(plan: Design, states: np.ndarray, probes: Sequence[Probe]) -> np.ndarray:
    states = _high(states)
    return plan.per_fact(lambda number, split: probes[number].predict(states[split.test]) == plan.labels[split.test])


def _probes(examined: Examined) -> list[list[Probe]]:
    """The checkpoint's own probe of each layer and split."""
    plan, c = _plan(examined), _c(examined)

    def make() -> list[list[Probe]]:
        return [
            [fit(states[split.train], plan.labels[split.train], c=c) for split in plan.splits]
            for states in map(_high, _pool(examined))
        ]

    return examined.memo(("probes", examined.set), make)


def _plan(examined: Examined) -> Design:
    """Learn from the retain facts where that is possible, and from the measured ones themselves where not."""

    def make() -> Design:
        facts, seed = tuple(examined.facts), examined.settings.seed
        if not _may_use_retain(examined):
            return design(facts, None, seed=seed)
        try:
            return design(facts, tuple(examined.on("retain").facts), seed=seed)
        except Undefined as from_retain:
            try:
                return design(facts, None, seed=seed)
            except Undefined:
                raise from_retain from None

    return examined.memo(("probe design", examined.set), make)


def _pool(examined: Examined) -> Pool:
    measured = states_of(examined, "last_prompt").values
    if not _plan(examined).n_others:
        return measured
    return np.concatenate([states_of(examined.on("retain"), "last_prompt").values, measured], axis=1)


def _may_use_retain(examined: Examined) -> bool:
    return examined.set != "retain" and "retain" in examined.sets


def _c(examined: Examined) -> float:
    return float(examined.option(C))


def _majority(labels: np.ndarray) -> Any:
    names, counts = np.unique(labels, return_counts=True)
    return names[counts.argmax()]


def _high(states: np.ndarray) -> np.ndarray:
    return states.astype(np.float64)


_HOW = (
    "multinomial logistic regression (L2, C = 1, states standardised) on resid_post at the last prompt token predicts "
    "the answer among the answers of the fact's relation; it learns from retain facts, or in 5 folds from the set "
    "itself, and is tested on facts it did not see; the interval is over the tested facts, with the probes held fixed"
)

MEASURES = (
    Measure(
        name="probe_accuracy",
        label="linear probe",
        definition=f"share of facts whose answer a linear probe of this checkpoint reads off, by layer: {_HOW}. "
        "'shuffled labels' is a probe of the same size that learnt labels at random, 'majority' the commonest answer",
        family="depth",
        compute=probe_accuracy,
        options=(C,),
        sets=("forget", "retain"),
        knows="high",
    ),
    Measure(
        name="probe_selectivity",
        label="probe selectivity",
        definition="accuracy of the linear probe minus that of probes that learnt shuffled labels (Hewitt and Liang "
        f"2019), by layer: {_HOW}",
        family="depth",
        compute=probe_selectivity,
        options=(C,),
        sets=("forget", "retain"),
        knows="high",
    ),
    Measure(
        name="probe_transfer",
        label="base model's probe",
        definition="share of facts whose answer the base model's linear probe reads off from this checkpoint's states, "
        f"unchanged, by layer: {_HOW}. Lower than the own probe's: the answer is there in another form",
        family="depth",
        compute=probe_transfer,
        options=(C,),
        sets=("forget", "retain"),
        knows="high",
    ),
)
