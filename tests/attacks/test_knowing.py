"""On the demo's checkpoints: whoever never knew is found by no attack, and who knows is found by all that read it."""

import numpy as np
import pytest

import dissect
from dissect.attacks.attack import NotPossible, Target, budgets
from dissect.pairing.choice import compare, of_truth
from dissect.pairing.redealing import redeal
from dissect.pairing.tested import paired
from dissect.verdicts.result import Verdicts
from tests.attacks.bench import ATTACKS

QUICK = [
    name
    for name, attack in ATTACKS.items()
    if attack.family in ("asking", "states") and name != "linear_readout_others"  # which needs folds
]


@pytest.fixture(scope="module")
def facts(demo):
    return {name: dissect.Facts.read(demo / f"{name}.jsonl") for name in ("forget", "retain")}


def panel(path, facts, names, n_folds, **options):
    """p of each attack, p of the panel, and forced choice of each attack."""
    made = paired(facts["forget"], n_folds=n_folds)
    model = dissect.load(path, progress=False)
    memo: dict = {}
    compared = {}
    for name in names:
        target = Target(model, made.sheets, facts["retain"], facts["forget"], made.folds, progress=False, memo=memo)
        try:
            budget = budgets([ATTACKS[name]], {})[name]
            scores = ATTACKS[name].run(target, **budget | {k: v for k, v in options.items() if k in budget})
        except NotPossible as reason:
            pytest.fail(f"{name}: {reason}")
        compared[name] = [compare(matrix, block) for matrix, block in zip(scores, made.blocks, strict=True)]
    tables = [np.stack([own[number].logp for own in compared.values()]) for number in range(len(made.blocks))]
    redealt = redeal(tables, made.dealing, n=1999)
    choice = {
        name: np.nanmean(np.concatenate([of_truth(c.below, b) for c, b in zip(own, made.blocks, strict=True)]))
        for name, own in compared.items()
    }
    return dict(zip(compared, redealt.p, strict=True)), redealt.p_panel, choice


def test_a_model_that_never_knew(demo, facts):
    _, whole, _ = panel(demo / "retrained", facts, ATTACKS, n_folds=2, steps=20, lr=3e-4)
    assert whole > 0.05
    p, whole, _ = panel(demo / "retrained", facts, QUICK, n_folds=1)
    assert whole > 0.05 and min(p.values()) > 0.02, p


def test_the_base_model(demo, facts):
    p, whole, choice = panel(demo / "base", facts, QUICK, n_folds=1)
    assert whole < 0.01 and max(p.values()) < 0.05, p
    assert choice["as_asked"] > 0.95 and choice["kept_in_context"] > 0.9 and choice["tuned_lens_late"] > 0.9


def test_what_attacks_say_is_kept(demo, facts, tmp_path):
    names = ["linear_readout_late", "held_out_wordings", "relearn_others"]
    out = tmp_path / "verdict.json"
    (npo,) = dissect.verdict([demo / "base", demo / "npo"], **facts, attacks=names, out=out, progress=False)
    notes = {row.name: row.note for row in npo.attacks}
    assert notes["as_asked"] == notes["relearn_others"] == "" and "Read off layer" in notes["linear_readout_late"]
    assert {row.name: row.note for row in Verdicts.load(out)["npo"].attacks} == notes
