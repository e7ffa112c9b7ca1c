"""Numbers that say how right a verdict or a measure is, from what was judged; nothing is measured here.

The truth is whether the facts are left in the weights: in models that *know* and in *suppressed* ones they are, in
those that *never* knew and in *erased* ones they are not. Broken and partial models are reported apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from benchmarks.verdicts.judging import Judged
from dissect.verdicts.lines import SHARE
from dissect.verdicts.rule import WORDS

LEFT, GONE = ("knows", "suppressed"), ("never", "erased")
RIGHT = {
    "knows": "not forgotten",
    "suppressed": "suppressed",
    "never": "erased",
    "erased": "erased",
    "broken": "broken",
}
"""The word that each truth should get."""
FOUND = ("not forgotten", "suppressed", "traces left")
"""Words that say that something is left."""
DRAWS = 2000
"""Draws of whole clusters for an interval."""
STRATUM = 3
"""Models that a stratum must have for its AUC to be looked at."""
Score = Callable[[Judged], float]


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve: left against gone."""

    value: float
    low: float
    high: float
    worst: float
    """In the worst stratum: models of one construction against all of the other truth."""
    stratum: str
    suppressed: float
    """Suppressed ones alone against those in which nothing is left."""
    difference: float
    """The verdict's less this one's, on the same models."""
    difference_low: float
    difference_high: float


def primary(judged: Sequence[Judged]) -> list[Judged]:
    """Models whose truth holds by construction and is one of left or gone."""
    return [each for each in judged if each.record.exact and each.record.label in (*LEFT, *GONE)]


def left(each: Judged) -> bool:
    """The truth."""
    return each.record.label in LEFT


def confusion(judged: Sequence[Judged]) -> pd.DataFrame:
    """Models by truth and word."""
    table = pd.crosstab(
        pd.Series([each.record.label for each in judged], name="truth"),
        pd.Series([each.verdict.verdict for each in judged], name="word"),
    )
    truths = [name for name in ("knows", "suppressed", "never", "erased", "partial", "broken") if name in table.index]
    return table.reindex(index=truths, columns=list(WORDS), fill_value=0)


def decided(judged: Sequence[Judged]) -> list[Judged]:
    """Models of which the verdict says something."""
    return [each for each in judged if each.verdict.verdict != "cannot tell"]


def balanced_by_word(judged: Sequence[Judged]) -> float:
    """Mean over the truths (never and erased are one) of the share that gets the right word, among those decided."""
    kept = [each for each in decided(judged) if each.record.exact and each.record.label in RIGHT]
    truths = [RIGHT[each.record.label] for each in kept]
    shares = [
        np.mean([each.verdict.verdict == word for each, truth in zip(kept, truths, strict=True) if truth == word])
        for word in dict.fromkeys(truths)
    ]
    return float(np.mean(shares)) if shares else nan


def balanced_left_or_gone(judged: Sequence[Judged]) -> float:
    """Balanced accuracy of *something is left* against *erased*, among those decided; broken is wrong here."""
    kept = decided(primary(judged))
    truth = np.array([left(each) for each in kept])
    said = np.array([each.verdict.verdict in FOUND for each in kept])
    wrong = np.array([each.verdict.verdict == "broken" for each in kept])
    return float(balanced_accuracy_score(truth, np.where(wrong, ~truth, said)))


def coverage(judged: Sequence[Judged]) -> float:
    """Share of the models of which something is said."""
    counted = [each for each in judged if each.record.exact]
    return len(decided(counted)) / len(counted) if counted else nan


def scores_of(judged: Sequence[Judged]) -> dict[str, Score]:
    """Everything that ranks models, the verdict's share left first; all rise with what is left."""
    scores: dict[str, Score] = {"share left (verdict)": lambda each: each.verdict.share_left.value}
    attacks = dict.fromkeys(row.name for each in judged for row in each.verdict.attacks if not row.not_possible)
    for name in attacks:
        scores[f"forced choice: {name}"] = lambda each, name=name: _choice(each, name)
    for name in dict.fromkeys(name for each in judged for name in each.rivals):
        scores[name] = lambda each, name=name: each.rivals[name]
    return scores


def measured_by(judged: Sequence[Judged], name: str) -> list[Judged]:
    """The models of which a measure says something: rivals may have been asked about some of them only."""
    rivals = {key for each in judged for key in each.rivals}
    return [each for each in judged if name not in rivals or each.rivals]


def auc(judged: Sequence[Judged], score: Score, reference: Score, *, draws: int = DRAWS, seed: int = 0) -> Auc:
    """The area, with intervals that draw clusters, beside the reference on the same draws."""
    kept = primary(judged)
    truth = np.array([left(each) for each in kept])
    values, beside = (_ranked([each_score(each) for each in kept]) for each_score in (score, reference))
    areas, differences = [], []
    for rows in _cluster_draws(kept, draws, seed):
        if truth[rows].all() or not truth[rows].any():
            continue
        one, other = (roc_auc_score(truth[rows], own[rows]) for own in (values, beside))
        areas.append(one)
        differences.append(other - one)
    worst, stratum = _worst(kept, truth, values)
    chosen = np.array([each.record.label in ("suppressed", *GONE) for each in kept])
    value = float(roc_auc_score(truth, values))
    return Auc(
        value,
        *np.quantile(areas, (0.025, 0.975)),
        worst=worst,
        stratum=stratum,
        suppressed=float(roc_auc_score(truth[chosen], values[chosen])),
        difference=float(roc_auc_score(truth, beside)) - value,
        difference_low=float(np.quantile(differences, 0.025)),
        difference_high=float(np.quantile(differences, 0.975)),
    )


def best_line(judged: Sequence[Judged], score: Score) -> float:
    """The line with the highest balanced accuracy; the middle of the widest gap among equals."""
    kept = primary(judged)
    truth = np.array([left(each) for each in kept])
    values = _ranked([score(each) for each in kept])
    steps = np.unique(values)
    lines = (steps[1:] + steps[:-1]) / 2
    found = [balanced_accuracy_score(truth, values >= line) for line in lines]
    best = max(found)
    gaps = np.where(np.isclose(found, best), steps[1:] - steps[:-1], -1)
    return float(lines[int(np.argmax(gaps))])


def at_line(judged: Sequence[Judged], score: Score, line: float) -> float:
    """Balanced accuracy of left against gone, without abstaining."""
    kept = primary(judged)
    values = _ranked([score(each) for each in kept])
    return float(balanced_accuracy_score([left(each) for each in kept], values >= line))


def risk(judged: Sequence[Judged], score: Score, line: float, share: float) -> float:
    """Share that is wrong among the ``share`` of the models that lie farthest from the line."""
    kept = primary(judged)
    values = _ranked([score(each) for each in kept])
    order = np.argsort(-np.abs(values - line), kind="stable")[: round(share * len(kept))]
    wrong = (values >= line) != np.array([left(each) for each in kept])
    return float(wrong[order].mean()) if len(order) else nan


def brier(judged: Sequence[Judged], probability: Score) -> float:
    """Mean squared distance of a share left, cut to 0 to 1, from the truth."""
    kept = primary(judged)
    values = np.clip(_ranked([probability(each) for each in kept]), 0, 1)
    return float(brier_score_loss([left(each) for each in kept], values))


def calibration(judged: Sequence[Judged], *, bins: int = 5) -> pd.DataFrame:
    """Mean share left beside the mean dose, for shares of a kind; partial models are in it."""
    kept = [each for each in judged if each.record.exact and isfinite(each.record.dose)]
    kept = [each for each in kept if each.record.label != "broken"]
    shares = np.clip([each.verdict.share_left.value for each in kept], 0, 1)
    doses = np.array([each.record.dose for each in kept])
    numbers = np.minimum((shares * bins).astype(int), bins - 1)
    rows = [
        {"share left": f"{b / bins:.1f} to {(b + 1) / bins:.1f}", "models": int((numbers == b).sum()),
         "mean share": shares[numbers == b].mean(), "mean dose": doses[numbers == b].mean()}
        for b in range(bins)
        if (numbers == b).any()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def dosed(judged: Sequence[Judged]) -> list[Judged]:
    """Models into which a known share of the facts was trained, and put back for the rest."""
    return [each for each in judged if each.record.exact and each.record.family.startswith(("put back", "taught"))]


def dose_error(judged: Sequence[Judged]) -> Mapping[str, float]:
    """Rank correlation of share left and dose, and their mean distance."""
    kept = dosed(judged)
    shares = [each.verdict.share_left.value for each in kept]
    doses = [each.record.dose for each in kept]
    if len(set(doses)) < 2:
        return {"models": len(kept), "rank correlation": nan, "mean distance": nan}
    return {
        "models": len(kept),
        "rank correlation": float(spearmanr(shares, doses).statistic),
        "mean distance": float(np.mean(np.abs(np.subtract(shares, doses)))),
    }


def missed(judged: Sequence[Judged]) -> list[Judged]:
    """Exact models that got another word than they should, or none."""
    return [
        each
        for each in judged
        if each.record.exact and RIGHT.get(each.record.label) not in (None, each.verdict.verdict)
    ]


def share_scores() -> dict[str, Score]:
    """Measures that claim to be a share of what is left: their squared distance from the truth means something."""
    return {
        "share left (verdict)": lambda each: each.verdict.share_left.value,
        "uds": lambda each: each.rivals.get("uds", nan),
        "erasure_depth": lambda each: each.rivals.get("erasure_depth", nan),
    }


def line_of(name: str, judged: Sequence[Judged], score: Score) -> float:
    """The verdict's frozen line; for every other measure the best there is on ``judged``."""
    return SHARE if name == "share left (verdict)" else best_line(judged, score)


def _choice(each: Judged, attack: str) -> float:
    return next((row.forced_choice for row in each.verdict.attacks if row.name == attack), nan)


def _ranked(values: Sequence[float]) -> np.ndarray:
    """A measure that says nothing of a model is taken for the middle of what it says of the others."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array), array, np.nanmedian(array))


def _cluster_draws(judged: Sequence[Judged], draws: int, seed: int) -> list[np.ndarray]:
    clusters: dict[str, list[int]] = {}
    for number, each in enumerate(judged):
        clusters.setdefault(each.cluster, []).append(number)
    members = [np.array(own) for own in clusters.values()]
    generator = np.random.default_rng(seed)
    return [
        np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))]) for _ in range(draws)
    ]


def _worst(judged: Sequence[Judged], truth: np.ndarray, values: np.ndarray) -> tuple[float, str]:
    """The lowest area of one construction against all models of the other truth."""
    worst, name = nan, ""
    strata = np.array([f"{each.record.label}: {each.record.family}" for each in judged])
    for stratum in np.unique(strata):
        own = strata == stratum
        if own.sum() < STRATUM:
            continue
        rows = own | (truth != truth[own][0])
        area = float(roc_auc_score(truth[rows], values[rows]))
        if not worst <= area:
            worst, name = area, str(stratum)
    return worst, name
