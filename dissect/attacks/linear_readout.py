"""A linear readout of the states: what the layers still hold, though the model does not say it.

A ridge regression from the state at the last token of a question to the embedding of its answer is fitted on retain
facts (cf. probes with control tasks, Hewitt and Liang 2019, arXiv:1909.03368) and read on the tested questions: entry
(i, j) is the cosine between what is predicted for question i and the embedding of answer j, both relative to the mean
over the retain facts. Layer and penalty are chosen by cross-validation over the retain facts' subjects; the tested
facts have no part in it. A readout that favours answers of many retain facts favours them under every question, which
is a column of the matrix; what it makes of a name is guessing, as in `dissect.attacks.attack`. Suppression may sit in
any part of the model, so early, middle and late layers are attacks of their own, and the panel's adjustment pays for
all three.
"""

from functools import partial

import numpy as np
from jaxtyping import Float, Int

from dissect.attacks.attack import Attack, Scores, Target
from dissect.attacks.layer_states import THIRDS, Where, answer_ids, embeddings_of, last_states, layers_of, questions_of
from dissect.data.facts import Facts
from dissect.statistics.ridge import ridge_path

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""In units of the mean squared singular value of the centred states."""
N_FOLDS = 5
LEAST = 20
"""Retain facts that a readout is fitted on at least."""
MOST = 2000
"""Retain facts that it is fitted on at most, drawn at random."""


def linear_readout(target: Target, *, third: str) -> Scores:
    """Cosines between predicted and candidate answers, read off the best layer of a third of the model."""
    model, batch_size = target.model, target.asking.batch_size
    kept = target.kept(LEAST, answered=True)
    rng = np.random.default_rng(target.seed)
    retain = [kept[int(i)] for i in np.sort(rng.permutation(len(kept))[:MOST])]
    prompts = target.asking.prompts(retain, model)
    states = last_states(model, prompts, batch_size)  # (layer, fact, d_model)
    embedded = embeddings_of(model, answer_ids(prompts))  # (fact, d_model)
    answers = np.unique(np.array(prompts.answer_texts), return_inverse=True)[1]
    folds = _folds(Facts(retain), rng)

    best = (-np.inf, 0, 0)
    for layer in layers_of(third, model.cfg.n_layers):
        choices = _cross_validated(states[layer], embedded, answers, folds)
        best = max(best, *((choice, layer, index) for index, choice in enumerate(choices)))
    choice, layer, index = best
    target.notes.append(f"Read off layer {layer}, where it tells held-out retain facts apart with {choice:.2f}.")

    questions, where = questions_of(target)
    tested = last_states(model, questions, batch_size)[layer]
    predicted = ridge_path(states[layer], embedded, tested, PENALTIES)[index]  # (question, d_model)
    return _matrices(target, predicted - embedded.mean(0), embedded.mean(0), where)


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
) -> Float[np.ndarray, " penalty"]:
    """Forced choice of held-out retain facts among the answers of their fold, for each penalty."""
    totals = np.zeros(len(PENALTIES))
    counted = 0
    for fold in np.unique(folds):
        out = folds == fold
        if out.all():
            continue
        mean = embedded[~out].mean(0)
        similar = [
            _cosines(predicted - mean, embedded[out] - mean)
            for predicted in ridge_path(states[~out], embedded[~out], states[out], PENALTIES)
        ]
        other = answers[out][:, None] != answers[out][None]  # (question, answer): equal answers are no foils
        rows = other.any(1)
        counted += int(rows.sum())
        for index, cosines in enumerate(similar):
            own = np.diag(cosines)[:, None]
            below = (cosines < own) + 0.5 * (cosines == own)
            totals[index] += ((below * other).sum(1)[rows] / other.sum(1)[rows]).sum()
    return totals / max(1, counted)


def _cosines(
    predicted: Float[np.ndarray, "row d_model"], candidates: Float[np.ndarray, "column d_model"]
) -> Float[np.ndarray, "row column"]:
    unit = [
        values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (predicted, candidates)
    ]
    return unit[0] @ unit[1].T


def _matrices(
    target: Target,
    predicted: Float[np.ndarray, "question d_model"],
    mean: Float[np.ndarray, " d_model"],
    where: Where,
) -> Scores:
    """One matrix a sheet: the cosine with each candidate, the mean over several questions of a row."""
    matrices = []
    for sheet, asks in zip(target.sheets, where, strict=True):
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


ATTACKS = tuple(
    Attack(
        name=f"linear_readout_{third}",
        label=f"linear readout, {third} layers",
        family="states",
        seen="Retain facts, on which a linear map from states to answers was fitted.",
        run=partial(linear_readout, third=third),
    )
    for third in THIRDS
)
