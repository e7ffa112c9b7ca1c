"""Audit of a shortened reference: how much k tokens of a distribution lose against the whole of it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.data.prompts import Prompts
from dissect.undoing.gradient_mode import with_gradients, without_gradients
from dissect.unlearning.config.train_config import TrainConfig
from dissect.unlearning.gradient.backward import logits_of, residual_rows
from dissect.unlearning.gradient.objective import loss_settings, whole_texts
from dissect.unlearning.gradient.prompt_rows import PromptRows, rows_of
from dissect.unlearning.gradient.reference import StoredReference, tensors
from dissect.unlearning.loss_inputs import TokenInputs
from dissect.unlearning.losses.top_k import TopK
from dissect.unlearning.methods import METHODS

N_TEXTS = 4
"""Forget texts that are compared."""
MOST_ROWS = 64
"""Positions whose whole distributions are kept beside the short ones, to compare with."""


@dataclass
class Audit:
    """The first few forget texts, with the reference's whole distributions."""

    rows: PromptRows
    full: Float[Tensor, "row d_vocab"]
    stored: StoredReference
    config: TrainConfig
    n_texts: int

    @classmethod
    @without_gradients()
    def of(
        cls, reference: HookedTransformer, prompts: Prompts, stored: StoredReference, config: TrainConfig
    ) -> "Audit":
        """Keep the whole distributions of the first few texts."""
        n_texts = min(N_TEXTS, len(prompts))
        device = reference.embed.W_E.device
        rows = rows_of(prompts, range(n_texts), everywhere=whole_texts(config)).to(device)
        full = logits_of(reference, residual_rows(reference, rows)[:MOST_ROWS])
        return cls(rows, full, stored, config, n_texts)

    @without_gradients()
    def at_end(self, model: HookedTransformer) -> dict[str, Any]:
        """Compare the loss's gradients by the model's logits, with the short and with the whole reference.

        Their cosine is 1 where nothing is lost. It is taken on the trained model, where the two differ most: on the
        reference itself they are equal.
        """
        logits = logits_of(model, residual_rows(model, self.rows)[:MOST_ROWS])  # (row, d_vocab)
        targets, in_answer = self.rows.targets[:MOST_ROWS], self.rows.answer[:MOST_ROWS]
        stored = self.stored.distributions(range(self.n_texts))
        short = TopK(*(column[:MOST_ROWS].to(logits.device) for column in tensors(stored)))
        method, settings, gradients = METHODS[self.config.method], loss_settings(self.config), []
        for reference in (self.full.to(logits.dtype), short):
            leaf = logits.detach().requires_grad_()
            with with_gradients():
                loss = method.loss(TokenInputs(leaf, targets, in_answer, reference), **settings).sum()
                (gradient,) = torch.autograd.grad(loss, leaf)
            gradients.append(gradient.double())
        cosine = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=1)  # (row)
        return {
            "n_positions": len(cosine),
            "gradient_cosine_mean": float(cosine.mean()),
            "gradient_cosine_min": float(cosine.min()),
        }
