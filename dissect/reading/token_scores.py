"""Log-probabilities and ranks of the answer tokens that a model reads: the raw material of most measures."""

from dataclasses import dataclass

import numpy as np
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.metrics.metric import Scored
from dissect.metrics.rank import rank
from dissect.models.running.forward import final_residual, logits_at
from dissect.undoing.gradient_mode import without_gradients


@dataclass(frozen=True)
class TokenScores:
    """One entry a scored token, prompt after prompt; float64 from float32 logits.

    p is the model's distribution where the token is predicted, y the token.
    """

    row: np.ndarray
    """The prompt that the token belongs to."""
    logprob: np.ndarray
    """log p(y), in nats."""
    rank: np.ndarray
    """Place of y by falling logit, 1 for what greedy decoding takes."""
    mean: np.ndarray
    """Σ_v p(v) log p(v): minus the entropy."""
    deviation: np.ndarray
    """Standard deviation of log p(v) under p."""
    n_rows: int

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """``values``, one a token, as one array for each prompt."""
        return np.split(values, np.searchsorted(self.row, np.arange(1, self.n_rows)))

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """Mean of ``values`` over the tokens of each prompt."""
        return np.array([part.mean() for part in self.split(values)])


@without_gradients()
def token_scores(model: HookedTransformer, prompts: Prompts, *, batch_size: int = 32) -> TokenScores:
    """Read every prompt with its answer and score the answer's tokens, each where it is predicted."""
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    device, start = model.embed.W_E.device, 0
    for part in prompts.batches(batch_size):
        where = part.predicting_mask
        logits = logits_at(model, final_residual(model, part.tokens.to(device)), where.to(device))
        targets = part.tokens[part.answer_mask].to(device)
        logs = logits.log_softmax(-1)
        p = logs.exp()
        mean = (p * logs).sum(-1)
        deviation = ((p * logs.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
        own = logs.gather(-1, targets[:, None])[:, 0]
        places = rank(Scored(logits=logits, reference=logits, targets=targets, foils=None))
        rows = where.nonzero()[:, 0] + start
        for column, values in zip(columns, (rows, own, places, mean, deviation), strict=True):
            column.append(values.cpu().numpy().astype(np.int64 if values is rows else np.float64))
        start += len(part)
    joined = (np.concatenate(column) for column in columns)
    row, logprob, ranks, means, deviations = joined
    return TokenScores(row, logprob, ranks, means, deviations, len(prompts))
