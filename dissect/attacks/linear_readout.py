"""A linear readout of the states: what the layers still hold, though the model does not say it.

A ridge regression from the state at the last token of a question to the embedding of its answer is fitted on retain
facts (cf. probes with control tasks, Hewitt and Liang 2019, arXiv:1909.03368) and read on the tested questions: entry
(i, j) is the cosine between what is predicted for question i and the embedding of answer j, both relative to the mean
over the retain facts. Layer and penalty are chosen by cross-validation over the retain facts' subjects; the tested
facts have no part in it. A readout that favours answers of many retain facts favours them under every question, which
is a column of the matrix; what it makes of a name is guessing, as in `dissect.attacks.attack`. Suppression may sit in
any part of the model, so early, middle and late layers are attacks of their own, and the panel's adjustment pays for
all three.

A map fitted on retain facts can only say answers like theirs. Where the forgotten answers are of another kind (towns,
beside professions), or the output head is what was changed, one that was also fitted on forget facts about other
subjects says more: it is a fourth attack, cut into folds as relearning is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from dissect.attacks.attack import Attack, NotPossible, Scores, Target
from dissect.attacks.layer_states import THIRDS, Where, answer_ids, embeddings_of, last_states, layers_of, questions_of
from dissect.data.facts import Facts
from dissect.pairing.block import Sheet
from dissect.statistics.ridge import ridge_path

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""In units of the mean squared singular value of the centred states."""
N_FOLDS = 5
LEAST = 20
"""Retain facts that a readout is fitted on at least."""
FEW = 5
"""Forget facts about other subjects that it is fitted on at least, beside them."""
MOST = 2000
"""Facts of each kind that it is fitted on at most, drawn at random."""


def linear_readout(target: Target, *, third: str) -> Scores:
    """Cosines between predicted and candidate answers, read off the best layer of a third of the model."""
    facts = _some(target.kept(LEAST, answered=True), target.seed)
    layers = layers_of(third, target.model.cfg.n_layers)
    questions = _Questions.of(target)
    matrices, layer, choice = _read(target, questions, target.sheets, facts, np.ones(len(facts), dtype=bool), layers)
    target.notes.append(f"Read off layer {layer}, where it tells held-out retain facts apart with {choice:.2f}.")
    return matrices


def linear_readout_others(target: Target) -> Scores:
    """Cosines as in `linear_readout`, the map fitted on forget facts about other subjects too."""
    retain = _some(target.kept(LEAST, answered=True), target.seed)
    questions = _Questions.of(target)
    layers = range(target.model.cfg.n_layers)

    def read(fold: int) -> Scores:
        others = _some(target.others(fold).filter(lambda fact: fact.kind != "text" and bool(fact.target)), target.seed)
        if len(others) < FEW:
            raise NotPossible(f"needs at least {FEW} forget facts about other subjects, got {len(others)}")
        facts = Facts([*others, *retain])
        sheets = [sheet for sheet in target.sheets if sheet.fold == fold]
        matrices, layer, choice = _read(target, questions, sheets, facts, np.arange(len(facts)) < len(others), layers)
        target.notes.append(
            f"Read off layer {layer}, where it tells held-out forget facts about others apart with {choice:.2f}."
        )
        return matrices

    return target.by_fold(read)


@dataclass(frozen=True)
class _Questions:
    """The states of the tested questions, and where they belong."""

    states: Float[np.ndarray, "layer question d_model"]
    where: Mapping[int, list[tuple[int, tuple[int, ...]]]]
    """By the identity of a sheet, the row and the questions of each of its asks."""

    @classmethod
    def of(cls, target: Target) -> "_Questions":
        questions, where = questions_of(target)
        states = last_states(target.model, questions, target.asking.batch_size)
        return cls(states, {id(sheet): own for sheet, own in zip(target.sheets, where, strict=True)})


def _some(facts: Facts, seed: int) -> Facts:
    """At most `MOST` of the facts, in their order."""
    numbers = np.sort(np.random.default_rng(seed).permutation(len(facts))[:MOST])
    return Facts(facts[int(number)] for number in numbers)


def _read(
    target: Target,
    questions: _Questions,
    sheets: Sequence[Sheet],
    facts: Facts,
    counted: Bool[np.ndarray, " fact"],
    layers: range,
) -> tuple[Scores, int, float]:
    """Matrices of the sheets, the layer that was read, and how well it tells held-out facts apart.

    Args:
        facts: are fitted on.
        counted: those of them that choose layer and penalty, when they are held out.
        layers: to choose from.
    """
    model = target.model
    prompts = target.asking.prompts(facts, model)
    states = last_states(model, prompts, target.asking.batch_size)  # (layer, fact, d_model)
    embedded = embeddings_of(model, answer_ids(prompts))  # (fact, d_model)
    answers = np.unique(np.array(prompts.answer_texts), return_inverse=True)[1]
    folds = _folds(facts, np.random.default_rng(target.seed))

    best = (-np.inf, 0, 0)
    for layer in layers:
        choices = _cross_validated(states[layer], embedded, answers, folds, counted)
        best = max(best, *((choice, layer, index) for index, choice in enumerate(choices)))
    choice, layer, index = best

    predicted = ridge_path(states[layer], embedded, questions.states[layer], PENALTIES)[index]  # (question, d_model)
    mean = embedded.mean(0)
    where = [questions.where[id(sheet)] for sheet in sheets]
    return _matrices(target, sheets, predicted - mean, mean, where), layer, choice


def _folds(retain: Facts, rng: np.random.Generator) -> Int[np.ndarray, " fact"]:
    """A fold of each retain fact, all facts about one subject in one."""
    subjects = [str(fact.extra.get("subject", number)) for number, fact in enumerate(retain)]
    names, numbers = np.unique(np.array(subjects), return_inverse=True)
    return (rng.permutation(len(names)) % N_FOLDS)[numbers]


def _cross_validated(
    states: Float[np.ndarray, "fact d_model"],
    embedded: Float[np.ndarray, "fact d_model"],
    answers: Int[np.ndarray, " fact"],
    folds: Int[np.ndarray, " fact"],
    counted: Bool[np.ndarray, " fact"],
) -> Float[np.ndarray, " penalty"]:
    """Forced choice of held-out facts that count, among the answers of their fold, for each penalty."""
    totals = np.zeros(len(PENALTIES))
    n = 0
    for fold in np.unique(folds[counted]):
        out, held = (folds == fold) & counted, folds == fold
        if held.all():
            continue
        mean = embedded[~held].mean(0)
        similar = [
            _cosines(predicted - mean, embedded[out] - mean)
            for predicted in ridge_path(states[~held], embedded[~held], states[out], PENALTIES)
        ]
        other = answers[out][:, None] != answers[out][None]  # (question, answer): equal answers are no foils
        rows = other.any(1)
        n += int(rows.sum())
        for index, cosines in enumerate(similar):
            own = np.diag(cosines)[:, None]
            below = (cosines < own) + 0.5 * (cosines == own)
            totals[index] += ((below * other).sum(1)[rows] / other.sum(1)[rows]).sum()
    return totals / max(1, n)


def _cosines(
    predicted: Float[np.ndarray, "row d_model"], candidates: Float[np.ndarray, "column d_model"]
) -> Float[np.ndarray, "row column"]:
    unit = [
        values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (predicted, candidates)
    ]
    return unit[0] @ unit[1].T


def _matrices(
    target: Target,
    sheets: Sequence[Sheet],
    predicted: Float[np.ndarray, "question d_model"],
    mean: Float[np.ndarray, " d_model"],
    where: Where,
) -> Scores:
    """One matrix a sheet: the cosine with each candidate, the mean over several questions of a row."""
    matrices = []
    for sheet, asks in zip(sheets, where, strict=True):
        matrix = np.full(sheet.shape, np.nan)
        for ask, (row, places) in zip(sheet.asks, asks, strict=True):
            if not places:
                continue
            # the candidates as they are tokenised behind this very question
            question = ask.asked()[0]
            texts = target.asking.prompts([question.answered(text) for text in ask.answers], target.model)
            candidates = embeddings_of(target.model, answer_ids(texts)) - mean
            matrix[row, list(ask.columns)] = _cosines(predicted[list(places)], candidates).mean(0)
        matrices.append(matrix)
    return matrices


ATTACKS = (
    *(
        Attack(
            name=f"linear_readout_{third}",
            label=f"linear readout, {third} layers",
            family="states",
            seen="Retain facts, on which a linear map from states to answers was fitted.",
            run=partial(linear_readout, third=third),
            fitted_on="retain",
        )
        for third in THIRDS
    ),
    Attack(
        name="linear_readout_others",
        label="linear readout fitted on other forget facts",
        family="states",
        seen="Retain facts and forget facts about other subjects, on which a linear map to answers was fitted.",
        run=linear_readout_others,
        fitted_on="others",
    ),
)
