"""Modules that take the place of TransformerLens's own where a checkpoint stores its parameters in another form.

TransformerLens's converters multiply Gemma's embedding and add one to its norms while loading. Here that happens while
running: the parameters are then bit for bit those of the checkpoint, an embedding that is also the output head can be
one parameter, and a trained model is saved without any rounding.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import HookedTransformerConfig
from transformer_lens.components import Embed, RMSNorm, Unembed


class TiedUnembed(Unembed):
    """An output head whose matrix is the embedding: ``W_U`` is ``embed.W_E`` transposed, a view and no parameter.

    The one parameter ``embed.W_E`` collects the gradients of both uses, as in transformers. ``model.W_U`` and
    ``model.unembed.W_U`` read as ever; ``unembed.W_U`` is not in ``named_parameters()``.
    """

    def __init__(self, unembed: Unembed, embed: Embed) -> None:
        nn.Module.__init__(self)  # not Unembed's, which would make the parameter
        self.cfg = unembed.cfg
        self.b_U = unembed.b_U
        self.hook_in = unembed.hook_in
        self.hook_out = unembed.hook_out
        self._embed = (embed,)  # in a tuple: a submodule would list the embedding twice

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """The embedding, transposed."""
        return self._embed[0].W_E.T


class ScaledEmbed(Embed):
    """An embedding that is multiplied by ``scale`` after the look-up: embed(t) = scale · W_E[t], as Gemma does it.

    ``hook_embed`` sees the scaled vectors; ``W_E`` is unscaled, as in the checkpoint.
    """

    def __init__(self, cfg: HookedTransformerConfig, *, scale: float) -> None:
        super().__init__(cfg)
        self.scale = scale

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Scaled embeddings of ``tokens``; the scale is rounded to the dtype of the embedding, as in transformers."""
        return super().forward(tokens) * torch.tensor(self.scale, dtype=self.W_E.dtype)


class OffsetRMSNorm(RMSNorm):
    """Gemma's norm: y = x / rms(x) · (1 + w), in float32 until the end, with w as in the checkpoint."""

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The normalised ``x`` in the model's dtype."""
        high = x if x.dtype == torch.float64 else x.float()
        scale = self.hook_scale((high.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        normalized = self.hook_normalized(high / scale)
        return (normalized * (1.0 + self.w.to(normalized.dtype))).to(self.cfg.dtype)
