"""Sizes of a checkpoint's parameters, from its ``config.json`` alone: no weights are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """The sizes that memory follows from."""

    architecture: str
    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    n_key_value_heads: int
    d_head: int
    d_vocab: int
    n_ctx: int
    act_fn: str
    gated: bool
    parallel: bool
    """True if attention and MLP read the same residual stream."""
    rms: bool
    """True if norms are RMS norms; else they are layer norms."""
    fused: bool
    """True if attention runs as one operation that keeps no scores."""
    soft_cap: bool
    """True if the logits have a soft cap."""
    tied: bool
    parameters: Mapping[str, int]
    """Numbers of each parameter that the checkpoint has, by its name in the hooked model."""
    constants: int
    """Numbers in parameters that only the hooked model has."""
    buffers: int
    """Bytes of tables, such as the sines of rotary positions."""

    @property
    def n_parameters(self) -> int:
        """Numbers in the checkpoint; a tied embedding is counted once."""
        return sum(self.parameters.values())

    @property
    def n_layer(self) -> int:
        """Numbers in the largest layer."""
        return max(self._of(f"blocks.{layer}.") for layer in range(self.n_layers))

    @property
    def n_outside(self) -> int:
        """Numbers outside the layers: embeddings, final norm, unembedding."""
        return self.n_parameters - self._of("blocks.")

    def of_block(self, block: str) -> int:
        """Numbers of a matrix such as ``mlp.W_out`` in all layers."""
        part, _, matrix = block.partition(".")
        ends = (f"{part}.{matrix}", f"{part}._{matrix}")  # grouped heads are stored under names with an underscore
        return sum(n for name, n in self.parameters.items() if name.split(".", 2)[-1] in ends)

    def _of(self, prefix: str) -> int:
        return sum(n for name, n in self.parameters.items() if name.startswith(prefix))


def sizes_of(config: Mapping[str, Any]) -> Sizes:
    """Sizes of the checkpoint that a ``config.json`` describes, from the hooked model that it would become.

    Raises:
        DissectError: an architecture or a feature that dissect does not load.
    """
    from dissect.models.build import build_empty
    from dissect.models.families import find_family, hooked_config, transformers_config, weight_map
    from dissect.models.running.attention import can_fuse

    family = find_family(config)
    native = transformers_config(family, config)
    cfg = hooked_config(family, native, device="cpu")
    tied = bool(native.tie_word_embeddings)
    model = build_empty(family, cfg, tied=tied)
    stored = {param for weight in weight_map(family, native, cfg) for param in weight.params}
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return Sizes(
        architecture=family.architecture,
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        d_mlp=int(cfg.d_mlp or 4 * cfg.d_model),
        n_heads=cfg.n_heads,
        n_key_value_heads=cfg.n_key_value_heads or cfg.n_heads,
        d_head=cfg.d_head,
        d_vocab=cfg.d_vocab,
        n_ctx=cfg.n_ctx,
        act_fn=str(cfg.act_fn),
        gated=bool(cfg.gated_mlp),
        parallel=bool(cfg.parallel_attn_mlp),
        rms=str(cfg.normalization_type).startswith("RMS"),
        fused=can_fuse(model.blocks[0].attn),
        soft_cap=cfg.output_logits_soft_cap > 0,
        tied=tied,
        parameters={name: n for name, n in counts.items() if name in stored},
        constants=sum(n for name, n in counts.items() if name not in stored),
        buffers=sum({buffer.data_ptr(): buffer.nbytes for buffer in model.buffers()}.values()),
    )
