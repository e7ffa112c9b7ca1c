"""Modules that take the place of TransformerLens's own where a checkpoint stores its parameters in another form.

TransformerLens's converters multiply Gemma's embedding and add one to its norms while loading. Here that happens while
running: the parameters are then bit for bit those of the checkpoint, an embedding that is also the output head can be
one parameter, and a trained model is saved without any rounding.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.components import Embed, LayerNorm, RMSNorm, Unembed
from transformer_lens.hook_points import HookPoint


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


class SharedLayerNorm(LayerNorm):
    """A layer norm with the parameters of another one, in blocks whose attention and MLP read through one norm.

    ``w`` and ``b`` read as ever, but are parameters of the other norm alone; hooks fire here apart from those there.
    """

    def __init__(self, norm: LayerNorm) -> None:
        nn.Module.__init__(self)  # not LayerNorm's, which would make the parameters
        self.cfg, self.eps, self.length = norm.cfg, norm.eps, norm.length
        self.hook_scale, self.hook_normalized = HookPoint(), HookPoint()
        self._norm = (norm,)  # in a tuple: a submodule would list the parameters twice

    @property
    def w(self) -> Float[Tensor, " d_model"]:
        """The other norm's weight."""
        return self._norm[0].w

    @property
    def b(self) -> Float[Tensor, " d_model"]:
        """The other norm's bias."""
        return self._norm[0].b


@dataclass(frozen=True)
class RotaryTable:
    """Sines and cosines of rotary positions from given frequencies, where TransformerLens does not compute these.

    It takes the place of ``calculate_sin_cos_rotary`` of an attention. With frequencies of zero nothing is rotated:
    the cosines are exactly 1, the sines exactly 0.
    """

    inv_freq: tuple[float, ...]
    """Radians a position, for each pair of components."""
    scaling: float = 1.0
    """Factor of the sines and cosines."""

    def __call__(
        self, rotary_dim: int, n_ctx: int, base: float = 0.0, dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "n_ctx rotary_dim"], Float[Tensor, "n_ctx rotary_dim"]]:
        """Sines and cosines of the first ``n_ctx`` positions, computed in float32 as transformers does."""
        positions = torch.arange(n_ctx, dtype=torch.float32)
        angles = positions[:, None] * torch.tensor(self.inv_freq, dtype=torch.float32)
        angles = torch.cat([angles, angles], dim=-1)
        return (angles.sin() * self.scaling).to(dtype), (angles.cos() * self.scaling).to(dtype)

    def __repr__(self) -> str:
        return f"RotaryTable({len(self.inv_freq)} frequencies, the last {self.inv_freq[-1]:.3g}, x {self.scaling:.4g})"


def use_rotary_tables(model: HookedTransformer) -> None:
    """Give each layer its own rotary table, where the configuration has some; ``rotary_kind`` tells them apart."""
    tables: tuple[RotaryTable, ...] | None = getattr(model.cfg, "rotary_tables", None)
    if tables is None:
        return
    kinds = list(dict.fromkeys(tables))
    for block, table in zip(model.blocks, tables, strict=True):
        attn = block.attn
        attn.calculate_sin_cos_rotary = table
        attn.rotary_kind = kinds.index(table)
        sin, cos = table(model.cfg.rotary_dim, attn.rotary_sin.shape[0], dtype=model.cfg.dtype)
        attn.rotary_sin, attn.rotary_cos = sin, cos
