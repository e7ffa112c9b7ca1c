"""Values and gradients of the unlearning objectives, computed with numpy alone.

Nothing of dissect or torch is used: the objectives are written out position by position from their papers, in float64,
and differentiated by complex steps (Squire & Trapp 1998, doi:10.1137/S003614459631241X): f(x + ih) has the derivative
as its imaginary part over h, and with h = 1e-30 no digit is lost. Run this file to write ``tests/data/loss_vectors``.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "data" / "loss_vectors"
INPUTS, EXPECTED = "unlearning_losses_inputs.npz", "unlearning_losses_expected.json"
SIDES = ("forget", "alternate", "retain")
IGNORED, VOCAB, TEXTS, LENGTH = -100, 120, 3, 7
STEP = 1e-30

Arrays = dict[str, np.ndarray]


def make_inputs(seed: int = 7) -> Arrays:
    """Three sides of right-padded texts: tokens, labels (-100 on prompt and padding), logits of model and reference.

    Logits are multiples of 1/32, which half precision holds exactly, so that the file is small; those of the reference
    are in single precision, in which no two tokens of a position tie.
    """
    rng, arrays = np.random.default_rng(seed), {}
    for side in SIDES:
        lengths = rng.permutation([LENGTH, LENGTH - 1, LENGTH - 2])[:TEXTS]
        inside = np.arange(LENGTH) < lengths[:, None]
        answer = inside & (np.arange(LENGTH) >= rng.integers(1, 3, TEXTS)[:, None])
        tokens = np.where(inside, rng.integers(1, VOCAB, (TEXTS, LENGTH)), 0)
        logits = rng.normal(0, 2, (TEXTS, LENGTH, VOCAB))
        reference = logits + rng.normal(0, 1, logits.shape)
        likely = np.roll(tokens, -1, axis=1)  # both models know a part of the answers
        for t in range(LENGTH):
            reference[np.arange(TEXTS), t, likely[:, t]] += rng.uniform(0, 6, TEXTS)
            logits[np.arange(TEXTS), t, likely[:, t]] += rng.uniform(0, 6, TEXTS)
        arrays |= {
            f"{side}.input_ids": tokens,
            f"{side}.attention_mask": inside.astype(np.int64),
            f"{side}.labels": np.where(answer, tokens, IGNORED),
            f"{side}.logits": (np.round(logits * 32) / 32).astype(np.float16),
            f"{side}.ref_logits": reference.astype(np.float32),
        }
    return arrays


class Side:
    """One side of the case; only its logits may carry a complex step."""

    def __init__(self, arrays: Arrays, name: str) -> None:
        self.tokens, self.labels = arrays[f"{name}.input_ids"], arrays[f"{name}.labels"]
        self.z = arrays[f"{name}.logits"].astype(np.complex128)
        self.reference = arrays[f"{name}.ref_logits"].astype(np.float64)
        self.predicting = [
            [t for t in range(LENGTH - 1) if self.labels[b, t + 1] != IGNORED] for b in range(len(self.labels))
        ]

    def rows(self) -> list[tuple[int, int]]:
        """Text and position of every prediction of a scored token."""
        return [(b, t) for b, positions in enumerate(self.predicting) for t in positions]

    def nll(self, b: int, t: int) -> complex:
        """-log p of the token after position t."""
        return -log_softmax(self.z[b, t])[self.labels[b, t + 1]]

    def sums(self, of_reference: bool = False) -> list[complex]:
        """NLL of each text, summed over its scored tokens."""
        z = self.reference if of_reference else self.z
        return [
            sum(-log_softmax(z[b, t])[self.labels[b, t + 1]] for t in positions)
            for b, positions in enumerate(self.predicting)
        ]


def log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.real.max()
    return shifted - np.log(np.exp(shifted).sum())


def log_sigmoid(x: complex | np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return np.where(x.real < 0, x - np.log1p(np.exp(np.where(x.real < 0, x, 0))), -np.log1p(np.exp(-x)))


def mean(values: list) -> complex:
    return sum(values) / len(values)


def mean_nll(side: Side) -> complex:
    return mean([side.nll(b, t) for b, t in side.rows()])


def kl(side: Side, where: list[tuple[int, int]]) -> complex:
    return mean([divergence(log_softmax(side.reference[b, t]), log_softmax(side.z[b, t])) for b, t in where])


def divergence(log_q: np.ndarray, log_p: np.ndarray) -> complex:
    return (np.exp(log_q) * (log_q - log_p)).sum()


def kl_muse(side: Side) -> complex:
    return (np.exp(side.reference) * (side.reference - side.z)).sum() / len(side.z)


def npo(side: Side, beta: float, per_token: bool = False) -> complex:
    margins = []
    for now, before, positions in zip(side.sums(), side.sums(of_reference=True), side.predicting, strict=True):
        margins.append((now - before) / (len(positions) if per_token else 1))
    return mean([-2 / beta * log_sigmoid(beta * margin) for margin in margins])


def npo_muse(side: Side, beta: float) -> complex:
    return (-2 / beta * log_sigmoid(beta * (side.reference - side.z))).mean()


def simnpo(side: Side, beta: float, delta: float) -> complex:
    means = [total / len(positions) for total, positions in zip(side.sums(), side.predicting, strict=True)]
    return mean([-2 / beta * log_sigmoid(beta * (each - delta)) for each in means])


def dpo(lost: Side, won: Side, beta: float, scaled: bool) -> complex:
    values = []
    for l, l0, w, w0 in zip(lost.sums(), lost.sums(True), won.sums(), won.sums(True), strict=True):  # noqa: E741
        values.append(-(2 / beta if scaled else 1) * log_sigmoid(beta * ((w0 - w) - (l0 - l))))
    return mean(values)


def weighted_ascent(side: Side, weight: Callable[[float], float]) -> complex:
    nlls = [side.nll(b, t) for b, t in side.rows()]
    return -mean([weight(float(np.exp(-value.real))) * value for value in nlls])


def ceu(side: Side) -> complex:
    values = []
    for b, positions in enumerate(side.predicting):
        for t in positions[1:]:
            without = side.z[b, t].real.copy()
            without[side.labels[b, t + 1]] = -np.inf
            values.append(-(np.exp(log_softmax(without)) * log_softmax(side.z[b, t])).sum())
    return mean(values)


def pdu(side: Side) -> complex:
    where = np.argwhere(side.labels != IGNORED)
    return mean([(side.z[b, t][side.z[b, t].real.argmax()] - side.z[b, t].mean()) ** 2 for b, t in where])


def undial(side: Side, gamma: float, form: str) -> complex:
    everywhere = [(b, t) for b in range(len(side.z)) for t in range(LENGTH - 1)]
    values = []
    for b, t in everywhere if form in ("official", "open_unlearning") else side.rows():
        target = (side.tokens if form == "official" else side.labels)[b, t + 1]  # -100 is an index from the end
        lowered = side.reference[b, t].copy()
        lowered[target] -= gamma
        log_q, log_p = log_softmax(lowered), log_softmax(side.z[b, t])
        values.append(divergence(log_q, log_p) if form == "kl_form" else -(np.exp(log_q) * log_p).sum())
    return mean(values)


def undial_topk(side: Side, gamma: float, k: int) -> complex:
    values = []
    for b, t in side.rows():
        target, q0 = side.labels[b, t + 1], np.exp(log_softmax(side.reference[b, t]))
        top = list(np.argsort(-q0, kind="stable")[: min(k, VOCAB)])
        if target not in top:
            top[-1] = target
        rest = [v for v in range(VOCAB) if v not in top]
        lowered = q0.copy()
        lowered[target] *= np.exp(-gamma)
        lowered /= lowered.sum()
        p = np.exp(log_softmax(side.z[b, t]))
        classes = [(lowered[v], p[v]) for v in top] + ([(lowered[rest].sum(), p[rest].sum())] if rest else [])
        values.append(-sum(q * np.log(each) for q, each in classes))
    return mean(values)


def objectives(arrays: Arrays) -> dict[str, tuple[tuple[str, ...], Callable[[dict[str, Side]], complex]]]:
    """By name: the sides whose logits move, and the value as a function of the three sides."""
    f, r, a = SIDES[0], SIDES[2], SIDES[1]
    every = [(b, t) for b in range(TEXTS) for t in range(LENGTH)]
    made: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Side]], complex]]] = {
        "ga": ((f,), lambda s: -mean_nll(s[f])),
        "grad_diff": ((f, r), lambda s: -mean_nll(s[f]) + mean_nll(s[r])),
        "grad_diff_conceptvectors(alpha=1.5)": ((f, r), lambda s: -mean_nll(s[f]) + 1.5 * mean_nll(s[r])),
        "kl_retain_all_positions": ((r,), lambda s: kl(s[r], every)),
        "kl_retain_masked(labels)": ((r,), lambda s: kl(s[r], s[r].rows())),
        "kl_retain_muse": ((r,), lambda s: kl_muse(s[r])),
        "npo_mean(beta=0.1)": ((f,), lambda s: npo(s[f], 0.1, per_token=True)),
        "npo_muse(beta=0.1)": ((f,), lambda s: npo_muse(s[f], 0.1)),
        "npo+nll(beta=0.1,gamma=1,alpha=1)": ((f, r), lambda s: npo(s[f], 0.1) + mean_nll(s[r])),
        "simnpo(beta=4.5,delta=0)": ((f,), lambda s: simnpo(s[f], 4.5, 0.0)),
        "simnpo(beta=2.5,delta=1)": ((f,), lambda s: simnpo(s[f], 2.5, 1.0)),
        "simnpo+nll(beta=4.5,gamma=0.125,alpha=1)": (
            (f, r),
            lambda s: 0.125 * simnpo(s[f], 4.5, 0.0) + mean_nll(s[r]),
        ),
        "dpo(beta=0.1)": ((f, a), lambda s: dpo(s[f], s[a], 0.1, scaled=True)),
        "dpo_tofu_unscaled(beta=0.1)": ((f, a), lambda s: dpo(s[f], s[a], 0.1, scaled=False)),
        "wga(beta=1)": ((f,), lambda s: weighted_ascent(s[f], lambda p: p)),
        "satimp(5,1)": ((f,), lambda s: weighted_ascent(s[f], lambda p: p**5 * (1 - p))),
        "ceu(ignore_first=1)": ((f,), lambda s: ceu(s[f])),
        "pdu_forget": ((f,), lambda s: pdu(s[f])),
    }
    for beta in (0.1, 0.5, 1.0):
        made[f"npo(beta={beta})"] = ((f,), lambda s, beta=beta: npo(s[f], beta))
    for gamma in (3.0, 10.0, 30.0):
        for form in ("masked", "open_unlearning", "official", "kl_form"):
            made[f"undial_{form}(beta={gamma})"] = ((f,), lambda s, g=gamma, form=form: undial(s[f], g, form))
    for k in (16, 64, 150):
        made[f"undial_topk(beta=10,k={k})"] = ((f,), lambda s, k=k: undial_topk(s[f], 10.0, k))
    return made


def losses(arrays: Arrays) -> dict[str, float]:
    """Value of every objective."""
    sides = {name: Side(arrays, name) for name in SIDES}
    return {name: float(np.real(value(sides))) for name, (_, value) in objectives(arrays).items()}


def gradient_norms(arrays: Arrays) -> dict[str, dict[str, float]]:
    """L2 norm of every objective's gradient by the logits of each side that moves."""
    sides, norms = {name: Side(arrays, name) for name in SIDES}, {}
    for name, (moving, value) in objectives(arrays).items():
        norms[name] = {}
        for side in moving:
            squares = 0.0
            for place in np.ndindex(sides[side].z.shape):
                sides[side].z[place] += 1j * STEP
                squares += float(np.imag(value(sides)) / STEP) ** 2
                sides[side].z[place] = sides[side].z[place].real
            norms[name][side] = squares**0.5
    return norms


def write() -> None:
    """Write inputs and expected values."""
    arrays = make_inputs()
    values, norms = losses(arrays), gradient_norms(arrays)
    expected = {name: {"loss": values[name], "grad_norm": norms[name]} for name in values}
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / INPUTS, **arrays)
    (FOLDER / EXPECTED).write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    write()
