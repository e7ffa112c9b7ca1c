"""Intervals of shares at the edges: right where a bootstrap has nothing to draw from, and nowhere else."""

import numpy as np
import pytest
from scipy import stats

from dissect.measures.estimate import mean_of, share_of
from dissect.statistics.bootstrap import bootstrap, mean_interval
from dissect.statistics.wilson import FEW, edge_interval, effective_number, wilson


@pytest.mark.parametrize("n", [1, 2, 12, 40, 1000])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_it_is_wilsons_interval(n, level):
    for k in sorted({0, 1, n // 3, n // 2, n}):
        known = stats.binomtest(k, n).proportion_ci(level, method="wilson")
        assert wilson(k / n, n, level=level) == pytest.approx((known.low, known.high), abs=1e-12)


def test_nothing_of_twelve_is_not_surely_nothing():
    """The case that was shown as "0% (0% to 0%)"."""
    estimate = share_of(np.zeros(12)).with_interval()
    assert estimate.low == 0 and estimate.high == pytest.approx(0.2425, abs=1e-4)
    estimate = share_of(np.ones(12)).with_interval()
    assert estimate.high == 1 and estimate.low == pytest.approx(1 - 0.2425, abs=1e-4)


@pytest.mark.parametrize("side", [0.0, 1.0])
@pytest.mark.parametrize("sizes", [[4] * 5, [1] * 12, [1, 1, 1, 30], [7]])
def test_at_the_edges_it_is_as_wide_as_so_many_subjects_justify(side, sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    low, high = edge_interval(np.full(len(groups), side), groups=groups)
    narrowest = wilson(side, len(sizes))
    assert high - low >= narrowest[1] - narrowest[0] - 1e-12
    if len(set(sizes)) == 1:
        assert (low, high) == pytest.approx(narrowest)


@pytest.mark.parametrize("yes", [0, 1, 3])
def test_wordings_of_one_fact_are_one_fact(yes):
    """Every item said again under the same subject changes nothing."""
    items = (np.arange(12) < yes).astype(float)
    assert edge_interval(np.repeat(items, 5), groups=np.repeat(np.arange(12), 5)) == pytest.approx(edge_interval(items))


def test_more_yes_moves_both_ends_up_and_no_is_its_mirror():
    ends = np.array([edge_interval((np.arange(9) < yes).astype(float)) for yes in range(10)])  # always few on a side
    assert (np.diff(ends, axis=0) > 0).all()
    assert ends == pytest.approx(1 - ends[::-1, ::-1])


@pytest.mark.parametrize("seed", range(3))
def test_in_the_middle_the_bootstrap_decides_as_before(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(30), 3)
    items = (rng.random(90) < 0.5).astype(float)
    assert edge_interval(items, groups=groups) is None
    drawn = share_of(items).with_interval(groups, seed=seed)
    assert (drawn.low, drawn.high) == mean_interval(items, groups, seed=seed)
    drawn = share_of(items).with_interval(seed=seed)
    assert (drawn.low, drawn.high) == bootstrap([items], seed=seed)


def test_what_is_no_share_of_yes_and_no_is_left_to_the_bootstrap():
    assert edge_interval(np.array([0.0, 0.5, 1.0])) is None  # shares of tokens, of answers
    assert edge_interval(np.array([0.0, 0.0]), np.array([0.0, 0.0])) is None  # nothing to have a share of
    assert edge_interval(np.ones(3), np.array([1.0, 0.0, 0.0])) is None  # more than there was
    ranks = mean_of(np.ones(12)).with_interval()  # ones that are no share: ranks, for instance
    assert (ranks.low, ranks.high) == (1, 1)


def test_few_subjects_on_either_side_are_what_counts():
    """Four yes of one subject are one subject's yes; `FEW` subjects are enough."""
    groups = np.repeat(np.arange(20), 4)
    assert edge_interval((groups == 0).astype(float), groups=groups) is not None
    assert edge_interval((groups < FEW - 1).astype(float), groups=groups) is not None
    assert edge_interval((groups < FEW).astype(float), groups=groups) is None
    assert edge_interval((groups >= FEW - 1).astype(float), groups=groups) is not None


def test_of_what_was_there_only_what_was_there_counts():
    after, before = np.zeros(40), (np.arange(40) < 12).astype(float)
    assert edge_interval(after, before) == pytest.approx(wilson(0, 12))
    assert edge_interval(before, before) == pytest.approx(wilson(1, 12))


def test_sizes_that_differ_make_it_less():
    assert effective_number(np.repeat(np.arange(6), 3)) == pytest.approx(6)
    assert effective_number(np.array([0] * 30 + [1, 2, 3])) < 2


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.9, 0.97])
@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
def test_it_covers_the_truth_where_the_bootstrap_does_not(share, alike):
    """Facts of 20 subjects, 3 each, independent or as alike as they can be."""
    rng = np.random.default_rng(0)
    groups, covered, drawn = np.repeat(np.arange(20), 3), [], []
    for _ in range(300):
        by_subject, by_fact = rng.random(20) < share, rng.random(60) < share
        items = np.where(rng.random(20)[groups] < alike, by_subject[groups], by_fact).astype(float)
        estimate = share_of(items).with_interval(groups)
        covered.append(estimate.low <= share <= estimate.high)
        drawn.append(len(set(items)) > 1)
    assert np.mean(covered) > 0.89  # Wilson's own is 0.92 for 20 subjects and a share of 0.05
    if min(share, 1 - share) < 0.03 and alike == 1:
        assert np.mean(drawn) < 0.91  # the bootstrap misses whenever all are alike
