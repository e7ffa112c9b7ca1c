"""How much a reference of k tokens loses against the whole distribution."""

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
from dissect.unlearning.gradient.objective import whole_texts
from dissect.unlearning.gradient.prompt_rows import Rows, rows_of
from dissect.unlearning.losses.top_k import TopK, undial_top_k_rows
from dissect.unlearning.losses.undial import undial_rows
from dissect.unlearning.run.reference import Stored, tensors

N_TEXTS = 4
MOST_ROWS = 64
"""The whole distributions of so many positions are kept beside the short ones, to compare with."""


@dataclass
class Audit:
    """The first few forget texts, with the teacher's whole distributions."""

    rows: Rows
    full: Float[Tensor, "row d_vocab"]
    stored: Stored
    config: TrainConfig
    n_texts: int

    @classmethod
    @without_gradients()
    def of(cls, teacher: HookedTransformer, prompts: Prompts, stored: Stored, config: TrainConfig) -> "Audit":
        """Keep what will be compared with."""
        n_texts = min(N_TEXTS, len(prompts))
        device = teacher.embed.W_E.device
        rows = rows_of(prompts, range(n_texts), everywhere=whole_texts(config)).to(device)
        return cls(rows, logits_of(teacher, residual_rows(teacher, rows)[:MOST_ROWS]), stored, config, n_texts)

    @without_gradients()
    def at_end(self, model: HookedTransformer) -> dict[str, Any]:
        """The cosine between the gradients (with respect to the model's logits) of the short and of the whole teacher.

        1: nothing is lost. It is taken on the trained model, where the two differ most: on the teacher itself they are
        the same.
        """
        residual = residual_rows(model, self.rows)[:MOST_ROWS]
        logits = logits_of(model, residual)
        targets, teacher = self.rows.targets[:MOST_ROWS], self.stored.distributions(range(self.n_texts))
        short = TopK(*(column[:MOST_ROWS].to(logits.device) for column in tensors(teacher)))
        found = []
        for loss in (
            lambda z: undial_rows(z, self.full.to(z.dtype), targets, self.config.gamma),
            lambda z: undial_top_k_rows(z, short, targets, self.config.gamma),
        ):
            leaf = logits.detach().requires_grad_()
            with with_gradients():
                (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
            found.append(gradient.double())
        cosine = torch.nn.functional.cosine_similarity(found[0], found[1], dim=1)
        return {
            "n_positions": len(cosine),
            "gradient_cosine_mean": float(cosine.mean()),
            "gradient_cosine_min": float(cosine.min()),
        }
