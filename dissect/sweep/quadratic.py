"""The squared distance of logits without the logits.

The logits of recipient and donor are z = x W + b and z_D, where x is what the final norm gives and W (d_model x V) the
recipient's unembedding. With the donor's own x_D, δ = x - x_D and ρ = x_D W + b - z_D,

    z - z_D = δ W + ρ,    |z - z_D|² = δ (W Wᵀ) δᵀ + 2 δ · (ρ Wᵀ) + |ρ|²

W Wᵀ is computed once a sweep, and ρ, which is 0 where both models are read out alike, once a batch: a cell then costs a
product with a matrix of width d_model instead of one of width V. Written in δ it has nothing to cancel, and equal
models have a distance of exactly 0. All of it is in float64.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from dissect.metrics.metric import Metric
from dissect.models.accounting import COLUMNS_AT_ONCE, WIDE
from dissect.models.running.forward import unembedded
from dissect.models.sharding.sharded import whole_head
from dissect.models.sharding.shards import unembedding_identity


class Gram:
    """W Wᵀ of a model's unembedding."""

    def __init__(self, model: HookedTransformer) -> None:
        width, device = model.cfg.d_model, model.embed.W_E.device
        self.matrix: Float[Tensor, "d_model d_model"] = torch.zeros(width, width, dtype=torch.float64, device=device)
        with whole_head(model):
            for part in _rows(model).split(COLUMNS_AT_ONCE):
                self.matrix += part.double().T @ part.double()
        self._of = unembedding_identity(model)

    @staticmethod
    def serves(model: HookedTransformer, metrics: Sequence[Metric]) -> bool:
        """Return whether nothing but squared distances is measured, and without the logits they are cheaper.

        A GPU computes in float64 too slowly for that, and narrow formats round their logits.
        """
        cfg = model.cfg
        return (
            all(metric.squared_distance for metric in metrics)
            and cfg.output_logits_soft_cap <= 0
            and cfg.dtype in (torch.float32, torch.float64)
            and cfg.d_vocab >= WIDE * cfg.d_model
            and model.unembed.W_U.device.type == "cpu"
        )

    def fits(self, model: HookedTransformer) -> bool:
        """Return whether the model's unembedding is still the same one."""
        return unembedding_identity(model) == self._of


class SquaredDistance:
    """(1/V) |z - z_D|² at each scored position of one batch, as a function of x."""

    def __init__(
        self,
        model: HookedTransformer,
        gram: Gram,
        read: Float[Tensor, "scored d_model"],
        reference: Float[Tensor, "scored d_vocab"],
    ) -> None:
        self.gram, self.n_vocab = gram, reference.shape[-1]
        self._read = read.double()
        self._slope = torch.zeros_like(self._read)
        self._constant = torch.zeros_like(self._read[:, 0])
        rest = unembedded(model, read).sub_(reference)
        if bool(rest.any()):
            with whole_head(model):
                for part, weight in zip(
                    rest.split(COLUMNS_AT_ONCE, 1), _rows(model).split(COLUMNS_AT_ONCE), strict=True
                ):
                    high = part.double()
                    self._slope += high @ weight.double()
                    self._constant += torch.linalg.vecdot(high, high)

    def __call__(self, entering: Float[Tensor, "scored d_model"]) -> Float[Tensor, " scored"]:
        """The distance where the unembedding reads ``entering``."""
        step = entering.double() - self._read
        squared = ((step @ self.gram.matrix + 2 * self._slope) * step).sum(-1) + self._constant
        return squared.clamp(min=0) / self.n_vocab


def _rows(model: HookedTransformer) -> Float[Tensor, "d_vocab d_model"]:
    """The unembedding in the order in which it is stored, whatever that of the parameter: sums then round alike."""
    return model.unembed.W_U.T.contiguous()
