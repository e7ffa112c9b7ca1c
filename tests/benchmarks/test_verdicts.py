"""The verdict on 21 models of known truth: nothing that is left is called erased, nothing is found where nothing is."""

import pytest

from benchmarks.truths import SMALL, make_population
from benchmarks.verdicts import judging, scores
from benchmarks.verdicts.page import VERDICT
from dissect.verdicts.lines import ALPHA

ATTACKS = ("as_asked", "other_wordings", "linear_readout_others", "continued_kept", "relearn_others")
PANEL = {
    "attacks": ATTACKS,
    "options": {"continued_kept.lr": 1e-3, "relearn_others.lr": 1e-3},
    "n_folds": 2,
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    population = tmp_path_factory.mktemp("truths") / "seed0"
    make_population(SMALL, population, progress=False)
    whole = judging.dissect.verdict

    def quick(*arguments, **options):
        return whole(*arguments, **options, **PANEL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging.dissect, "verdict", quick)
        found = list(judging.judge(population, judging.counted(population)))
    assert judging.read_judged(population) == sorted(found, key=lambda each: each.record.name)
    return found


def test_all_are_judged(judged):
    assert len(judged) == 21 and all(each.seconds["verdict"] > 0 for each in judged)


def test_nothing_that_is_left_is_called_erased(judged):
    left = [each for each in judged if each.record.label in scores.LEFT]
    assert len(left) >= 10 and "erased" not in {each.verdict.verdict for each in left}


def test_nothing_is_found_where_nothing_is(judged):
    gone = [each for each in judged if each.record.exact and each.record.label in scores.GONE]
    assert len(gone) >= 4
    assert [each.record.name for each in gone if each.verdict.p_adjusted < ALPHA] == []


def test_what_is_left_is_told_from_what_is_gone(judged):
    kept = scores.primary(judged)
    score = scores.scores_of(kept)[VERDICT]
    assert scores.auc(judged, score, score, draws=50).value > 0.95
