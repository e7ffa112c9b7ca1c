"""The tables about verdicts, on models that are only written down: against sums by hand."""

import math

import numpy as np
import pytest

from benchmarks.truths import Record
from benchmarks.verdicts import scores
from benchmarks.verdicts.judging import Judged, in_turn
from benchmarks.verdicts.page import VERDICT, page
from dissect.verdicts.interval import Interval
from dissect.verdicts.judged import AttackRow, Verdict

WORD = {"knows": "not forgotten", "suppressed": "suppressed", "never": "erased", "erased": "erased", "broken": "broken"}


def made(label, share, *, word=None, family="a", cluster="c", dose=None, exact=True, choice=None, seed=1, rivals=None):
    """One judged model."""
    record = Record(
        name=f"{label} {share} {family}",
        seed=seed,
        kind=label,
        label=label,
        dose=(1.0 if label in scores.LEFT else 0.0) if dose is None else dose,
        exact=exact,
        cluster=cluster,
        family=family,
        forget="people",
        ground="base",
        base="base",
        made={},
        check={},
    )
    attack = AttackRow(
        name="as_asked",
        label="as asked",
        forced_choice=0.5 + share / 2 if choice is None else choice,
        low=0.0,
        high=1.0,
        z=0.0,
        p=1.0,
        p_adjusted=1.0,
        share_left=Interval(float(share)),
    )
    verdict = Verdict(
        name="model",
        verdict=word or WORD.get(label, "traces left"),
        share_left=Interval(float(share)),
        p_adjusted=0.0001 if share > 0.3 else 0.6,
        kept=None,
        attacks=(attack,),
        headline="",
        words="",
        said={},
        avoidance=1.0,
        power=1.0,
        facts_enough=0.0,
    )
    return Judged(record, verdict, rivals or {}, {"verdict": 1.0}, seed)


def population():
    left = [made("knows", 0.9), made("suppressed", 0.8, family="b"), made("suppressed", 0.4, family="b", cluster="d")]
    gone = [
        made("never", 0.1, family="n"),
        made("never", 0.5, family="n", cluster="e"),
        made("erased", 0.0, cluster="f"),
    ]
    return [*left, *gone]


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    judged = population()
    score = scores.scores_of(judged)[VERDICT]
    left, gone = [0.9, 0.8, 0.4], [0.1, 0.5, 0.0]
    pairs = np.mean([high > low for high in left for low in gone])
    area = scores.auc(judged, score, score, draws=200)
    assert area.value == pytest.approx(pairs) and area.low <= area.value <= area.high
    assert area.suppressed == pytest.approx(np.mean([high > low for high in left[1:] for low in gone]))
    assert area.difference == area.difference_low == area.difference_high == 0


def test_the_worst_stratum_has_enough_models_and_the_lowest_area():
    judged = [*population(), made("never", 0.85, family="n", cluster="g")]
    area = scores.auc(judged, scores.scores_of(judged)[VERDICT], scores.scores_of(judged)[VERDICT], draws=50)
    assert area.stratum == "never: n", "the others have two models at most"
    assert area.worst == pytest.approx(np.mean([high > low for high in (0.9, 0.8, 0.4) for low in (0.1, 0.5, 0.85)]))


def test_words_that_abstain_are_not_counted_as_right_or_wrong():
    judged = [*population(), made("never", 0.2, word="cannot tell", cluster="h")]
    assert scores.balanced_by_word(judged) == scores.balanced_left_or_gone(judged) == 1
    assert scores.coverage(judged) == pytest.approx(6 / 7)
    wrong = [*judged, made("suppressed", 0.1, word="erased", cluster="i")]
    assert scores.balanced_by_word(wrong) == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert scores.balanced_left_or_gone(wrong) == pytest.approx((3 / 4 + 1) / 2)
    assert [each.verdict.verdict for each in scores.missed(wrong)] == ["cannot tell", "erased"]
    table = scores.confusion(wrong)
    assert table.loc["suppressed", "erased"] == 1 and table.to_numpy().sum() == len(wrong)


def test_what_does_not_hold_by_construction_is_left_out():
    judged = [*population(), made("never", 0.99, word="suppressed", exact=False)]
    assert scores.balanced_by_word(judged) == 1 and scores.coverage(judged) == 1
    assert len(scores.primary(judged)) == 6


def test_lines_and_risk():
    judged = population()
    score = scores.scores_of(judged)[VERDICT]
    line = scores.best_line(judged, score)
    assert 0.5 < line < 0.8 or 0.1 < line < 0.4
    assert scores.at_line(judged, score, 0.6) == pytest.approx((2 / 3 + 1) / 2)
    assert scores.risk(judged, score, 0.6, 1.0) == pytest.approx(1 / 6)
    assert scores.risk(judged, score, 0.6, 0.5) == 0, "the three farthest are 0.0, 0.1 and 0.9"


def test_squared_distance_and_doses():
    judged = population()
    score = scores.scores_of(judged)[VERDICT]
    truth = [1, 1, 1, 0, 0, 0]
    assert scores.brier(judged, score) == pytest.approx(
        np.mean(np.square(np.subtract([0.9, 0.8, 0.4, 0.1, 0.5, 0], truth)))
    )
    dosed = [
        made("partial", dose + 0.1, family="put back, mlp", dose=dose, cluster=str(dose)) for dose in (0.25, 0.5, 0.75)
    ]
    assert scores.dose_error([*judged, *dosed]) == {
        "models": 3,
        "rank correlation": pytest.approx(1),
        "mean distance": pytest.approx(0.1),
    }
    assert math.isnan(scores.dose_error(judged)["rank correlation"])
    table = scores.calibration([*judged, *dosed])
    assert table["models"].sum() == 9


def test_a_rival_that_says_nothing_gets_the_middle_and_is_compared_on_the_same_models():
    good = {"uds": 1.0}, {"uds": 0.0}
    models = [("knows", 0.5), ("suppressed", 0.2), ("never", 0.3), ("erased", 0.1)]
    judged = [made(*each, cluster=each[0], rivals=good[each[0] in scores.GONE]) for each in models]
    known = scores.scores_of(judged)
    area = scores.auc(judged, known["uds"], known[VERDICT], draws=200)
    assert area.value == 1 and area.difference == pytest.approx(0.75 - 1)
    silent = [*judged, made("never", 0.0, cluster="x", rivals={"uds": math.nan})]
    assert 0 < scores.auc(silent, known["uds"], known[VERDICT], draws=50).value <= 1


def test_wherever_one_stops_all_strata_are_there():
    records = [made("never", i, family="n").record for i in range(3)] + [
        made("knows", i, family="k").record for i in range(2)
    ]
    assert [(each.label, each.name) for each in in_turn(records)[:2]] == [
        ("never", "never 0 n"),
        ("knows", "knows 0 k"),
    ]
    assert len(in_turn(records)) == 5


def test_the_page_names_what_went_wrong():
    text = page([*population(), made("suppressed", 0.1, word="erased", cluster="i"), made("broken", 0.9, cluster="b")])
    assert "Called erased though left: 1." in text and "| suppressed | 0 | 2 | 0 | 1 | 0 | 0 |" in text
    assert "1 of 3" in text, "one of those in which nothing is left has a share of one half"
